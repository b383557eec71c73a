"""What tests of every kind share: Hypothesis profiles, free ports and a real PostgreSQL."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stack.postgres import Postgres
from stack.serving import free_port

settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=50_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A server with roles and an empty database, for the whole session."""
    directory: Path = tmp_path_factory.mktemp("postgres")
    async with Postgres(directory, free_port()) as server:
        yield server
