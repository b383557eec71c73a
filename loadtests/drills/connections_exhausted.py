"""Somebody else's sessions take every connection that the database has left."""

from loadtests.faults.database import sessions
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="connections_exhausted",
    what="Another program opens sessions until the database refuses one, and keeps them.",
    breaks=(sessions(),),
    expects=("PostgresConnectionsExhausted",),
    deadline_seconds=60,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn"}),
    evidence="sum(pg_client_connections) / max(pg_client_connections_limit) >= bool 1",
)
