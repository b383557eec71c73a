"""Nobody watches any more: the dead-man's switch is the only one left to page."""

from loadtests.faults.process import kill
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="prometheus_stopped",
    what="Prometheus is killed; the pager must notice that the Watchdog's beat is missing.",
    breaks=(kill("prometheus"),),
    expects=("DeadMansSwitch",),
    deadline_seconds=75,
)
