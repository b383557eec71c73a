"""The pager cannot be reached: the page about that must travel by another way."""

from loadtests.faults.process import kill
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="alertmanager_receiver_failing",
    what="The pager is killed; the second channel must page.",
    breaks=(kill("pager"),),
    expects=("AlertDeliveryFailing",),
    deadline_seconds=210,
    resolve_seconds=240,
    also=frozenset({"TargetDown"}),
)
