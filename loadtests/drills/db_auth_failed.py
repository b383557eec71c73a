"""Somebody changed the role of the service at the database, and its connections were cut."""

from loadtests.faults.database import sql
from loadtests.judge.drill import Drill
from stack.postgres import ROLES

DRILL = Drill(
    name="db_auth_failed",
    what="The service's role may no longer log in, and its connections are ended.",
    breaks=(
        sql(
            f"the role {ROLES['app']} may not log in",
            f"ALTER ROLE {ROLES['app']} NOLOGIN; SELECT pg_terminate_backend(pid)"  # noqa: S608 - our own
            f" FROM pg_stat_activity WHERE usename = '{ROLES['app']}'",
            mend=f"ALTER ROLE {ROLES['app']} LOGIN",
        ),
    ),
    expects=("DbAuthenticationFailed",),
    deadline_seconds=55,
    also=frozenset({"ApiProbeFailing", "ApiErrorBudgetBurn"}),
)
