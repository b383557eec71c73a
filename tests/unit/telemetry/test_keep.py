import random

import pytest

from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.record import RequestRecord


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def record(**fields: object) -> RequestRecord:
    made = RequestRecord(method="GET", route="/things", started=1000.0)
    made.trace_id = "f" * 32
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_an_unremarkable_request_is_kept_only_by_the_ratio() -> None:
    assert not Keep(base_ratio=0.5, clock=Clock()).request(record(), 200)
    assert Keep(base_ratio=0.5, clock=Clock()).request(record(trace_id="0" * 31 + "1"), 200)


@pytest.mark.parametrize("ratio", [0.0, 0.05, 1.0])
def test_the_ratio_is_the_share_of_random_trace_ids(ratio: float) -> None:
    keep, generator = Keep(base_ratio=ratio), random.Random(7)  # noqa: S311

    kept = sum(keep.ratio(generator.getrandbits(128)) for _ in range(20_000))

    assert kept / 20_000 == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize("status", [400, 409, 422, 500, 503, 504])
def test_every_problem_is_kept(status: int) -> None:
    keep = Keep(base_ratio=0, clock=Clock())

    assert all(keep.request(record(code="x"), status) for _ in range(3))


def test_a_5xx_without_a_code_is_kept() -> None:
    assert Keep(base_ratio=0, clock=Clock()).request(record(), 500)


@pytest.mark.parametrize("status", [401, 404, 429])
def test_problems_that_anybody_can_cause_are_kept_once_a_second(status: int) -> None:
    clock = Clock()
    keep = Keep(base_ratio=0, clock=clock)

    at_once = [keep.request(record(code="x"), status) for _ in range(3)]
    clock.seconds += 1
    later = keep.request(record(code="x", started=clock.seconds), status)

    assert at_once == [True, False, False]
    assert later


def test_each_of_these_statuses_has_a_limit_of_its_own() -> None:
    keep = Keep(base_ratio=0, clock=Clock())

    assert [keep.request(record(code="x"), status) for status in (401, 404, 429)] == [True] * 3


def test_slow_requests_and_long_waits_are_kept() -> None:
    clock = Clock()
    keep = Keep(base_ratio=0, clock=clock)

    assert keep.request(record(pool_wait_seconds=0.051), 200)
    assert not keep.request(record(), 200)
    clock.seconds += 0.251
    assert keep.request(record(), 200)


def test_a_request_without_a_trace_is_never_kept() -> None:
    keep = Keep(base_ratio=1, clock=Clock())

    assert not keep.request(record(trace_id="", code="x"), 503)
    assert not keep.request(record(shed=True, code="overloaded"), 503)


def test_a_root_of_our_own_is_kept_when_it_failed_or_was_slow() -> None:
    keep = Keep(base_ratio=0)

    assert keep.root(1, seconds=0.01, failed=True)
    assert keep.root(1, seconds=0.3, failed=False)
    assert not keep.root(1, seconds=0.01, failed=False)
