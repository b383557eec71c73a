"""A release: each replica in turn. Nobody is to be woken by it."""

from dataclasses import replace

from loadtests.faults.process import restart
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="deploy_restart",
    what="Fifteen minutes of steady load, two replicas restarted one after the other: silent.",
    environment={"REPLICAS": "2"},
    breaks=(replace(restart("service-1", "service-2"), after_seconds=120),),
    expects=(),
    deadline_seconds=0,
    holds_seconds=900,
)
