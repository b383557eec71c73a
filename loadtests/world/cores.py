"""Who runs on which core: what is measured has one for itself."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

LOAD_AVERAGE_MAX = 1.0


def why_not(others: Sequence[int], *, anyway: bool) -> str | None:
    """Why figures taken now would not be what is looked for, in one line. others: cores for the rest."""
    if not others:
        return "needs two cores: one for what is measured, one for the rest"
    load = os.getloadavg()[0]
    if load > LOAD_AVERAGE_MAX and not anyway:
        return f"the load average is {load:.1f}: wait until it is under {LOAD_AVERAGE_MAX:g}, or --anyway"
    return None


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What is started within inherits it: with its first thread, and Go counts the cores as it starts."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
