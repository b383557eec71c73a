"""Faults of processes: signals, and restarts as a release makes them."""

import os
import signal
from dataclasses import asdict

import psutil

from loadtests.faults.fault import Fault
from loadtests.world.errors import CannotRunError
from loadtests.world.interface import Mend, World
from stack.processes import Running, running_as


def kill(
    *parts: str, number: signal.Signals = signal.SIGKILL, with_children: bool = False
) -> Fault:
    """End those of the parts that there are; the mend starts them again. Raises CannotRunError for none.

    with_children: else the workers of a service live on, and answer.
    """

    async def cause(world: World) -> None:
        running = world.running()
        there = [running[part] for part in parts if part in running]
        if not there:
            raise CannotRunError(f"none of {', '.join(parts)} runs, so there is nothing to end")
        for part in there:
            for process in _family(part) if with_children else [part]:
                os.kill(process.pid, number)

    return Fault(
        f"{', '.join(parts)} stopped ({number.name})", cause, lambda world: world.mends_of_stop()
    )


def freeze(*parts: str) -> Fault:
    """Stop those of the parts that there are, and end none: they hold their ports and answer nothing."""

    def families(world: World) -> list[Running]:
        running = world.running()
        return [one for part in parts if part in running for one in _family(running[part])]

    async def cause(world: World) -> None:
        for process in families(world):
            os.kill(process.pid, signal.SIGSTOP)

    def mends(world: World) -> list[Mend]:
        return [{"kind": "thaw", "processes": [asdict(process) for process in families(world)]}]

    return Fault(f"{', '.join(parts)} frozen (SIGSTOP)", cause, mends)


def restart(*parts: str) -> Fault:
    """Stop parts in turn, as a release does, and start each again before the next one."""

    async def cause(world: World) -> None:
        for part in parts:
            await world.restart(part)

    return Fault(f"{', '.join(parts)} restarted", cause, lambda world: world.mends_of_stop())


def _family(running: Running) -> list[Running]:
    """A process and its children: stopping PostgreSQL's parent alone stops nothing."""
    children = psutil.Process(running.pid).children(recursive=True)
    return [running, *(running_as(f"{running.name} child", child.pid) for child in children)]
