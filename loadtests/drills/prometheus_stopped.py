"""Nobody watches any more: the dead-man's switch is the only one left to page."""

from loadtests.drills.runner.drill import Drill
from loadtests.faults.process import kill

DRILL = Drill(
    name="prometheus_stopped",
    what="Prometheus is killed; the pager must notice that the Watchdog's beat is missing.",
    breaks=(kill("prometheus"),),
    expects=("DeadMansSwitch",),
    deadline_seconds=75,
)
