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
    """Say which tests share a process, and let the long ones begin (`-n 3 --dist loadgroup`).

    A file is one group, so that its fixtures are made once; all that use the one running stack are another.
    """
    for item in items:
        uses_stack = "stack" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("stack" if uses_stack else str(item.path)))
    items.sort(key=lambda item: _LONGEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A server with roles and an empty database, for the whole session."""
    directory: Path = tmp_path_factory.mktemp("postgres")
    async with Postgres(directory, free_port()) as server:
        yield server
