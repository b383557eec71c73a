"""`python -m loadtests.drills.runner.demo`: three minutes from nothing to a page and back, as it happens.

Exit codes: 0 all went as it should, 1 something did not (it is printed), 2 could not run, 130 interrupted.
"""

import asyncio
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import httpx

from loadtests.drills import catalogue
from loadtests.drills.runner import run
from loadtests.judge import judgement
from loadtests.observe import traces
from loadtests.observe.pager import Notice
from loadtests.world.command import run as run_command
from loadtests.world.stage import Stage, own_stage
from stack.command_line import Parser
from stack.prometheus import Prometheus
from stack.settings import Settings

DRILL = "db_pool_exhausted"
WIDTH = 100
SPANS_SHOWN = 12
SHOWN_FIELDS = (
    "event",
    "http.route",
    "http.response.status_code",
    "firedrill.failure.code",
    "firedrill.pool_wait_ms",
)


class Story:
    """Tells what happens, each line with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._step = 0

    def step(self, title: str) -> None:
        self._step += 1
        print(f"\n{self._step}. {title}", flush=True)

    def say(self, text: str) -> None:
        stamp = f"{time.monotonic() - self._started:4.0f} s | "
        for line in textwrap.wrap(text, WIDTH - len(stamp)) or [""]:
            print(f"{stamp}{line}", flush=True)
            stamp = " " * (len(stamp) - 2) + "| "


async def tell(stage: Stage, story: Story) -> int:
    """Carry the drill out and tell it. Returns the exit code."""
    drill = replace(catalogue()[DRILL], warm_seconds=15.0, watch_after_seconds=0.0)
    story.step(
        "A stack of its own: service, PostgreSQL, provider, Prometheus, Alertmanager, pager"
    )
    course = await run.carry_out(
        drill, stage, seed=1, say=story.say, at_page=partial(_explain, stage, story)
    )
    row = judgement.row_of(course)
    story.step("What it was like")
    story.say(f"The page came {_seconds(row['detect_seconds'])} after the fault and was resolved")
    story.say(f"{_seconds(row['resolve_seconds'])} after the mend; {row['pages']} page in all.")
    story.say(f"{row['requests_failed']} of {row['requests']} requests failed meanwhile.")
    for text in row["problems"]:
        story.say(f"NOT as it should be: {text}")
    story.say("Next: `make up` keeps a stack for you; docs/drills.md has every drill.")
    return int(bool(row["problems"]))


async def _explain(stage: Stage, story: Story, page: Notice) -> None:
    """While the fault lasts: what the page leads to."""
    story.step("Where the page leads")
    story.say(f"Runbook: {page.runbook} (alerting/alerts/{DRILL}/runbook.md)")
    for line in await asyncio.to_thread(_trace, stage.settings):
        story.say(line)
    story.step("The mend, and the recovery")


def _trace(settings: Settings) -> list[str]:
    """A refused request with its spans and its log lines, found by the exemplar of its duration."""
    selector = 'http_server_request_duration_seconds_bucket{http_response_status_code="503"}'
    now = time.time()
    with Prometheus(settings.url("prometheus")) as prometheus:
        exemplars = [one for _, one in prometheus.exemplars(selector, start=now - 60, end=now)]
    with httpx.Client(trust_env=False, timeout=5) as http:
        for exemplar in sorted(exemplars, key=lambda one: -one["timestamp"]):
            trace_id = exemplar["labels"]["trace_id"]
            if found := traces.trace(http, settings.url("viewer"), trace_id):
                return _trace_lines(trace_id, found)
    return ["no refused request has left its trace yet"]


def _trace_lines(trace_id: str, trace: dict[str, Any]) -> list[str]:
    lines = [f"An exemplar of the 503s leads to trace {trace_id}:"]
    lines += [
        f"span {span['name']}, {span['duration_ms']:.1f} ms"
        for span in trace["spans"][:SPANS_SHOWN]
    ]
    for line in trace.get("logs", [])[:2]:
        shown = {name: line[name] for name in SHOWN_FIELDS if name in line}
        lines.append("log line " + " ".join(f"{name}={value}" for name, value in shown.items()))
    return lines


def _seconds(value: float | None) -> str:
    return "not" if value is None else f"{value:.0f} s"


def main(arguments: Sequence[str]) -> int:
    Parser(prog="demo", description=__doc__).parse_args(arguments)
    return asyncio.run(tell(own_stage(), Story()))


if __name__ == "__main__":
    run_command(
        "demo",
        lambda: main(sys.argv[1:]),
        interrupted="interrupted; what was broken is mended, the stack is gone",
    )
