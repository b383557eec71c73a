"""What an error of the database is called in this service's taxonomy."""

from firedrill_kit.driver_errors import Meaning
from service import failures
from service.failures import Failure, Mode

# Which unique constraints the caller can do something about.
BY_CONSTRAINT: dict[str, Mode] = {
    "accounts_email_key": failures.EMAIL_CONFLICT,
}


def mode_of(meaning: Meaning) -> Mode:
    """Return the mode of a meaning: by the constraint where that has one, else by its code."""
    return BY_CONSTRAINT.get(meaning.constraint) or failures.mode_of(meaning.code)


def failure_of(meaning: Meaning) -> Failure:
    """Return the failure that a request with this meaning ends with."""
    log: dict[str, str | int | float | bool | None] = {"sqlstate": meaning.sqlstate}
    if meaning.constraint:
        log["constraint"] = meaning.constraint
    if meaning.object:
        log["object"] = meaning.object
    return Failure(mode_of(meaning), cause=meaning.error_type, log=log)
