"""Alerts fire and nobody sends them on: the dead-man's switch is the only one left to page."""

from loadtests.faults.process import kill
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="alertmanager_stopped",
    what="Alertmanager is killed; the pager must notice that the Watchdog's beat is missing.",
    breaks=(kill("alertmanager"),),
    expects=("DeadMansSwitch",),
    deadline_seconds=75,
    also=frozenset({"AlertDeliveryFailing"}),
    # Longer than what is held back after the cause: a symptom that comes then is seen.
    watch_after_seconds=240,
)
