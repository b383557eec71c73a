"""The judge: what clients did to the provider since the last reset, per grant and in all.

It counts what arrives, whatever the answer: a call is in flight from the moment its form has been
read until it was answered or its client has gone. `reuse_seen` counts superseded refresh tokens
that were refused; one that a grace period let through is `grace_accepted`.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from stack.provider.grants import Grant


@dataclass
class TokenCalls:
    calls: int = 0
    in_flight: int = 0
    most_concurrent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def arrive(self) -> None:
        self.calls += 1
        self.in_flight += 1
        self.most_concurrent = max(self.most_concurrent, self.in_flight)

    def leave(self, outcome: str) -> None:
        self.in_flight -= 1
        self.outcomes[outcome] += 1


@dataclass
class Rate:
    """Calls in a sliding second, and the most there ever were."""

    peak: int = 0
    _times: deque[float] = field(default_factory=deque)

    def hit(self, now: float) -> None:
        self._times.append(now)
        while self._times[0] <= now - 1.0:
            self._times.popleft()
        self.peak = max(self.peak, len(self._times))


@dataclass
class Tally:
    """Either all calls, or those of one grant."""

    token: TokenCalls = field(default_factory=TokenCalls)
    calendar_calls: int = 0
    calendar_outcomes: Counter[str] = field(default_factory=Counter)
    token_rate: Rate = field(default_factory=Rate)
    calendar_rate: Rate = field(default_factory=Rate)

    def verdict(self) -> dict[str, Any]:
        outcomes = self.token.outcomes
        return {
            "token_calls": self.token.calls,
            "token_calls_in_flight": self.token.in_flight,
            "most_concurrent_token_calls": self.token.most_concurrent,
            "peak_token_calls_per_second": self.token_rate.peak,
            "reuse_seen": outcomes["reuse"],
            "grace_accepted": outcomes["grace"],
            "outcomes": dict(sorted(outcomes.items())),
            "calendar_calls": self.calendar_calls,
            "peak_calendar_calls_per_second": self.calendar_rate.peak,
            "calendar_outcomes": dict(sorted(self.calendar_outcomes.items())),
        }


class TokenCall:
    """A call being judged. outcome: set by the code that knows; `unfinished` if nobody could say."""

    outcome = "unfinished"


class Judge:
    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        """monotonic: seconds of any origin, for the rates."""
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        self._all = Tally()
        self._by_grant: dict[str, Tally] = {}

    @contextmanager
    def token_call(self, grant: Grant | None) -> Iterator[TokenCall]:
        """Count one call at the token endpoint. A reset meanwhile forgets it wholly."""
        call, now = TokenCall(), self._monotonic()
        tallies = self._tallies(grant)
        for tally in tallies:
            tally.token.arrive()
            tally.token_rate.hit(now)
        try:
            yield call
        finally:
            for tally in tallies:
                tally.token.leave(call.outcome)

    def calendar_call(self, grant: Grant | None) -> Callable[[str], None]:
        """Count one call at the calendar; the function returned takes what became of it."""
        now = self._monotonic()
        tallies = self._tallies(grant)
        for tally in tallies:
            tally.calendar_calls += 1
            tally.calendar_rate.hit(now)

        def decided(outcome: str) -> None:
            for tally in tallies:
                tally.calendar_outcomes[outcome] += 1

        return decided

    def verdict(self, grants: list[Grant]) -> dict[str, dict[str, Any]]:
        """Totals over everything that arrived; and each of the grants given, called or not."""
        silent = Tally()
        by_grant = {
            grant.grant_id: {
                "user": grant.user,
                "revoked": grant.revoked,
                "refresh_token_generation": grant.generation,
                **self._by_grant.get(grant.grant_id, silent).verdict(),
            }
            for grant in grants
        }
        per_grant = [tally.token.most_concurrent for tally in self._by_grant.values()]
        totals = {
            **self._all.verdict(),
            "most_concurrent_token_calls_per_grant": max(per_grant, default=0),
            "revoked_families": sum(grant.revoked for grant in grants),
        }
        return {"totals": totals, "grants": by_grant}

    def _tallies(self, grant: Grant | None) -> list[Tally]:
        """A call whose token names no grant counts in the totals only."""
        if grant is None:
            return [self._all]
        return [self._all, self._by_grant.setdefault(grant.grant_id, Tally())]
