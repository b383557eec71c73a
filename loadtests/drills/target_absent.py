"""Discovery lost the service: nothing is scraped, and every rule on it falls silent."""

from loadtests.faults.files import emptied
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="target_absent",
    what="The file that tells Prometheus where the service is has become empty.",
    breaks=(emptied("prometheus/targets/service.json", "[]"),),
    expects=("TargetAbsent",),
    # 15 s until the target is forgotten, a minute of waiting, 5 s of grouping.
    deadline_seconds=110,
    also=frozenset({"ApiMetricsAbsent"}),
    evidence='absent(up{job="service"})',
)
