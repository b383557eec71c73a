"""What a fault acts on: the drills' whole stack, a light one around a replica, or one somewhere else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from loadtests.world.description import Release
from service.config import Config
from stack.postgres import Role
from stack.processes import Running

Mend: TypeAlias = dict[str, Any]
"""What undoes one fault, as data: `kind` is one of `loadtests.faults.mending`, the rest its arguments."""


class World(Protocol):
    """A system under test. release: that of its callers; None: they send what the contract says."""

    release: Release | None

    @property
    def local(self) -> Path:
        """Where it keeps its files, and what is to mend."""

    @property
    def config(self) -> Config:
        """The configuration of the service that runs."""

    @property
    def provider_url(self) -> str:
        """URL of the provider itself, past any proxy; its control is below it."""

    @property
    def is_in_process(self) -> bool:
        """Whether provider and proxies are part of this process: its end mends them."""

    def dsn(self, role: Role) -> str:
        """Address of the database itself, past any proxy."""

    def port(self, part: str) -> int: ...

    def proxy_control(self, part: str) -> str:
        """URL of the control port of the proxy before a part."""

    def running(self) -> Mapping[str, Running]:
        """The parts that are alive, by name."""

    async def restart(self, part: str) -> None:
        """Stop a part as a release does, and wait until it is ready again."""

    def mends_of_stop(self, *restarted: str) -> list[Mend]:
        """What starts parts that were stopped. restarted: those that must be stopped before."""
