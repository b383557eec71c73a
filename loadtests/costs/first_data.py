"""`python -m loadtests.costs.first_data`: seconds from `make up` until each signal has its first data.

On a stack of its own, from an empty directory, with no caller but the prober. Writes
first_data.json and first_data.md. Exit codes: 0, 1 a signal had none in time, 2 the
stack did not start.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.observe import traces
from loadtests.record import record
from loadtests.record.markdown import heading, made, table
from loadtests.world.command import run
from loadtests.world.stage import Stage, StageError, alone, own_stage
from stack.command_line import Parser
from stack.prober import canary
from stack.prometheus import Prometheus
from stack.settings import Settings

LOOK_SECONDS = 0.25
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Seen:
    """What the signals of one stack are asked of."""

    settings: Settings
    prometheus: Prometheus
    http: httpx.Client


Has = Callable[[Seen], bool]


def _query(promql: str) -> Has:
    return lambda seen: bool(seen.prometheus.query(promql))


def _exemplar(seen: Seen) -> bool:
    now = time.time()
    selector = '{job="service"}'
    return bool(seen.prometheus.exemplars(selector, start=now - PATIENCE_SECONDS, end=now))


def _newest(seen: Seen) -> list[str]:
    return traces.newest(seen.http, seen.settings.url("viewer"), limit=5)


def _line(seen: Seen) -> bool:
    found = (traces.trace(seen.http, seen.settings.url("viewer"), one) for one in _newest(seen))
    return any(trace and trace["logs"] for trace in found)


def _watchdog(seen: Seen) -> bool:
    found = seen.http.get(seen.settings.url("alertmanager", "/api/v2/alerts")).json()
    return any(alert["labels"]["alertname"] == "Watchdog" for alert in found)


SIGNALS: Mapping[str, Has] = {
    "a request is counted in Prometheus": _query(
        'sum(http_server_request_duration_seconds_count{job="service"}) > 0'
    ),
    "every part is scraped": _query("min(up) == 1 and count(up) >= 8"),
    "an exemplar of a request": _exemplar,
    "a trace in the viewer": lambda seen: bool(_newest(seen)),
    "a log line under its trace": _line,
    "a recording rule has a value": _query("service_route:http_server_requests:increase1m"),
    "Watchdog at Alertmanager": _watchdog,
    **{
        f"the canary's {signal} came back": _query(
            # Its first value is the start of the canary.
            f'changes(telemetry_canary_last_success_timestamp_seconds{{signal="{signal}"}}[5m]) > 0'
        )
        for signal in canary.SIGNALS
    },
}


def measure(stage: Stage) -> dict[str, Any]:
    """Start the stack and look until all is there. Raises StageError."""
    stage.clean()
    began = time.monotonic()
    problems: list[StageError] = []

    def up() -> None:
        try:
            stage.up()
        except StageError as error:
            problems.append(error)

    starting = threading.Thread(target=up)
    starting.start()
    seconds: dict[str, float | None] = dict.fromkeys(SIGNALS)
    ready: float | None = None
    with (
        Prometheus(stage.settings.url("prometheus"), timeout_seconds=5) as prometheus,
        httpx.Client(trust_env=False, timeout=5) as http,
    ):
        seen = Seen(stage.settings, prometheus, http)
        while (now := time.monotonic() - began) < PATIENCE_SECONDS and not problems:
            if ready is None and not starting.is_alive():
                ready = now
            for name, has in SIGNALS.items():
                if seconds[name] is None and _is_there(has, seen):
                    seconds[name] = round(time.monotonic() - began, 1)
            if ready is not None and None not in seconds.values():
                break
            time.sleep(LOOK_SECONDS)
    starting.join()
    if problems:
        raise problems[0]
    return {"up_returns": round(ready or 0.0, 1), "signals": seconds}


def _is_there(has: Has, seen: Seen) -> bool:
    try:
        return has(seen)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False  # not up yet


def page(content: Mapping[str, Any]) -> str:
    rows = sorted(content["signals"].items(), key=lambda row: row[1] or PATIENCE_SECONDS)
    lines = [
        *heading("From `make up` to the first data of each signal", "make record", "first_data"),
        f"{made(content)}.",
        "An empty directory, no caller but the prober, scrape and evaluation 5 s.",
        "",
        *table(
            ("", "seconds"),
            [
                ("`make up` returns: every part is ready", content["up_returns"]),
                *((name, value or "none") for name, value in rows),
            ],
            right=True,
        ),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="first_data", description=__doc__)
    record.add_into(parser)
    options = parser.parse_args(arguments)
    stage = own_stage()
    with alone(stage):
        try:
            measured = measure(stage)
        finally:
            stage.clean()
    found = {**record.about(), **measured}
    record.publish(record.place(options.into), "first_data", found, page(found))
    return int(None in measured["signals"].values())


if __name__ == "__main__":
    run("first_data", lambda: main(sys.argv[1:]))
