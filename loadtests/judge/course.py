"""One load test as one of Locust's processes sees it, and what a worker reports to its master."""

import secrets
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from typing import Any

from loadtests.judge.run import Run
from loadtests.traffic.phases import Due
from loadtests.traffic.sample import Sample


@dataclass
class Course:
    """options: of Locust; the master tells its workers begins_at (seconds since 1970) and generators.

    started: generators of this process. pledged: how many have said what they owe. problem: why it could
    not go on.
    """

    run: Run
    options: Any
    run_id: str = field(default_factory=lambda: secrets.token_hex(4))
    started: int = 0
    pledged: int = 0
    problem: str | None = None
    _handed_over: int = 0

    @property
    def also(self) -> list[str]:
        """Further replicas of the system under test."""
        return [url for url in self.options.also.split(",") if url]

    @property
    def begins_at(self) -> float:
        return float(self.options.begins_at)

    @property
    def generators(self) -> int:
        return max(1, int(self.options.generators))

    def owe(self, dues: Iterable[Due]) -> None:
        """Note what one generator will send."""
        self.run.planned.update(due.phase for due in dues)
        self.pledged += 1

    def fail(self, problem: str) -> None:
        self.problem = self.problem or problem

    def report(self, data: dict[str, Any]) -> None:
        """Add what the master does not have yet to a report of Locust's."""
        run = self.run
        new = run.samples[self._handed_over :]
        self._handed_over += len(new)
        data["loadtest"] = {
            "samples": [astuple(sample) for sample in new],
            "dropped": run.dropped,
            "planned": list(run.planned.items()),
            "pledged": self.pledged,
            "problem": self.problem,
        }
        run.dropped = self.pledged = 0
        run.planned.clear()

    def take(self, data: dict[str, Any]) -> None:
        """Add what a worker has reported."""
        if found := data.get("loadtest"):
            self.run.samples += [Sample(*values) for values in found["samples"]]
            self.run.dropped += found["dropped"]
            self.run.planned.update(dict(found["planned"]))
            self.pledged += found["pledged"]
            if found["problem"]:
                self.fail(found["problem"])
