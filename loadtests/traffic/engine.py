"""Open-loop load: requests leave when they are due, whatever became of those before.

A closed loop would wait with the service and hide exactly the hangs that are looked for. So time is
counted from when a request was due, and every one of them has an outcome.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from loadtests.traffic.callers import Request
from loadtests.traffic.wire import Answer, NoAnswerError, ask
from loadtests.world.description import DEMO

MIX: Mapping[str, float] = DEMO.mix


@dataclass(frozen=True)
class Outcome:
    """What became of one request.

    due, seconds: from the start of the load / until the whole answer was there, since `due`.
    status 0: no answer; `code` says why. late_start_seconds: the generator's own fault.
    """

    route: str
    due: float
    seconds: float
    late_start_seconds: float
    deadline_seconds: float
    status: int
    code: str
    degraded: bool = False


def arrivals(
    mix: Mapping[str, float], *, seconds: float, chance: random.Random
) -> list[tuple[float, str]]:
    """Return (due, route) of a Poisson process for each route, in order of time."""
    due: list[tuple[float, str]] = []
    for route, per_second in mix.items():
        at = chance.expovariate(per_second)
        while at < seconds:
            due.append((at, route))
            at += chance.expovariate(per_second)
    return sorted(due)


def every(seconds: float, route: str, *, start: float, end: float) -> list[tuple[float, str]]:
    """Return (due, route) at even distances, the first one after one of them."""
    count = int((end - start) / seconds)
    return [(start + number * seconds, route) for number in range(1, count + 1)]


class Load:
    """Sends what is due and keeps the outcomes."""

    def __init__(
        self, ports: Sequence[int], make: Callable[[str], Request], *, timeout_seconds: float
    ) -> None:
        """ports: of the replicas, each in its turn. timeout_seconds: a request without an answer for so
        long is given up, and counts as one.
        """
        self._ports = cycle(ports)
        self._make = make
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._under_way: set[asyncio.Task[None]] = set()
        self.outcomes: list[Outcome] = []

    @property
    def now(self) -> float:
        """Seconds since the start of the load."""
        return self._loop.time() - self._started

    async def run(self, due: list[tuple[float, str]]) -> None:
        """Return once every request has its outcome."""
        for at, route in due:
            pause = at - self.now
            if pause > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(self._send(at, self._make(route)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)

    async def _send(self, due: float, request: Request) -> None:
        started = self.now
        status, code, degraded = 0, "", False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await ask(next(self._ports), request)
            status, code, degraded = answer.status, _code(answer), _is_degraded(answer)
        except (TimeoutError, NoAnswerError, OSError) as error:
            code = f"no answer: {type(error).__name__}"
        self.outcomes.append(
            Outcome(
                request.route,
                due,
                self.now - due,
                started - due,
                request.deadline_seconds,
                status,
                code,
                degraded,
            )
        )


def _code(answer: Answer) -> str:
    if answer.status < 400:
        return ""
    if answer.headers.get("content-type") != "application/problem+json":
        return "not a problem"
    code: str = json.loads(answer.body)["code"]
    return code


def _is_degraded(answer: Answer) -> bool:
    return b'"degraded":["' in answer.body
