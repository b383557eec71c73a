"""Locust's side of the load tests: options, the conductor that breaks and mends, the verdict at the end.

`make load SCENARIO=steady` calls it; `locust -f loadtests/locustfile.py --host URL` opens the web page, and
`--master`, `--worker` distribute it. Exit codes: 0 every limit held, 1 one is broken (each is said with its
figure), 2 it could not run, or the generator was late and the result is void.
"""

import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess as gevent_subprocess
from gevent.event import Event
from locust import events
from locust.runners import WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from loadtests.judge import limits
from loadtests.judge.limits import RISE_MIN, Run, Sample
from loadtests.record import runs as record
from loadtests.scenarios import BROKEN_VERSION, RATE, SCENARIOS, Scenario
from loadtests.traffic.launch import above_zero
from loadtests.traffic.phases import Due, Phase, starts
from loadtests.traffic.users import CONNECT_SECONDS, PATIENCE_SECONDS, Generator

__all__ = ["Generator"]

LEAD_SECONDS = 8.0
"""From the start to the first arrival: every generator has signed its callers in by then."""
REPORTED_SECONDS = PATIENCE_SECONDS + CONNECT_SECONDS + 2 * WORKER_REPORT_INTERVAL
"""From the end of the last phase until a generator that lives has told of every answer."""
PRIORITY = -10
"""Niceness of the generator, where it may choose it."""
PHASES_PORT = "LOADTEST_METRICS_PORT"
INTERNAL_URLS = "LOADTEST_INTERNAL_URLS"
PROVIDER_URL = "LOADTEST_PROVIDER_URL"
OWNER_DSN = "LOADTEST_OWNER_DSN"
ACCESS_NEEDED = f"it needs the local stack (no HOST), or {OWNER_DSN} and {PROVIDER_URL} of another"
RECORD = "LOADTEST_RECORD"

_log = logging.getLogger("loadtest")
_prepared = Event()
_registry = CollectorRegistry()
_phase_info = Gauge(
    "loadtest_phase_info", "1 while it lasts.", ["scenario", "phase"], registry=_registry
)


@dataclass
class Course:
    """One run, as this process sees it. problem: why it could not go on."""

    scenario: Scenario
    phases: tuple[Phase, ...]
    seed: int
    also: list[str]
    options: Any
    run_id: str = field(default_factory=lambda: secrets.token_hex(4))
    samples: list[Sample] = field(default_factory=list)
    sent_on: int = 0
    dropped: int = 0
    started: int = 0
    planned: Counter[int] = field(default_factory=Counter)
    """Requests owed, by phase, of the generators that have said so."""
    pledged: int = 0
    """How many generators have."""
    gone_through: int = 0
    problem: str | None = None
    mended: dict[str, float] = field(default_factory=dict)
    judged: dict[str, dict[str, Any]] = field(default_factory=dict)
    resident_bytes: list[float] = field(default_factory=list)
    counted: dict[str, float] = field(default_factory=dict)

    @property
    def begins_at(self) -> float:
        """Seconds since 1970; the master says it to all."""
        return float(self.options.begins_at)

    @property
    def generators(self) -> int:
        return max(1, int(self.options.generators))

    def owe(self, dues: Iterable[Due]) -> None:
        """Note what one generator will send."""
        self.planned.update(due.phase for due in dues)
        self.pledged += 1

    def fail(self, problem: str) -> None:
        self.problem = self.problem or problem

    def run(self, *, is_busy: bool = False) -> Run:
        return Run(
            self.scenario.name,
            [phase.name for phase in self.phases],
            [phase.seconds for phase in self.phases],
            self.samples,
            self.dropped,
            is_busy,
            self.mended,
            self.judged,
            self.resident_bytes,
            self.counted,
            [self.planned[number] for number in range(self.gone_through)],
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
    options = environment.parsed_options
    environment.stop_timeout = PATIENCE_SECONDS + 10
    environment.course = _course_of(options)
    if isinstance(environment.runner, WorkerRunner):
        environment.events.report_to_master.add_listener(
            lambda data, **_: _hand_over(environment.course, data)
        )
    elif isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(
            lambda data, **_: _take_over(environment.course, data)
        )
    port = os.environ.get(PHASES_PORT)
    if port and not isinstance(environment.runner, WorkerRunner):
        start_http_server(int(port), addr="127.0.0.1", registry=_registry)
    _prepared.set()


def _course_of(options: Any) -> Course:
    scenario = SCENARIOS[options.scenario]
    also = [url for url in options.also.split(",") if url]
    phases = scenario.at(options.rate, options.duration, replicas=1 + len(also))
    return Course(scenario, phases, options.seed, also, options)


def _hand_over(course: Course, data: dict[str, Any]) -> None:
    new = course.samples[course.sent_on :]
    course.sent_on += len(new)
    data["loadtest"] = {
        "samples": [list(asdict(sample).values()) for sample in new],
        "dropped": course.dropped,
        "planned": list(course.planned.items()),
        "pledged": course.pledged,
        "problem": course.problem,
    }
    course.dropped = course.pledged = 0
    course.planned.clear()


def _take_over(course: Course, data: dict[str, Any]) -> None:
    found = data.get("loadtest", {})
    course.samples += [Sample(*values) for values in found.get("samples", [])]
    course.dropped += found.get("dropped", 0)
    course.planned.update(dict(found.get("planned", [])))
    course.pledged += found.get("pledged", 0)
    if found.get("problem"):
        course.fail(found["problem"])


def _begin(environment: Any, **_: Any) -> None:
    # A worker may be told to start while Locust still makes its runner.
    _prepared.wait()
    options = environment.parsed_options
    if not isinstance(environment.runner, WorkerRunner):
        options.begins_at = time.time() + LEAD_SECONDS
        options.generators = environment.runner.target_user_count
    environment.course = _course_of(options)
    if not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(_conduct, environment)


def _conduct(environment: Any) -> None:
    """Go through the phases; what was broken is mended whatever ends it."""
    course: Course = environment.course
    breaking = None
    before = _counted()
    try:
        if any(phase.breaks for phase in course.phases):
            breaking = Breaking()
        _go_through(course, breaking)
        _await_answers(course)
    except BreakFailedError as error:
        course.fail(str(error))
    finally:
        if breaking is not None:
            breaking.end()
        _phase_info.clear()
        course.counted = {name: value - before.get(name, 0) for name, value in _counted().items()}
        runner = environment.runner
        (runner.quit if environment.parsed_options.headless else runner.stop)()
    if not environment.parsed_options.headless:
        _say_verdict(environment)


def _go_through(course: Course, breaking: "Breaking | None") -> None:
    for number, (phase, start) in enumerate(
        zip(course.phases, starts(course.phases), strict=True)
    ):
        _sleep_until(course, course.begins_at + start)
        if course.problem:
            return
        _phase_info.clear()
        _phase_info.labels(course.scenario.name, phase.name).set(1)
        _log.info("phase %s: %.0f s%s", phase.name, phase.seconds, _told(phase))
        if course.scenario.is_refereed:
            _provider("/_judge/reset", {})
        if breaking is not None:
            breaking.become(phase.breaks)
        _sleep_until(course, course.begins_at + start + phase.seconds)
        if breaking is not None:
            following = course.phases[number + 1 : number + 2]
            breaking.keep(following[0].breaks if following else ())
            course.mended[phase.name] = time.time() - course.begins_at
        if course.scenario.is_refereed:
            course.judged[phase.name] = _judgement(course, number)
        if course.scenario.watches_memory and (counted := _counted()):
            course.resident_bytes.append(counted["resident_bytes"])
        course.gone_through = number + 1
        if course.scenario.stops_when_full and _is_full(course):
            return


def _told(phase: Phase) -> str:
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
    while not course.problem and course.run().missing > 0 and time.time() < ends_at:
        gevent.sleep(0.5)


def _is_full(course: Course) -> bool:
    run = course.run()
    *earlier, last = [run.goodput(name) for name in run.phases[: course.gone_through]]
    return bool(earlier) and last < max(earlier) * RISE_MIN


def _judgement(course: Course, number: int) -> dict[str, Any]:
    """What the provider saw in a round, and how many grants had callers."""
    verdict = _provider("/_judge")
    everyone = verdict["totals"]
    grants = sum(1 for one in verdict["grants"].values() if one["calendar_calls"])
    return {
        "token_calls": everyone["token_calls"],
        "reuse_seen": everyone["reuse_seen"],
        "grants": grants,
        "callers": sum(
            one.phase == number and one.is_at_once and one.attempt == 0 for one in course.samples
        ),
    }


class BreakFailedError(Exception):
    """A phase could not break what it must, or mend it."""


class Breaking:
    """The process that breaks things. It is started before the clock, and mends when this one ends."""

    def __init__(self) -> None:
        """Raises BreakFailedError where nobody has said what to break."""
        if not (os.environ.get(OWNER_DSN) and os.environ.get(PROVIDER_URL)):
            # It would find the stack of this checkout, which is not what is met.
            raise BreakFailedError(f"the scenario breaks things: {ACCESS_NEEDED}")
        self._active: tuple[str, ...] = ()
        self._process = gevent_subprocess.Popen(
            [sys.executable, "-m", "loadtests.faults"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[1],
            text=True,
        )

    def become(self, wanted: tuple[str, ...]) -> None:
        """Break what is not broken yet. Raises BreakFailedError."""
        for what in wanted:
            if what not in self._active:
                self._order("break", what)
        self._active = wanted

    def keep(self, wanted: tuple[str, ...]) -> None:
        """Mend all but these. An expiry has nothing to mend, and comes again."""
        for what in self._active:
            if what not in wanted and what != "expire":
                self._order("mend", what)
        self._active = tuple(w for w in self._active if w in wanted and w != "expire")

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _order(self, order: str, what: str) -> None:
        self._process.stdin.write(f"{order} {what}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        if said != f"{'broken' if order == 'break' else 'mended'} {what}":
            raise BreakFailedError(
                f"cannot {order} {what} ({said or 'no access'}): {ACCESS_NEEDED}"
            )


def _provider(path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the provider simulator, where there is one."""
    base = os.environ.get(PROVIDER_URL)
    if not base:
        return {}
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(f"{base}{path}", data=data)  # noqa: S310 - http
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        found: dict[str, Any] = json.loads(answer.read() or b"{}")
    return found


def _counted() -> dict[str, float]:
    """What the service itself says, summed over its replicas."""
    found = {"resident_bytes": 0.0, "validation_errors": 0.0, "refused_of_version": 0.0}
    urls = [url for url in os.environ.get(INTERNAL_URLS, "").split(",") if url]
    for url in urls:
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310 - http
                lines = answer.read().decode().splitlines()
        except OSError:
            continue
        for line in lines:
            value = line.partition("#")[0].strip().rpartition(" ")[2]
            if line.startswith("process_resident_memory_bytes"):
                found["resident_bytes"] += float(value)
            elif line.startswith("http_request_validation_errors_total{"):
                found["validation_errors"] += float(value)
            elif line.startswith("api_client_requests_total{") and (
                'status_code="422"' in line and f'version="{_minor(BROKEN_VERSION)}' in line
            ):
                found["refused_of_version"] += float(value)
    return found if urls else {}


def _minor(version: str) -> str:
    """As the service counts it: without the patch level."""
    return version.rpartition(".")[0]


def _end(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner) or not environment.parsed_options.headless:
        return
    _say_verdict(environment)


def _say_verdict(environment: Any) -> None:
    """Print each limit with its figure, keep the record, set the exit code."""
    course: Course = environment.course
    runner = environment.runner
    run = course.run(is_busy=bool(runner.cpu_warning_emitted))
    void = course.problem or limits.void(run)
    found = [] if course.problem or not run.samples else limits.judge(run)
    broken = [limit for limit in found if not limit.holds]
    for limit in found:
        print(f"{'    ok' if limit.holds else 'BROKEN'}  {limit}")
    if void:
        print(f"load: no result: {void}", file=sys.stderr)
    environment.process_exit_code = 2 if void else int(bool(broken))
    if file := os.environ.get(RECORD):
        options = environment.parsed_options
        content = record.of(run, found, void, rate=options.rate, seed=options.seed)
        Path(file).write_text(json.dumps(content, indent=1) + "\n")


for _hook, _listener in (
    (events.init_command_line_parser, _add_options),
    (events.init, _prepare),
    (events.test_start, _begin),
    (events.quitting, _end),
):
    _hook.add_listener(_listener)  # type: ignore[no-untyped-call]
