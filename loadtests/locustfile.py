"""Locust's side of the load tests: options, the conductor that breaks and mends, the verdict at the end.

`make load SCENARIO=steady` calls it; `locust -f loadtests/locustfile.py --host URL` opens the web page, and
`--master`, `--worker` distribute it. Exit codes: 0 every limit held, 1 one is broken (printed with its
figure), 2 it could not run, or the generator was late and the result is void.
"""

import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import httpx
from gevent.event import Event
from locust import events
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from loadtests.judge.course import Course
from loadtests.judge.run import Run, void
from loadtests.observe.exposition import replicas
from loadtests.record import runs as record
from loadtests.scenarios import SCENARIOS
from loadtests.traffic.breaking import BreakFailedError, Breaking, ask_provider
from loadtests.traffic.engine import PATIENCE_SECONDS
from loadtests.traffic.launch import INTERNAL_URLS, PHASES_PORT, RATE, RECORD
from loadtests.traffic.phases import Phase, starts
from loadtests.traffic.users import CONNECT_SECONDS, Generator
from stack.command_line import above_zero

__all__ = ["Generator"]

START_DELAY_SECONDS = 8.0
"""From the start to the first arrival: every generator has signed its callers in by then."""
REPORTED_SECONDS = PATIENCE_SECONDS + CONNECT_SECONDS + 2 * WORKER_REPORT_INTERVAL
"""From the end of the last phase until a generator that lives has reported every answer."""
RISE_MIN = 1.05
"""A step that serves less than this times the best before has found the end."""
PRIORITY = -10
"""Niceness of the generator, where it may choose it."""

_log = logging.getLogger("loadtest")
_prepared = Event()
_registry = CollectorRegistry()
_phase_info = Gauge(
    "loadtest_phase_info", "1 while it lasts.", ["scenario", "phase"], registry=_registry
)


def _add_options(parser: Any, **_: Any) -> None:
    add = parser.add_argument
    add("--scenario", choices=sorted(SCENARIOS), default="steady", env_var="LOADTEST_SCENARIO")
    add("--rate", type=above_zero, default=RATE, help="requests a second of the steady mix")
    add("--duration", type=above_zero, default=None, help="seconds, all phases together")
    add("--seed", type=int, default=1, help="of the arrivals")
    add("--also", default="", help="further replicas, URLs separated by commas")


def _prepare(environment: Any, **_: Any) -> None:
    with contextlib.suppress(OSError):
        # Beside what it measures on one machine, it must not be the one that waits. Needs root.
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    environment.stop_timeout = PATIENCE_SECONDS + 10
    environment.course = _course_of(environment.parsed_options)
    if isinstance(environment.runner, WorkerRunner):
        environment.events.report_to_master.add_listener(
            lambda data, **_: environment.course.report(data)
        )
    elif isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(
            lambda data, **_: environment.course.take(data)
        )
    port = os.environ.get(PHASES_PORT)
    if port and not isinstance(environment.runner, WorkerRunner):
        start_http_server(int(port), addr="127.0.0.1", registry=_registry)
    _prepared.set()


def _course_of(options: Any) -> Course:
    scenario = SCENARIOS[options.scenario]
    hosts = 1 + sum(bool(url) for url in options.also.split(","))
    phases = scenario.at(options.rate, options.duration, replicas=hosts)
    return Course(Run(scenario.name, phases), options)


def _begin(environment: Any, **_: Any) -> None:
    # A worker may be asked to start while Locust still makes its runner.
    _prepared.wait()
    options = environment.parsed_options
    is_worker = isinstance(environment.runner, WorkerRunner)
    if not is_worker:
        options.begins_at = time.time() + START_DELAY_SECONDS
        options.generators = environment.runner.target_user_count
    environment.course = _course_of(options)
    if not is_worker:
        gevent.spawn(_conduct, environment)


def _conduct(environment: Any) -> None:
    """Go through the phases; what was broken is mended whatever ends it."""
    course: Course = environment.course
    breaking = None
    before = _metrics()
    try:
        if breaks := [one for phase in course.run.phases for one in phase.breaks]:
            breaking = Breaking(breaks)
        _go_through(course, breaking)
        _await_answers(course)
    except (BreakFailedError, httpx.HTTPError) as error:
        course.fail(str(error))
    finally:
        if breaking is not None:
            breaking.end()
        _phase_info.clear()
        after = _metrics()
        course.run.metrics = {name: after[name] - before.get(name, 0) for name in after}
        runner = environment.runner
        (runner.quit if environment.parsed_options.headless else runner.stop)()
    if not environment.parsed_options.headless:
        _say_verdict(environment)


def _go_through(course: Course, breaking: Breaking | None) -> None:
    run = course.run
    scenario = SCENARIOS[run.scenario]
    following = [*(phase.breaks for phase in run.phases[1:]), ()]
    for number, (phase, start) in enumerate(zip(run.phases, starts(run.phases), strict=True)):
        _sleep_until(course, course.begins_at + start)
        if course.problem:
            return
        _phase_info.clear()
        _phase_info.labels(scenario.name, phase.name).set(1)
        _log.info("phase %s: %.0f s%s", phase.name, phase.seconds, _described(phase))
        if scenario.is_refereed:
            ask_provider("POST", "/_judge/reset")
        if breaking is not None:
            breaking.become(phase.breaks)
        _sleep_until(course, course.begins_at + start + phase.seconds)
        if breaking is not None:
            breaking.keep(following[number])
            run.mended[phase.name] = time.time() - course.begins_at
        if scenario.is_refereed:
            run.judged[phase.name] = _referee(run, phase.name)
        if scenario.watches_memory and (found := _metrics()):
            run.resident_bytes.append(found["resident_bytes"])
        run.gone_through = number + 1
        if scenario.stops_when_full and _is_full(run):
            return


def _described(phase: Phase) -> str:
    rate = f", {sum(phase.rates.values()):.0f} requests a second" if phase.rates else ""
    return rate + (f"; broken: {', '.join(phase.breaks)}" if phase.breaks else "")


def _sleep_until(course: Course, at: float) -> None:
    while not course.problem and (left := at - time.time()) > 0:
        gevent.sleep(min(left, 0.5))


def _await_answers(course: Course) -> None:
    """Locust waits half a second for what its workers have not reported yet; an answer may take longer."""
    if course.pledged < course.generators:
        course.fail(f"{course.generators - course.pledged} of {course.generators} never started")
    ends_at = time.time() + REPORTED_SECONDS
    while not course.problem and course.run.missing > 0 and time.time() < ends_at:
        gevent.sleep(0.5)


def _is_full(run: Run) -> bool:
    *earlier, last = [run.goodput(phase.name) for phase in run.phases[: run.gone_through]]
    return bool(earlier) and last < max(earlier) * RISE_MIN


def _referee(run: Run, phase: str) -> dict[str, Any]:
    """What the provider saw in a round, and how many grants had callers."""
    verdict = ask_provider("GET", "/_judge")
    everyone = verdict["totals"]
    return {
        "token_calls": everyone["token_calls"],
        "reuse_seen": everyone["reuse_seen"],
        "grants": sum(bool(one["calendar_calls"]) for one in verdict["grants"].values()),
        "callers": sum(one.is_at_once and one.attempt == 0 for one in run.of(phase)),
    }


def _metrics() -> dict[str, float]:
    return replicas(url for url in os.environ.get(INTERNAL_URLS, "").split(",") if url)


def _end(environment: Any, **_: Any) -> None:
    if environment.parsed_options.headless and not isinstance(environment.runner, WorkerRunner):
        _say_verdict(environment)


def _say_verdict(environment: Any) -> None:
    """Print each limit with its figure, keep the record, set the exit code."""
    course: Course = environment.course
    run, options = course.run, environment.parsed_options
    scenario = SCENARIOS[run.scenario]
    run.is_generator_busy = bool(environment.runner.cpu_warning_emitted)
    if run.gone_through < len(run.phases) and not scenario.stops_when_full:
        course.fail("it was ended before its last phase")
    reason = course.problem or void(run, stops_when_full=scenario.stops_when_full)
    found = [] if course.problem or not run.samples else scenario.judge(run)
    for limit in found:
        print(f"{'    ok' if limit.holds else 'BROKEN'}  {limit}")
    if reason:
        print(f"load: no result: {reason}", file=sys.stderr)
    is_broken = not all(limit.holds for limit in found)
    environment.process_exit_code = 2 if reason else int(is_broken)
    if file := os.environ.get(RECORD):
        content = record.of(run, found, reason, rate=options.rate, seed=options.seed)
        Path(file).write_text(json.dumps(content, indent=1) + "\n")


for _hook, _listener in (
    (events.init_command_line_parser, _add_options),
    (events.init, _prepare),
    (events.test_start, _begin),
    (events.quitting, _end),
):
    _hook.add_listener(_listener)  # type: ignore[no-untyped-call]
