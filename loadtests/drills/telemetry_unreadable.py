"""Signals are written and nobody can read them: a person who is paged by something else finds nothing."""

from loadtests.faults.network import cut
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="telemetry_unreadable",
    what="The ways to read metrics, traces and log lines are cut; alerting itself goes on.",
    environment={"FAULT_PROXIES": "prometheus,viewer"},
    breaks=(cut("prometheus", "viewer"),),
    expects=("TelemetryCanaryStale",),
    # 75 s of staleness, 15 s of waiting, 5 s of grouping, a round of the canary.
    deadline_seconds=130,
    evidence="time() - max(telemetry_canary_last_success_timestamp_seconds) > 30",
)
