"""Ten seconds of a stopped service: a garbage collection, a live migration of the machine. Silent."""

from loadtests.faults.process import freeze
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="service_frozen_briefly",
    what="The only replica is stopped (SIGSTOP) for ten seconds: silent.",
    breaks=(freeze("service-1"),),
    expects=(),
    deadline_seconds=0,
    holds_seconds=10,
    watch_after_seconds=120,
    evidence='1 - min(up{job="service"})',
)
