"""A replica that is started again and again: a ticket, for each start is over before anybody notices."""

from dataclasses import replace

from loadtests.faults.process import restart
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="restart_loop",
    what="One of two replicas is restarted three times in three minutes: a ticket, no page.",
    environment={"REPLICAS": "2"},
    breaks=tuple(replace(restart("service-2"), after_seconds=after) for after in (5, 60, 120)),
    expects=(),
    tickets=frozenset({"ApiRestartLoop"}),
    deadline_seconds=240,
)
