"""Half of the site hangs: one of two replicas is alive and its port is open."""

from loadtests.faults.process import freeze
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="replica_frozen",
    what="One of two replicas is stopped (SIGSTOP): every other caller is never answered.",
    environment={"REPLICAS": "2"},
    breaks=(freeze("service-2"),),
    expects=("ServiceReplicaFailing",),
    deadline_seconds=60,
    # What a replica counts when it comes back is the backlog of the time that it was away.
    watch_after_seconds=150,
    also=frozenset({"TargetDown"}),
    evidence='1 - min(up{job="service"})',
)
