"""What a fault is: how it is caused, and what undoes it as data that survives a kill."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loadtests.world.interface import Mend, World


@dataclass(frozen=True)
class Fault:
    """One thing that is broken by real means.

    what: as it is printed. cause: breaks it. mends: what undoes it, as data that can be written down
    before anything is broken, so that another process can do it when this one is killed.
    after_seconds: from the start of a drill's first fault. lasts_seconds: then it is mended before the
    others are; None: it lasts until all are.
    """

    what: str
    cause: Callable[[World], Awaitable[None]]
    mends: Callable[[World], list[Mend]] = lambda _: []
    after_seconds: float = 0.0
    lasts_seconds: float | None = None


def nothing(what: str) -> Fault:
    async def cause(_: World) -> None:
        return

    return Fault(what, cause)
