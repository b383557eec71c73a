"""The site hangs while its process is alive and its port is open."""

from loadtests.faults.process import freeze
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="service_frozen",
    what="The only replica is stopped (SIGSTOP): connections are taken, nothing is answered.",
    breaks=(freeze("service-1"),),
    expects=("ServiceDown",),
    deadline_seconds=65,
    also=frozenset({"ApiProbeFailing", "ApiMetricsAbsent", "TargetDown"}),
    evidence='1 - min(up{job="service"})',
    # Longer than what is held back after the cause: a symptom that comes then is seen.
    watch_after_seconds=240,
)
