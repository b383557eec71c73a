"""The real collector of loadtests/world, where this machine has one or could build it."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from loadtests.world import collector_process
from loadtests.world.collector_process import (
    CONFIG,
    PROTOBUF,
    BackEnd,
    Collector,
    attributes,
    attributes_of,
    request_of,
)
from stack.programs import ProgramsMissing
from stack.tools.building import find_go

__all__ = [
    "CONFIG",
    "PROTOBUF",
    "BackEnd",
    "Collector",
    "attributes",
    "attributes_of",
    "collector_path",
    "request_of",
    "running_collector",
]


def collector_path() -> str:
    """Return the collector; a machine that can build one must have it built."""
    try:
        return collector_process.collector_path()
    except ProgramsMissing as error:
        if find_go() is None:
            pytest.skip("no collector, and Go to build it is not on this machine")
        pytest.fail(str(error))


def running_collector(
    directory: Path, *, config: Path = CONFIG, core: int | None = None, **variables: str
) -> AbstractContextManager[Collector]:
    """A healthy collector and its back end, both gone at the end."""
    collector_path()
    return collector_process.running_collector(directory, config=config, core=core, **variables)
