"""Distinct callers by their latest answer."""

from firedrill_kit.telemetry.callers import CALLERS_MAX, WINDOW_SECONDS, RecentCallers

PROFILE = ("/api/v1/profile", "PUT")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_caller_counts_once_however_often_it_is_rejected() -> None:
    callers = RecentCallers()

    for _ in range(50):
        callers.note(*PROFILE, "a", "web/1.9", 422)

    assert callers.counts() == {
        (*PROFILE, "web/1.9", "rejected"): 1,
        (*PROFILE, "web/1.9", "served"): 0,
    }


def test_a_caller_that_pretends_many_versions_is_still_one() -> None:
    callers = RecentCallers()

    for number in range(30):
        callers.note(*PROFILE, "a", f"web/{number}.0", 422)

    assert sum(callers.counts().values()) == 1


def test_the_latest_answer_counts() -> None:
    callers = RecentCallers()

    callers.note(*PROFILE, "mended", "web/1.9", 422)
    callers.note(*PROFILE, "mended", "web/1.9", 204)
    callers.note(*PROFILE, "broken", "web/1.9", 200)
    callers.note(*PROFILE, "broken", "web/1.9", 422)
    callers.note("/api/v1/profile", "GET", "broken", "web/1.9", 304)

    assert callers.counts() == {
        (*PROFILE, "web/1.9", "rejected"): 1,
        (*PROFILE, "web/1.9", "served"): 1,
        ("/api/v1/profile", "GET", "web/1.9", "served"): 1,
        ("/api/v1/profile", "GET", "web/1.9", "rejected"): 0,
    }


def test_what_says_nothing_of_the_contract_is_left_out() -> None:
    callers = RecentCallers()

    for status in (401, 403, 404, 405, 409, 412, 429, 500, 503):
        callers.note(*PROFILE, "a", "web/1.9", status)
    callers.note(*PROFILE, "", "web/1.9", 422)
    callers.note(*PROFILE, "the prober", "prober", 422)

    assert callers.counts() == {}


def test_a_caller_is_forgotten_two_minutes_after_its_last_answer() -> None:
    clock = Clock()
    callers = RecentCallers(clock=clock)
    callers.note(*PROFILE, "a", "web/1.9", 422)

    clock.now += WINDOW_SECONDS
    assert callers.counts()[*PROFILE, "web/1.9", "rejected"] == 1
    clock.now += 0.1
    assert callers.counts() == {}


def test_the_callers_of_a_route_are_bounded_and_the_newest_stay() -> None:
    callers = RecentCallers()

    callers.note(*PROFILE, "first", "web/1.8", 422)
    for number in range(CALLERS_MAX):
        callers.note(*PROFILE, f"caller {number}", "web/1.9", 200)

    assert callers.counts() == {
        (*PROFILE, "web/1.9", "served"): CALLERS_MAX,
        (*PROFILE, "web/1.9", "rejected"): 0,
    }
