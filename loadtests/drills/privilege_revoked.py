"""The table is there and may not be read any more: a REVOKE too many."""

from loadtests.faults.database import sql
from loadtests.judge.drill import Drill
from stack.postgres import ROLES

DRILL = Drill(
    name="privilege_revoked",
    what="The service's role may no longer read the profiles.",
    breaks=(
        sql(
            "SELECT on profiles is revoked",
            f"REVOKE SELECT ON profiles FROM {ROLES['app']}",  # noqa: S608 - our own
            mend=f"GRANT SELECT ON profiles TO {ROLES['app']}",
        ),
    ),
    expects=("DbSchemaMismatchErrors",),
    deadline_seconds=45,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn"}),
)
