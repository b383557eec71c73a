"""Each limit, held and broken: the exit code of a load test hangs on them."""

from collections import Counter
from dataclasses import replace

import pytest

from loadtests.judge.limits import Limit
from loadtests.judge.run import Run, void
from loadtests.scenarios import PROFILE, SCENARIOS, SYNC, UNRELATED
from loadtests.scenarios.bad_client import BROKEN_VERSION
from loadtests.traffic.sample import Sample

GOOD = Sample(0.0, PROFILE, 0.02, 200, "", 0.001, 2.0, version="web/1.8")


def run_of(scenario: str, samples: list[Sample], **more: object) -> Run:
    run = Run(scenario, SCENARIOS[scenario].at(40, None), samples)
    for name, value in more.items():
        setattr(run, name, value)
    return run


def judge(run: Run) -> list[Limit]:
    return SCENARIOS[run.scenario].judge(run)


def limit(run: Run, name: str) -> Limit:
    return next(one for one in judge(run) if one.name == name)


def pool_run() -> Run:
    """What it should be: 503s at once in hold, calm before and after."""
    run = run_of("pool_exhaustion", [])
    calm, hold, after = (run.number(name) for name in ("calm", "hold", "after hold"))
    other = replace(GOOD, route="GET /api/v1/settings")
    refused = replace(
        GOOD, phase=hold, due=25.0, status=503, code="db_pool_exhausted", seconds=0.26
    )
    run.samples = [
        *([replace(GOOD, route=UNRELATED), other] * 50),
        *([replace(GOOD, route=UNRELATED, phase=hold), replace(other, phase=hold)] * 50),
        *([refused] * 10),
        *([replace(GOOD, phase=after, due=41.0)] * 20),
        *([replace(GOOD, phase=run.number("after surge"), due=71.0)] * 20),
    ]
    run.mended = {"hold": 40.0}
    assert calm == 0
    return run


def test_a_pool_that_refuses_at_once_holds_every_limit() -> None:
    assert [str(one) for one in judge(pool_run()) if not one.holds] == []


def test_a_scenario_that_did_not_exhaust_the_pool_has_not_done_its_job() -> None:
    run = pool_run()
    run.samples = [replace(sample, code="") for sample in run.samples]

    assert not limit(run, "db_pool_exhausted in hold").holds


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("p99 of a refusal", {"status": 503, "code": "overloaded", "seconds": 0.4, "phase": 1}),
        ("p99 of unrelated", {"route": UNRELATED, "seconds": 0.2, "phase": 1}),
        ("recovery after hold", {"status": 503, "due": 42.5, "phase": 2}),
        ("answers beyond the deadline", {"seconds": 2.3}),
        ("answers beyond the deadline", {"status": 0}),
    ],
)
def test_what_a_plain_pool_does_breaks_a_limit(name: str, change: dict[str, float]) -> None:
    run = pool_run()
    run.samples = [*run.samples, *([replace(GOOD, **change)] * 10)]  # type: ignore[arg-type]

    assert not limit(run, name).holds


def refresh_run(calls: int, reuse: int, status: int) -> Run:
    caller = replace(GOOD, route=SYNC, is_at_once=True, deadline_seconds=15.0)
    run = run_of("oauth_refresh", [])
    rounds = [one.name for one in run.phases if one.name.startswith("round")]
    run.samples = [replace(caller, phase=run.number(name)) for name in rounds for _ in range(40)]
    run.samples = [*run.samples[:-1], replace(run.samples[-1], status=status)]
    run.judged = {
        name: {"token_calls": calls, "reuse_seen": reuse, "grants": 10} for name in rounds
    }
    return run


@pytest.mark.parametrize(
    ("calls", "reuse", "status", "broken"),
    [
        (10, 0, 200, []),
        (11, 0, 200, ["provider calls a grant"]),
        (9, 0, 200, ["provider calls a grant"]),
        (10, 1, 200, ["refresh tokens used twice"]),
        (10, 0, 409, ["callers without an answer of success"]),
    ],
)
def test_one_refresh_for_each_grant(
    calls: int, reuse: int, status: int, broken: list[str]
) -> None:
    found = judge(refresh_run(calls, reuse, status))

    assert [one.name for one in found if not one.holds] == broken


def test_a_caller_that_is_refused_and_served_when_it_asks_again_is_served() -> None:
    run = refresh_run(10, 0, 503)
    again = replace(run.samples[-1], status=200, attempt=1)
    run.samples = [*run.samples, again]

    assert limit(run, "callers without an answer of success").holds
    assert limit(run, "callers refused at first").figure == 1


def test_422_of_a_sound_version_are_not_the_broken_ones() -> None:
    refused = replace(GOOD, status=422, version=BROKEN_VERSION)

    assert limit(run_of("bad_client", [refused]), "422 of sound versions").holds
    sound = run_of("bad_client", [refused, replace(refused, version="web/1.8")])
    assert not limit(sound, "422 of sound versions").holds


def test_capacity_is_the_best_step() -> None:
    run = run_of("capacity", [])
    run.samples = [
        *([replace(GOOD, phase=0)] * 200),
        *([replace(GOOD, phase=1)] * 390),
        *([replace(GOOD, phase=2)] * 300),
        *([replace(GOOD, phase=2, status=503)] * 300),
    ]

    assert limit(run, "capacity").figure == 39


def test_goodput_counts_what_came_in_time() -> None:
    late = replace(GOOD, seconds=2.3)
    run = run_of("spike", [GOOD, late, replace(GOOD, status=503)])

    assert run.goodput("full") == pytest.approx(1 / 20)


@pytest.mark.parametrize(
    ("samples", "more", "said"),
    [
        ([GOOD] * 200, {}, None),
        ([GOOD] * 197 + [replace(GOOD, late_seconds=0.02)] * 3, {}, "20 ms late"),
        ([GOOD], {"dropped": 1}, "1 arrivals were dropped"),
        ([GOOD], {"is_generator_busy": True}, "processor"),
        ([], {}, "no request"),
    ],
)
def test_a_generator_that_measured_itself_makes_the_result_void(
    samples: list[Sample], more: dict[str, object], said: str | None
) -> None:
    reason = void(run_of("steady", samples, **more))

    assert reason is None if said is None else said in (reason or "")


def test_a_barrier_is_late_on_purpose() -> None:
    assert void(run_of("steady", [replace(GOOD, late_seconds=0.5, is_at_once=True)])) is None


@pytest.mark.parametrize(
    ("samples", "more", "missing"),
    [
        ([GOOD] * 4, {"planned": {0: 4}}, 0),
        ([GOOD] * 4, {"planned": {0: 10}}, 6),
        ([GOOD] * 4, {"planned": {0: 10}, "dropped": 1}, 5),
        ([GOOD, *[replace(GOOD, attempt=1)] * 3], {"planned": {0: 2}}, 1),
        # The run ended before the phase they are of did.
        ([GOOD] * 2 + [replace(GOOD, phase=1)] * 2, {"planned": {0: 3, 1: 9}}, 1),
    ],
)
def test_planned_requests_of_which_nothing_is_known_make_the_result_void(
    samples: list[Sample], more: dict[str, object], missing: int
) -> None:
    run = run_of("capacity", samples, gone_through=1, **more)
    run.planned = Counter(run.planned)

    reason = void(run) or ""

    assert run.missing == missing
    said = f"nothing is known of {missing} of {run.owed} planned requests"
    assert (said in reason) == (missing > 0)


def test_a_broken_limit_says_its_figure() -> None:
    assert str(Limit("p99", 0.412, "s", most=0.35)) == "p99: 0.412 s, at most 0.35"


def test_a_sync_may_be_refused_late_and_is_told_apart() -> None:
    run = pool_run()
    late = replace(GOOD, phase=1, due=25.0, status=503, code="db_pool_exhausted", seconds=0.8)
    run.samples = [*run.samples, replace(late, route=SYNC)]

    assert limit(run, "p99 of a refusal").holds
    assert limit(run, "p99 of a refusal of a sync").figure == 0.8


def test_each_replica_has_a_pool_of_its_own_to_exhaust() -> None:
    scenario = SCENARIOS["pool_exhaustion"]
    held = [scenario.at(40, None, replicas=count)[1].rates[PROFILE] for count in (1, 2)]

    assert held == [25.0, 50.0]
    assert SCENARIOS["steady"].at(40, None, replicas=2) == SCENARIOS["steady"].at(40, None)


@pytest.mark.parametrize(
    ("bad", "seconds"),
    [
        ({"status": 503}, 1.5),
        ({"status": 0}, 1.5),
        ({"is_degraded": True}, 1.5),
        ({"seconds": 2.3}, 1.5),
        ({"status": 404}, 0.0),
    ],
)
def test_recovery_is_over_when_nothing_later_fails_or_is_late(
    bad: dict[str, float], seconds: float
) -> None:
    run = run_of("spike", [replace(GOOD, due=55 + number / 10, phase=2) for number in range(200)])
    run.samples.append(replace(GOOD, due=61.5, phase=2, **bad))  # type: ignore[arg-type]

    assert limit(run, "recovery").figure == seconds


def test_a_recovery_that_is_not_reached_is_broken_and_said() -> None:
    run = run_of("spike", [replace(GOOD, due=60.5, seconds=0.3, phase=3)] * 100)

    recovery = limit(run, "recovery")

    assert not recovery.holds
    assert str(recovery) == "recovery: not reached, at most 2"


def test_overload_beyond_the_best_step_may_make_the_generator_late() -> None:
    samples = [GOOD, *[replace(GOOD, phase=1, status=503, late_seconds=0.1)] * 9]

    assert void(run_of("capacity", samples), stops_when_full=True) is None
    assert void(run_of("capacity", samples)) is not None


@pytest.mark.parametrize("name", SCENARIOS.keys() - {"oauth_refresh"})
def test_a_service_that_answers_nothing_breaks_limits_and_no_judge(name: str) -> None:
    found = judge(run_of(name, [replace(GOOD, status=0, code="no answer: OSError")]))

    assert [one for one in found if not one.holds] or name in {"capacity", "login_storm"}
