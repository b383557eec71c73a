"""The service works, and Prometheus looks elsewhere: every other alert is blind."""

from loadtests.faults.files import scraped_at
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="metrics_absent",
    what="Discovery names a port that is up and counts no requests.",
    breaks=(scraped_at("prober"),),
    expects=("ApiMetricsAbsent",),
    # 15 s until discovery is read, a minute without a count, half of one of waiting, 5 s of grouping.
    deadline_seconds=140,
    evidence='absent(http_server_request_duration_seconds_count{job="service"})',
)
