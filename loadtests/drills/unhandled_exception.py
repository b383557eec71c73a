"""Something fails that nobody has thought of: there is no cause to name, and the error budget burns."""

from loadtests.faults.database import sql
from loadtests.judge.drill import Drill

RAISING = sql(
    "a trigger on the settings raises what nobody has named",
    "CREATE FUNCTION drill_raise() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'drill' USING ERRCODE = 'ZZ001'; END $$;"
    " CREATE TRIGGER drill_raise BEFORE INSERT OR UPDATE ON settings"
    " FOR EACH ROW EXECUTE FUNCTION drill_raise()",
    mend="DROP TRIGGER IF EXISTS drill_raise ON settings; DROP FUNCTION IF EXISTS drill_raise()",
)

DRILL = Drill(
    name="unhandled_exception",
    what="A trigger on the settings raises an error that is in no table: writes are 500.",
    rates={"PUT /api/v1/settings": 6.0},
    breaks=(RAISING,),
    expects=("ApiErrorBudgetBurn",),
    tickets=frozenset({"UnhandledExceptions"}),
    # Reads of the same route go on: 46 % fail, and 2.88 % of 15 minutes are reached after a minute.
    deadline_seconds=120,
    resolve_seconds=360,
)
