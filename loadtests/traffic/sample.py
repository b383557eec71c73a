"""What became of one request: the same record for Locust's generators, for the drills and for the faults."""

import json
from dataclasses import dataclass

GRACE_SECONDS = 0.2
"""An answer may come this long after its deadline: the way there and back, on a machine that is busy."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request and its answer.

    due: seconds from the start of the load. seconds: from then until the whole answer was there; in an open
    loop a request that could not leave has waited as well. status 0: no answer, and `code` says why.
    late_seconds: between due and sent, which is the generator's own fault. is_at_once: released together
    with others. attempt: 0, or which repetition after a refusal.
    """

    due: float
    route: str
    seconds: float
    status: int
    code: str
    late_seconds: float
    deadline_seconds: float
    phase: int = 0
    version: str = ""
    trace_id: str = ""
    is_at_once: bool = False
    attempt: int = 0
    is_degraded: bool = False

    @property
    def seconds_over(self) -> float:
        """Beyond the deadline; negative: before it."""
        return self.seconds - self.deadline_seconds

    @property
    def is_late(self) -> bool:
        """Whether no answer came within the deadline and its grace."""
        return self.status == 0 or self.seconds_over > GRACE_SECONDS

    @property
    def is_refused(self) -> bool:
        """Whether the service had no place for it, and says when to come again."""
        return self.status in {429, 503}

    @property
    def is_failed(self) -> bool:
        """Whether the caller got nothing, an error of the server, or less than it asked for."""
        return self.status == 0 or self.status >= 500 or self.is_degraded

    @property
    def is_good(self) -> bool:
        """Whether the caller got what it asked for, in time."""
        return 200 <= self.status < 400 and not self.is_late


def problem_code(status: int, body: bytes) -> str:
    """The code that an answer of 400 and above names; empty below."""
    if status < 400:
        return ""
    try:
        return str(json.loads(body)["code"])
    except (ValueError, KeyError, TypeError):
        return "not a problem"


def says_degraded(body: bytes) -> bool:
    """Whether the answer names a part that is missing from it."""
    return b'"degraded":["' in body
