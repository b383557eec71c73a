"""Statements work and the commit does not: a check that is made at its end."""

from loadtests.faults.database import sql
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="commit_failing",
    what="A deferred constraint trigger raises at the commit of each write of a profile.",
    breaks=(
        sql(
            "a deferred trigger on the profiles raises",
            "CREATE FUNCTION drill_refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'drill' USING ERRCODE = 'integrity_constraint_violation';"
            " END $$; CREATE CONSTRAINT TRIGGER drill_refuse AFTER INSERT OR UPDATE ON profiles"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION drill_refuse()",
            mend="DROP TRIGGER IF EXISTS drill_refuse ON profiles;"
            " DROP FUNCTION IF EXISTS drill_refuse()",
        ),
    ),
    expects=("DbCommitFailures",),
    deadline_seconds=60,
    # The rule looks two minutes back.
    resolve_seconds=180,
    also=frozenset({"ApiErrorBudgetBurn"}),
)
