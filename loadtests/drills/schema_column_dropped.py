"""A migration of another release took a column that this one needs."""

from loadtests.faults.database import column_away
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="schema_column_dropped",
    what="The required column profiles.locale is gone.",
    breaks=(column_away("profiles", "locale"),),
    expects=("DbSchemaMismatchErrors",),
    deadline_seconds=45,
    # The rule looks two minutes back, so that a route called once a minute is seen.
    resolve_seconds=180,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn", "SchemaDriftDetected"}),
)
