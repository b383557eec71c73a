"""What a scenario must show: limits on raw samples, each with its figure. They set the exit code.

Locust rounds percentiles (354 ms is 350), so they are judged on what was measured, not on its report.
Limits of speed are ratios within one run, or the service's own promises (deadlines, the pool's time limit).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.judge.figures import percentile
from loadtests.scenarios import BROKEN_VERSION, PROFILE, SYNC, UNRELATED

GRACE_SECONDS = 0.2
"""An answer may come this long after its deadline: the way there and back."""
LAG_MAX_SECONDS = 0.010
"""p99 of how late the generator started a request: above it, it measured itself."""
REFUSED_MAX_SECONDS = 0.35
"""p99 of a 503 for want of a connection or a place: the pool's 0.25 s, and a tenth for the rest."""
RECOVERY_MAX_SECONDS = 2.0
GOODPUT_MIN = 0.9
SLOW_FLOOR_SECONDS = 0.05
"""A p99 below this is not called slow, whatever it was before: a scrape or a collection takes as long."""
RISE_MIN = 1.05
"""A step that serves less than this times the best before has found the end."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer. due: seconds since the start. seconds: since it was due. status 0: none came.

    late: seconds that the generator started it after it was due. is_at_once: released with others.
    """

    due: float
    phase: int
    route: str
    seconds: float
    status: int
    code: str
    late: float
    deadline: float
    version: str
    trace_id: str
    is_at_once: bool = False
    attempt: int = 0

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 400 and self.seconds <= self.deadline + GRACE_SECONDS


@dataclass(frozen=True)
class Limit:
    """name: what is limited. One of most and least; neither: it is only reported."""

    name: str
    figure: float
    unit: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def holds(self) -> bool:
        return not (
            (self.most is not None and self.figure > self.most)
            or (self.least is not None and self.figure < self.least)
        )

    def __str__(self) -> str:
        bound = ""
        if self.most is not None:
            bound = f", at most {self.most:.4g}"
        elif self.least is not None:
            bound = f", at least {self.least:.4g}"
        return f"{self.name}: {self.figure:.4g}{' ' * bool(self.unit)}{self.unit}{bound}"


@dataclass
class Run:
    """What one run left. mended: seconds since the start, by name of the phase whose break ended.

    judged: what the provider saw, by phase. resident_bytes: of the service, at the end of each phase.
    metrics: what the service itself counted over the run.
    """

    scenario: str
    phases: Sequence[str]
    seconds: Sequence[float]
    samples: Sequence[Sample]
    dropped: int = 0
    is_generator_busy: bool = False
    mended: Mapping[str, float] = field(default_factory=dict)
    judged: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resident_bytes: Sequence[float] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    planned: Sequence[int] = ()
    """Requests by phase that the generators owe, of the phases that were gone through."""

    @property
    def missing(self) -> int:
        """Planned requests of which nothing is known: neither an answer nor that they were dropped."""
        known = sum(s.attempt == 0 and s.phase < len(self.planned) for s in self.samples)
        return sum(self.planned) - known - self.dropped

    def of(self, phase: str, route: str | None = None) -> list[Sample]:
        number = self.phases.index(phase)
        return [s for s in self.samples if s.phase == number and route in {None, s.route}]

    def goodput(self, phase: str) -> float:
        """Good answers a second."""
        seconds = self.seconds[self.phases.index(phase)]
        return sum(sample.is_good for sample in self.of(phase)) / seconds


def p99(samples: Sequence[Sample]) -> float:
    return percentile([sample.seconds for sample in samples], 0.99) if samples else 0.0


def void(run: Run) -> str | None:
    """Why the result says nothing, or None: the generator was too slow, or a part of it was lost."""
    counted = [s.late for s in run.samples if not s.is_at_once and s.attempt == 0]
    if run.scenario == "capacity" and run.samples:
        best = run.phases.index(_best(run))
        counted = [s.late for s in run.samples if s.phase <= best]
    reasons = []
    if not run.samples:
        reasons.append("no request was answered")
    if counted and (late := percentile(counted, 0.99)) > LAG_MAX_SECONDS:
        reasons.append(f"requests started {late * 1000:.0f} ms late at the 99th percentile")
    if run.dropped:
        reasons.append(f"{run.dropped} arrivals were dropped")
    if run.missing > 0:
        reasons.append(f"nothing is known of {run.missing} of {sum(run.planned)} planned requests")
    if run.is_generator_busy:
        reasons.append("Locust's own processor was full")
    return "; ".join(reasons) or None


def judge(run: Run) -> list[Limit]:
    """Every limit of the scenario, held or broken."""
    return _JUDGES[run.scenario](run)


def _steady(run: Run) -> list[Limit]:
    samples = run.samples
    failed = sum(s.status == 0 or s.status >= 500 for s in samples) / len(samples)
    reads = [s for s in samples if s.route.startswith("GET")]
    return [
        Limit("failed requests", failed * 100, "%", most=0.1),
        Limit("p99 of reads", p99(reads), "s", most=0.5),
        _beyond_deadline(run),
    ]


def _best(run: Run) -> str:
    """The step that served most, of those that were sent."""
    sent = {sample.phase for sample in run.samples}
    return max((run.phases[number] for number in sorted(sent)), key=run.goodput)


def _capacity(run: Run) -> list[Limit]:
    best = _best(run)
    steps = [Limit(f"served at {name}", run.goodput(name), "/s") for name in run.phases]
    return [
        *(step for step in steps if step.figure),
        Limit("capacity", run.goodput(best), "/s"),
        Limit("p99 there", p99([s for s in run.of(best) if s.is_good]), "s"),
    ]


def _pool_exhaustion(run: Run) -> list[Limit]:
    held, surge = run.of("hold"), run.of("surge")
    codes = Counter(sample.code for sample in held if sample.code)
    refusals = [s for s in held + surge if s.code in {"db_pool_exhausted", "overloaded"}]
    refused = [s for s in refusals if s.route != SYNC]
    # A sync gives its connection back before it calls the provider, and may be refused the next one.
    refused_later = [s for s in refusals if s.route == SYNC]
    waited = [s for s in held if s.code == "db_lock_timeout"]
    calm = max(p99(run.of("calm", UNRELATED)), SLOW_FLOOR_SECONDS / 2)
    shared = [s for s in held if s.route not in {PROFILE, "PUT /api/v1/profile", UNRELATED}]
    shared_calm = [s for s in run.of("calm") if s.route in {one.route for one in shared}]
    return [
        Limit("db_pool_exhausted in hold", codes["db_pool_exhausted"], least=1),
        *(Limit(f"{code} in hold", n) for code, n in codes.items() if code != "db_pool_exhausted"),
        Limit("p99 of a refusal", p99(refused), "s", most=REFUSED_MAX_SECONDS),
        Limit("p99 of a refusal of a sync", p99(refused_later), "s"),
        # Whoever has a connection waits for the lock as long as `lock_timeout` lets it.
        Limit("p99 of db_lock_timeout", p99(waited), "s"),
        Limit("p99 of unrelated", p99(run.of("hold", UNRELATED)) / calm, "x calm", most=2),
        Limit("p99 of others in the pool", p99(shared) / p99(shared_calm), "x calm"),
        Limit(
            "recovery after hold",
            _recovery(run, "hold", "after hold"),
            "s",
            most=RECOVERY_MAX_SECONDS,
        ),
        Limit(
            "recovery after surge",
            _recovery(run, "surge", "after surge"),
            "s",
            most=RECOVERY_MAX_SECONDS,
        ),
        _beyond_deadline(run),
    ]


def _oauth_refresh(run: Run) -> list[Limit]:
    rounds = [name for name in run.phases if name.startswith("round")]
    callers = [s for s in run.samples if s.is_at_once and s.attempt == 0]
    # One that was refused asks again when it was told to.
    good = sum(sample.is_good for sample in run.samples if sample.is_at_once)
    grants = sum(run.judged[name]["grants"] for name in rounds)
    calls = sum(run.judged[name]["token_calls"] for name in rounds)
    reuse = sum(run.judged[name]["reuse_seen"] for name in rounds)
    return [
        Limit("provider calls a grant", calls / grants, most=1, least=1),
        Limit("refresh tokens used twice", reuse, most=0),
        Limit("callers without an answer of success", len(callers) - good, most=0),
        Limit("callers served", good, f"of {len(callers)}"),
        Limit("callers refused at first", sum(s.status in {429, 503} for s in callers)),
        Limit("p99 of a caller", p99(callers), "s"),
    ]


def _provider_slow(run: Run) -> list[Limit]:
    calm = max(p99(run.of("calm", PROFILE)), SLOW_FLOOR_SECONDS / 1.5)
    return [
        Limit("p99 of the profile", p99(run.of("slow", PROFILE)) / calm, "x calm", most=1.5),
        Limit("p99 of a sync", p99(run.of("slow", SYNC)), "s"),
        _beyond_deadline(run),
    ]


def _retry_storm(run: Run) -> list[Limit]:
    return [
        _goodput(run, "storm"),
        Limit("recovery", _recovery(run, "storm", "after"), "s", most=RECOVERY_MAX_SECONDS),
    ]


def _login_storm(run: Run) -> list[Limit]:
    calm = max(p99(run.of("calm", PROFILE)), SLOW_FLOOR_SECONDS / 2)
    return [Limit("p99 of the profile", p99(run.of("storm", PROFILE)) / calm, "x calm", most=2)]


def _spike(run: Run) -> list[Limit]:
    return [
        _goodput(run, "spike"),
        Limit("recovery", _recovery(run, "spike", "after"), "s", most=RECOVERY_MAX_SECONDS),
    ]


def _soak(run: Run) -> list[Limit]:
    limits = _steady(run)
    if len(run.resident_bytes) > 2:
        growth = run.resident_bytes[-1] / run.resident_bytes[1]
        limits.append(Limit("memory, last to second part", growth, "x", most=1.1))
    return limits


def _bad_client(run: Run) -> list[Limit]:
    refused = [s for s in run.samples if s.status == 422]
    others = sum(sample.version != BROKEN_VERSION for sample in refused)
    limits = [
        Limit("422 seen", len(refused), least=1),
        Limit("422 of sound versions", others, most=0),
    ]
    if "validation_errors" in run.metrics:
        named = run.metrics["refused_of_version"]
        limits += [
            Limit("422 under its version", named, least=len(refused), most=len(refused)),
            Limit("fields named", run.metrics["validation_errors"], least=len(refused)),
        ]
    return limits


def _goodput(run: Run, phase: str) -> Limit:
    share = run.goodput(phase) / run.goodput("full")
    return Limit(f"served in {phase}", share, "x capacity", least=GOODPUT_MIN)


def _beyond_deadline(run: Run) -> Limit:
    late = sum(s.status == 0 or s.seconds > s.deadline + GRACE_SECONDS for s in run.samples)
    return Limit("answers beyond the deadline", late, most=0)


def _recovery(run: Run, broken: str, after: str) -> float:
    """Seconds from the mend to the last request that was due after it and not served as in calm."""
    first = sum(run.seconds[: run.phases.index(after)])
    mended = run.mended.get(broken, first)
    bad = [s.due for s in run.of(after) if s.due >= mended and not s.is_good]
    return max(bad, default=mended) - mended


_JUDGES: Mapping[str, Callable[[Run], list[Limit]]] = {
    "steady": _steady,
    "capacity": _capacity,
    "pool_exhaustion": _pool_exhaustion,
    "oauth_refresh": _oauth_refresh,
    "provider_slow": _provider_slow,
    "retry_storm": _retry_storm,
    "login_storm": _login_storm,
    "spike": _spike,
    "soak": _soak,
    "bad_client": _bad_client,
}
