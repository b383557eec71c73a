"""Faults of processes: signals, and restarts as a release makes them."""

import os
import signal
from dataclasses import asdict

import psutil

from loadtests.faults.fault import Fault
from loadtests.world.interface import Mend, World
from stack.processes import Running, running_as


def kill(*parts: str, number: signal.Signals = signal.SIGKILL) -> Fault:
    """End those of the parts that there are; the mend starts them again. Raises KeyError for none."""

    async def cause(world: World) -> None:
        running = world.running()
        there = [running[part] for part in parts if part in running]
        if not there:
            raise KeyError(parts)
        for process in there:
            os.kill(process.pid, number)

    return Fault(
        f"{', '.join(parts)} stopped ({number.name})", cause, lambda world: world.mends_of_stop()
    )


def freeze(part: str) -> Fault:
    """Stop a part without ending it: it holds its port and answers nothing."""

    async def cause(world: World) -> None:
        for process in _family(world.running()[part]):
            os.kill(process.pid, signal.SIGSTOP)

    def mends(world: World) -> list[Mend]:
        family = _family(world.running()[part])
        return [{"kind": "thaw", "processes": [asdict(process) for process in family]}]

    return Fault(f"{part} frozen (SIGSTOP)", cause, mends)


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
