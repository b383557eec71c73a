"""The database is as quick as ever, and far away: every statement takes as long as the way to it."""

from loadtests.faults.network import cut
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="latency_to_database",
    what="Each way between service and database takes 60 ms longer.",
    environment={"FAULT_PROXIES": "postgres"},
    breaks=(cut("postgres", mode="latency", latency_seconds=0.06),),
    expects=("DbRoundTripSlow",),
    deadline_seconds=60,
    also=frozenset({"ApiErrorBudgetBurn", "ApiProbeFailing", "DbPoolExhausted"}),
    evidence='min(db_round_trip_seconds{job="service"}) > 0.1',
)
