"""`python -m loadtests.observe.exemplars`: does every exemplar lead to its trace and log line?

Takes each exemplar of the running stack's last minutes, opens its trace as a click in a dashboard
would, and counts what is a dead end. Exit 1 when any is. PROMETHEUS_URL and VIEWER_URL say where to
ask; without them the running stack is asked.
"""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from loadtests.observe import traces
from loadtests.world.command import run
from stack.command_line import Parser, above_zero
from stack.lifecycle import settings_of_running
from stack.prometheus import Prometheus
from stack.settings import read_settings
from stack.state import read_state

ARRIVAL_SECONDS = 30.0
"""A scrape may be ahead of the spans: exported each second, batched, queued, tried again."""
SHOWN = 5


@dataclass
class Report:
    """Exemplars by trace id, and what was found behind them."""

    exemplars: Mapping[str, list[str]]
    """Trace id: the metrics whose samples name it, one entry an exemplar."""
    without_trace: list[str] = field(default_factory=list)
    without_line: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(map(len, self.exemplars.values()))

    def resolved(self, missing: list[str]) -> int:
        """How many exemplars are not among those of these traces."""
        return self.count - sum(len(self.exemplars[trace_id]) for trace_id in missing)


def check(
    prometheus_url: str, viewer_url: str, *, start: float, end: float, query: str = ""
) -> Report:
    """Follow every exemplar between two times, in seconds since the epoch.

    query: a selector of series; default: all. Raises httpx.HTTPError.
    """
    exemplars = defaultdict(list)
    with Prometheus(prometheus_url) as prometheus:
        for labels, exemplar in prometheus.exemplars(
            query or '{__name__=~".+"}', start=start, end=end
        ):
            exemplars[exemplar["labels"]["trace_id"]].append(labels["__name__"])
    report = Report(exemplars)
    # Traces seen to be whole are not asked for again while the last ones arrive.
    open_traces = set(exemplars)
    deadline = time.monotonic() + ARRIVAL_SECONDS
    with httpx.Client(trust_env=False, timeout=20) as http:
        while open_traces:
            found = {one: traces.trace(http, viewer_url, one) for one in open_traces}
            open_traces = {
                one for one, has in found.items() if not (has and has["spans"] and has["logs"])
            }
            if time.monotonic() > deadline:
                report.without_trace = sorted(
                    one for one in open_traces if not (found[one] or {}).get("spans")
                )
                report.without_line = sorted(open_traces)
                break
            if open_traces:
                time.sleep(0.5)
    return report


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="exemplars", description=__doc__)
    parser.add_argument("--minutes", type=above_zero, default=60.0, help="how far to look back")
    options = parser.parse_args(arguments)
    settings = read_settings()
    settings = settings_of_running(settings, read_state(settings))
    prometheus = os.environ.get("PROMETHEUS_URL") or settings.url("prometheus")
    viewer = os.environ.get("VIEWER_URL") or settings.url("viewer")
    now = time.time()
    try:
        report = check(prometheus, viewer, start=now - options.minutes * 60, end=now)
    except httpx.HTTPError as error:
        print(f"exemplars: {error}; is the stack up? `make doctor`", file=sys.stderr)
        return 1
    print("\n".join(lines(report)))
    return 1 if report.without_line or not report.count else 0


def lines(report: Report) -> list[str]:
    """What is printed."""
    if not report.count:
        return ["no exemplar: has the service been asked anything?"]
    said = [f"{report.count} exemplars name {len(report.exemplars)} traces"]
    for what, missing in (("trace", report.without_trace), ("log line", report.without_line)):
        resolved = report.resolved(missing)
        ratio = 100 * resolved / report.count
        said.append(f"{what} found for {resolved} of {report.count} ({ratio:.1f} %)")
        said += [f"  none for {one}: {report.exemplars[one][0]}" for one in missing[:SHOWN]]
    return said


if __name__ == "__main__":
    run("exemplars", lambda: main(sys.argv[1:]))
