"""Every replica is gone."""

from loadtests.faults.process import kill
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="service_killed",
    what="The only replica is killed, as the kernel does when memory runs out.",
    breaks=(kill("service-1"),),
    expects=("ServiceDown",),
    deadline_seconds=65,
    also=frozenset({"ApiProbeFailing", "ApiMetricsAbsent", "TargetDown"}),
    evidence='1 - min(up{job="service"})',
    # Longer than what is held back after the cause: a symptom that comes then is seen.
    watch_after_seconds=240,
)
