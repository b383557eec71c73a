"""Nobody takes the traces any more: a ticket, for callers notice nothing."""

from loadtests.faults.process import kill
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="collector_down",
    what="The receiver of traces is killed: a ticket, no page, and no request fails.",
    # What takes them: the collector where it is built, the viewer where it is not.
    breaks=(kill("collector", "viewer"),),
    expects=(),
    tickets=frozenset({"TelemetryExportFailing"}),
    deadline_seconds=300,
    evidence='sum(rate(telemetry_spans_total{result="failed"}[30s]))',
)
