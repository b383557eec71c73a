from dataclasses import replace

from loadtests.faults.fault import nothing
from loadtests.judge.drill import Course, Drill
from loadtests.judge.judgement import problems, row_of
from loadtests.judge.limits import percentile
from loadtests.judge.scores import confusion, totals
from loadtests.observe.pager import Notice
from loadtests.observe.watch import held_since
from loadtests.traffic.sample import Sample

DRILL = Drill("a_fault", "", (nothing("it"),), ("DbPoolExhausted",), 55)


def notice(
    at: float, alert: str = "DbPoolExhausted", status: str = "firing", **more: object
) -> Notice:
    made = Notice(at, status, "pager", "group", status == "firing", (alert,), "text", "runbook")
    return replace(made, **more)  # type: ignore[arg-type]


def course(*found: Notice, drill: Drill = DRILL) -> Course:
    """Broken at 100, mended at 200."""
    return Course(drill, 1, started=50, injected=100, mended=200, ended=400, found=list(found))


def test_one_page_in_time_and_resolved_in_time_passes() -> None:
    assert problems(course(notice(140), notice(250, status="resolved"))) == []


def test_no_page_a_late_page_and_a_wrong_page_are_said() -> None:
    assert problems(course()) == ["DbPoolExhausted did not page"]
    late = problems(course(notice(160), notice(250, status="resolved")))
    assert late == ["DbPoolExhausted after 60 s, target 55 s"]
    wrong = notice(150, "PostgresDown", group="other")
    both = problems(
        course(
            notice(140),
            wrong,
            notice(250, status="resolved"),
            notice(251, "PostgresDown", "resolved", group="other"),
        )
    )
    assert both == ["2 pages, 1 expected: DbPoolExhausted; PostgresDown"]


def test_a_page_after_the_mend_is_said() -> None:
    again = [notice(140), notice(210, status="resolved"), notice(260)]

    said = problems(course(*again, notice(300, status="resolved")))

    assert "1 pages after the mend" in said


def test_an_update_of_a_group_that_fires_is_no_page() -> None:
    update = notice(170, "ApiProbeFailing", rang=False)

    assert problems(course(notice(140), update, notice(250, status="resolved"))) == []


def test_a_cause_that_follows_its_symptom_counts_where_it_may_follow() -> None:
    symptom = notice(120, "ApiProbeFailing")
    cause = notice(140, rang=False)
    end = notice(250, status="resolved")

    strict = course(symptom, cause, end)
    assert problems(strict) == ["DbPoolExhausted did not page"]
    assert (row_of(strict)["wrong_pages"], "paged_seconds" in row_of(strict)) == (1, False)

    lenient = course(symptom, cause, end, drill=replace(DRILL, may_follow=True))
    assert problems(lenient) == []
    row = row_of(lenient)
    assert (row["detect_seconds"], row["paged_seconds"]) == (40, {"DbPoolExhausted": 40})
    assert (row["wrong_pages"], row["is_attributed"]) == (0, False)


def test_a_page_of_another_group_is_wrong_though_the_cause_followed() -> None:
    lenient = replace(DRILL, may_follow=True)
    other = notice(130, "PostgresDown", group="other")
    found = (notice(120, "ApiProbeFailing"), notice(140, rang=False), other)

    row = row_of(course(*found, drill=lenient))
    listed = row_of(course(*found, drill=replace(lenient, also=frozenset({"PostgresDown"}))))

    assert row["wrong_pages"] == 1
    assert "a page that is not listed: PostgresDown" in row["problems"]
    assert listed["wrong_pages"] == 0
    assert not [one for one in listed["problems"] if "listed" in one]


def test_recovery_counts_from_the_mend_and_needs_answers_that_can_have_come() -> None:
    """Broken at 100, mended at 200; the load has begun at 50 and ended at 400."""

    def sent(until: float) -> Course:
        found = course()
        for at in range(350):
            status = 500 if 50 <= at < until else 200
            found.samples.append(Sample(at, "GET /", 0.01, status, "", 0.0, 2.0))
        return found

    assert row_of(sent(150))["recovery_seconds"] == 0
    assert row_of(sent(170))["recovery_seconds"] == 19
    assert row_of(sent(349))["recovery_seconds"] is None


def test_what_is_never_or_late_resolved_is_said() -> None:
    assert problems(course(notice(140))) == ["not resolved 200 s after the mend"]
    late = problems(course(notice(140), notice(330, status="resolved")))
    assert late == ["resolved after 130 s, target 120 s"]


def test_a_silent_drill_that_pages_does_not_pass() -> None:
    silent = replace(DRILL, expects=())

    assert problems(course(drill=silent)) == []
    said = problems(course(notice(140), notice(150, status="resolved"), drill=silent))
    assert said == ["1 pages, 0 expected: DbPoolExhausted"]


def test_a_ticket_that_is_expected_and_missing_is_said() -> None:
    drill = replace(DRILL, expects=(), tickets=frozenset({"ApiValidationClientRelease"}))
    ticket = notice(150, "ApiValidationClientRelease", receiver="ticket")

    assert problems(course(drill=drill)) == ["no ticket ApiValidationClientRelease"]
    assert problems(course(ticket, drill=drill)) == []


def test_the_second_break_has_a_clock_of_its_own() -> None:
    second = replace(nothing("the other"), after_seconds=60)
    drill = replace(DRILL, breaks=(nothing("one"), second), expects=("A", "B"))
    found = [notice(140, "A"), notice(210, "B", group="other")]

    said = problems(course(*found, drill=drill))

    assert not [text for text in said if "target" in text]


def test_totals_count_recall_precision_attribution_and_pages_per_fault() -> None:
    good = row_of(course(notice(140), notice(250, status="resolved")))
    missed = row_of(course())
    confused = row_of(course(notice(140, "PostgresDown"), notice(250, "PostgresDown", "resolved")))
    silent = row_of(course(drill=replace(DRILL, expects=())))

    scores = totals([good, missed, confused, silent])

    assert scores["recall"] == 0.3333
    assert scores["precision"] == 0.5
    assert scores["attribution"] == 0.5
    assert scores["pages_per_fault"] == 0.6667
    assert scores["quiet_pages"] == 0
    assert scores["detect_seconds_p50"] == 40.0
    assert confusion([good, missed, confused])["DbPoolExhausted"] == {
        "DbPoolExhausted": 1,
        "no page": 1,
        "PostgresDown": 1,
    }


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0


def test_a_condition_has_held_only_without_an_interruption() -> None:
    values = [(0.0, 1.0), (5.0, 1.0), (10.0, 0.0), (15.0, 1.0), (20.0, 1.0), (25.0, 1.0)]

    assert held_since(values, 10.0) == 25.0
    assert held_since(values, 11.0) is None
    assert held_since(values, 0.0) == 0.0
