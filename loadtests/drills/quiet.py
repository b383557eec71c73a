"""Half an hour of what happens anyway: it must stay silent."""

from dataclasses import replace

from loadtests.faults.database import sql
from loadtests.faults.fault import nothing
from loadtests.faults.process import restart
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="quiet",
    what="Half an hour of steady load with benign noise: a release, a slow query, a new Prometheus.",
    breaks=(
        nothing("nothing yet"),
        replace(restart("service-1", "service-2"), after_seconds=240),
        replace(sql("a query of 20 s", "SELECT pg_sleep(20)"), after_seconds=600),
        replace(restart("service-1", "service-2"), after_seconds=900),
        replace(restart("prometheus"), after_seconds=1500),
    ),
    environment={"REPLICAS": "2"},
    expects=(),
    deadline_seconds=0,
    holds_seconds=1800,
)
