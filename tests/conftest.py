"""What tests of every kind share: Hypothesis profiles, free ports and a real PostgreSQL."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stack.postgres import Postgres
from stack.serving import free_port

TESTS = Path(__file__).parent
_LONGEST_FIRST = ("stack", "integration", "examples", "contracts", "unit")

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=50_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the long ones begin. A file is in one process (`--dist loadfile`): its fixtures are made once."""
    items.sort(key=lambda item: _LONGEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A server with roles and an empty database, for the whole session."""
    directory: Path = tmp_path_factory.mktemp("postgres")
    async with Postgres(directory, free_port()) as server:
        yield server
