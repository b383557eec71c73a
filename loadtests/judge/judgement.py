"""The record of one drill: what happened, measured against what it demands."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtests.judge.drill import Course
from loadtests.judge.limits import late_p99, recovery
from loadtests.observe import watch
from loadtests.observe.pager import Notice, open_groups
from loadtests.traffic.engine import PATIENCE_SECONDS
from loadtests.traffic.sample import Sample

BIN_SECONDS = 5


def row_of(course: Course) -> dict[str, Any]:
    """The record of a drill, as docs/drills.json holds it."""
    drill = course.drill
    rang = course.rang
    first = rang[0] if rang else None
    expected = drill.expects[0] if drill.expects else None
    right = [page for page in course.qualifying if set(page.alerts) & set(drill.expects)]
    hops = course.fired.get(expected or "", {})
    named = {name for page in rang for name in page.alerts}
    came = arrivals(course)

    def seconds(at: float | None) -> float | None:
        return None if at is None else round(at - course.injected, 1)

    return {
        "name": drill.name,
        "what": drill.what,
        "seed": course.seed,
        "expected_alert": expected,
        "expected": list(drill.expects),
        "deadline_seconds": drill.deadline_seconds,
        "first_page": list(first.alerts) if first else None,
        "first_page_text": first.text if first else None,
        "runbook": first.runbook if first else None,
        "is_attributed": bool(first and first.alerts[0] in drill.expects),
        "detect_seconds": seconds(right[0].at) if right else None,
        "hops": {
            "first_bad_scrape": seconds(course.first_bad),
            "pending": seconds(hops.get("pending")),
            "firing": seconds(hops.get("firing")),
            "at_the_pager": seconds(right[0].at) if right else None,
        },
        "mended_seconds": seconds(course.mended),
        "resolve_seconds": _resolve_seconds(course),
        "recovery_seconds": _recovery_seconds(course),
        **_followed(course),
        "pages": len(rang),
        "pages_missed": sum(one.seconds is None for one in came),
        "pages_late": sum(one.is_late for one in came),
        "wrong_pages": len(_wrong(course)),
        "pages_after_mend": sum(page.at > course.mended for page in rang),
        "other_alerts": sorted(
            {name for name, states in course.fired.items() if "firing" in states} - named
            | (named - set(drill.expects))
        ),
        "tickets": _tickets(course),
        "tickets_missed": _missed(course),
        "requests": len(course.samples),
        "requests_failed": sum(one.is_failed for one in course.samples),
        "generator_late_p99_seconds": late_p99(course.samples),
        "runbook_has_data": course.confirmed,
        "references": course.references,
        **course.signals,
        "memory_peak_bytes": {**course.memory.parts, "all": course.memory.all_parts},
        "load_average": round(course.load_average, 2),
        "started_at": watch.clock(course.started),
        "injected_at_seconds": round(course.injected - course.started, 1),
        "bins": by_time(course.samples),
        "notices": [
            {**asdict(notice), "at": round(notice.at - course.injected, 1)}
            for notice in course.found
            if notice.at >= course.injected
        ],
        "problems": problems(course),
    }


def by_time(samples: Sequence[Sample]) -> list[dict[str, int]]:
    """Requests in bins of BIN_SECONDS: how many there were, and what became of them."""
    bins: dict[int, Counter[str]] = {}
    for sample in samples:
        counts = bins.setdefault(int(sample.due // BIN_SECONDS), Counter())
        kind = f"{sample.status // 100}xx" if sample.status else "no_answer"
        counts.update(["sent", "422" if sample.status == 422 else kind])
    return [{"at": number * BIN_SECONDS, **counts} for number, counts in sorted(bins.items())]


def _resolve_seconds(course: Course) -> float | None:
    """From the mend until the last page was resolved; None: there was none, or it never was."""
    opened = course.rang
    if not opened or open_groups(course.found, since=course.injected):
        return None
    groups = {page.group for page in opened}
    return round(max(0.0, max(n.at for n in course.found if n.group in groups) - course.mended), 1)


def _recovery_seconds(course: Course) -> float | None:
    """From the mend until all is served as before; None: not so long as could be seen."""
    mended = course.mended - course.started
    # What was sent after it may have no answer yet, and no sample.
    end = course.ended - course.started - PATIENCE_SECONDS
    return recovery(course.samples, mended=mended, end=end)


def _followed(course: Course) -> dict[str, dict[str, float]]:
    """When what was expected came, where it may have come as an update; the record has pages alone."""
    if not course.drill.may_follow:
        return {}
    came = {one.alert: one.seconds for one in arrivals(course) if one.seconds is not None}
    asked = {name: at for name, at in _tickets(course).items() if name in course.drill.tickets}
    return {"paged_seconds": {**asked, **came}}


def _wrong(course: Course) -> list[Notice]:
    """The pages that the drill does not list. Where a cause may follow, its page may open without it."""
    drill = course.drill
    right = [page for page in course.qualifying if set(page.alerts) & set(drill.expects)]
    wrong = [page for page in course.rang if page not in right]
    if drill.may_follow:
        explained = {page.group for page in right}
        wrong = [page for page in wrong if page.group not in explained]
        wrong = [page for page in wrong if not drill.also.issuperset(page.alerts)]
    return wrong


@dataclass(frozen=True)
class Arrival:
    """One expected page. seconds: from its own break to the pager; None: it never came."""

    alert: str
    seconds: float | None
    deadline_seconds: float

    @property
    def is_late(self) -> bool:
        return self.seconds is not None and self.seconds > self.deadline_seconds


def arrivals(course: Course) -> list[Arrival]:
    """The pages that the drill demands; the nth is that of the nth break."""
    drill = course.drill
    found = []
    for number, alert in enumerate(drill.expects):
        page = next((page for page in course.qualifying if alert in page.alerts), None)
        broken = course.injected + drill.breaks[min(number, len(drill.breaks) - 1)].after_seconds
        seconds = None if page is None else round(page.at - broken, 1)
        found.append(Arrival(alert, seconds, drill.deadline_seconds))
    return found


def problems(course: Course) -> list[str]:
    """What was not as the drill demands; empty: it passed."""
    drill = course.drill
    rang = course.rang
    came = arrivals(course)
    said = [f"{one.alert} did not page" for one in came if one.seconds is None]
    said += [
        f"{one.alert} after {one.seconds:.0f} s, target {one.deadline_seconds:.0f} s"
        for one in came
        if one.seconds is not None and one.is_late
    ]
    if drill.may_follow:
        said += [f"a page that is not listed: {', '.join(page.alerts)}" for page in _wrong(course)]
    elif len(rang) > len(drill.expects):
        more = "; ".join(", ".join(page.alerts) for page in rang)
        said.append(f"{len(rang)} pages, {len(drill.expects)} expected: {more}")
    if after := [page for page in rang if page.at > course.mended]:
        said.append(f"{len(after)} pages after the mend")
    said += _unresolved(course, rang)
    said += [f"no ticket {name}" for name in _missed(course)]
    blind = sorted(name for name, has_data in course.confirmed.items() if not has_data)
    return [
        *said,
        *(f"the runbook of {name} confirms with a query without data" for name in blind),
    ]


def _unresolved(course: Course, rang: Sequence[Notice]) -> list[str]:
    if rang and open_groups(course.found, since=course.injected):
        return [f"not resolved {course.ended - course.mended:.0f} s after the mend"]
    took = _resolve_seconds(course)
    if took is not None and took > course.drill.resolve_seconds:
        return [f"resolved after {took:.0f} s, target {course.drill.resolve_seconds:.0f} s"]
    return []


def _tickets(course: Course) -> dict[str, float]:
    """Seconds from the break to each ticket that came after it."""
    return {
        name: round(notice.at - course.injected, 1)
        for notice in reversed(course.found)
        if notice.receiver == "ticket"
        and notice.status == "firing"
        and notice.at >= course.injected
        for name in notice.alerts
    }


def _missed(course: Course) -> list[str]:
    return sorted(course.drill.tickets - _tickets(course).keys())
