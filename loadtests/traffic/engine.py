"""The open loop on asyncio: requests leave when they are due, whatever became of those before.

A closed loop would wait with the service and hide exactly the hangs that are looked for. So time is
counted from when a request was due, and every one of them leaves a sample.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle

from loadtests.traffic.callers import Request
from loadtests.traffic.phases import Due
from loadtests.traffic.sample import Sample, problem_code, says_degraded
from loadtests.traffic.wire import NoAnswerError, ask

PATIENCE_SECONDS = 20.0
"""A request without an answer for so long is given up: the longest deadline is 15 s."""


class Load:
    """Sends what is due and keeps the samples."""

    def __init__(
        self,
        urls: Sequence[str],
        make: Callable[[str], Request],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """urls: of the replicas, each in its turn. make: the next request of a route."""
        self._urls = cycle(urls)
        self._make = make
        self._patience_seconds = patience_seconds
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self.samples: list[Sample] = []

    @property
    def now(self) -> float:
        """Seconds since the start of the load."""
        return self._loop.time() - self._started

    async def run(self, dues: Iterable[Due]) -> None:
        """Return once every request has its sample; what is under way ends with this."""
        async with asyncio.TaskGroup() as under_way:
            for due in dues:
                if (pause := due.at - self.now) > 0:
                    await asyncio.sleep(pause)
                under_way.create_task(self._send(due, self._make(due.route)))

    async def _send(self, due: Due, request: Request) -> None:
        late = self.now - due.at
        status, code, is_degraded = 0, "", False
        try:
            async with asyncio.timeout(self._patience_seconds):
                answer = await ask(next(self._urls), request)
            status, code = answer.status, problem_code(answer.status, answer.body)
            is_degraded = says_degraded(answer.body)
        except (TimeoutError, NoAnswerError, OSError) as error:
            code = f"no answer: {type(error).__name__}"
        self.samples.append(
            Sample(
                due.at,
                due.route,
                self.now - due.at,
                status,
                code,
                late,
                request.deadline_seconds,
                due.phase,
                request.version,
                is_degraded=is_degraded,
            )
        )
