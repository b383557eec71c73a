"""What a request of an application without a taxonomy failed of, and how that is counted.

A failure has a code when pool or engine saw what happened (`driver_errors.py`), when the application has
named its exception (`failure`), or when nothing handled an exception: `internal_error`. Any other answer
of 5xx is `http_` and its status.
"""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Literal, get_args

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from firedrill_kit import metrics
from firedrill_kit.driver_errors import meaning_of
from firedrill_kit.telemetry.describe import describe
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.labels import BoundedSet
from firedrill_kit.telemetry.record import RequestRecord

Blame = Literal["caller", "dependency", "us"]
"""Who can mend it. Decides the level of the request's line: info, warning, error."""

EXCEPTION_LABELS_MAX = 50

CODES = (
    *(
        "db_pool_exhausted",
        "db_unavailable",
        "db_timeout",
        "db_lock_timeout",
        "db_connection_lost",
    ),
    *("tx_conflict", "constraint_violation", "reference_missing", "schema_mismatch"),
    *("internal_error", "validation_failed"),
)
"""Those that the kit tells by itself; an application's own come on top (`failure`)."""
ROUTES_KNOWN_MAX = 100

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_GUARD = guard("http")
_exceptions = BoundedSet(EXCEPTION_LABELS_MAX, other="_other")
_named: dict[type[BaseException], tuple[str, Blame]] = {}


def failure(error: type[BaseException], code: str, *, blame: Blame = "us") -> None:
    """Name what a request fails of when this exception ends it, or is answered with a 5xx.

    error: with its subclasses, unless one is named itself. code: of a closed vocabulary, in snake_case,
    up to 64 characters; it labels `app_failures_total` and the span. Raises TypeError or
    ValueError.
    """
    given: object = error
    if not (isinstance(given, type) and issubclass(given, BaseException)):
        raise TypeError(f"error={error!r}: failure takes a class of exceptions")
    if not _CODE.fullmatch(code):
        raise ValueError(
            f"code={code!r}: set code to small letters, digits and _, as in card_declined"
        )
    if blame not in get_args(Blame):
        raise ValueError(f"blame={blame!r}: set blame to {', '.join(get_args(Blame))}")
    _named[error] = (code, blame)


def create_counters(routes: Iterable[str]) -> None:
    """Create the counters of these routes at 0: one that is born at 1 is invisible to `increase()`.

    At most ROUTES_KNOWN_MAX of them, 11 series each; the counters of others are born with their failure.
    """
    few = tuple(islice(routes, ROUTES_KNOWN_MAX))
    codes = (*CODES, *(code for code, _ in _named.values()))
    metrics.known((metrics.FAILURES, {"code": codes, "http_route": few}))


class FailureMarks:
    """ASGI middleware right inside Starlette's: writes into the record what went wrong.

    log: gives the log, which is opened after the application is built.
    """

    def __init__(self, app: ASGIApp, *, log: Callable[[], FilteringBoundLogger]) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record: RequestRecord | None = scope.get("firedrill.record")
        if scope["type"] != "http" or record is None:
            await self._app(scope, receive, send)
            return

        try:
            await self._app(scope, receive, send)
        except Exception as error:
            with _GUARD:
                self._note_error(record, error)
            raise

    def _note_error(self, record: RequestRecord, error: Exception) -> None:
        # Its span ends with the answer that Starlette is about to make of it.
        if record.span is not None:
            record.span.record_exception(error)
        code, blame = _named_of(error)
        meaning = meaning_of(error) if not code else None
        if meaning is not None:
            code, blame, record.cause = meaning.code, "us", meaning.error_type
        if not code or code == "internal_error":
            code, blame = "internal_error", "us"
            metrics.UNHANDLED_EXCEPTIONS.labels(_exceptions.label_of(type(error).__name__)).inc()
            self._log().error("unhandled_exception", **describe(error))
        _note(record, code, blame)


def remember(record: RequestRecord, error: BaseException) -> None:
    """Remember what an error means that the application is about to answer by itself."""
    code, _ = _named_of(error)
    meaning = meaning_of(error) if not code else None
    if meaning is not None and meaning.code != "internal_error":
        record.seen_failure = (meaning.code, meaning.error_type)
    elif code:
        record.seen_failure = (code, type(error).__name__)


def note_status(record: RequestRecord, status: int) -> None:
    """Name what a request failed of that is answered with this status; `Edge` says so when it is."""
    if status < 500 or record.code:
        return
    code, record.cause = record.seen_failure
    _note(record, code or f"http_{status}", "us")


def _note(record: RequestRecord, code: str, blame: Blame) -> None:
    record.code, record.blame = code, blame
    metrics.FAILURES.labels(code, record.route).inc()


def _named_of(error: BaseException) -> tuple[str, Blame]:
    found = (_named[kind] for kind in type(error).__mro__ if kind in _named)
    return next(found, ("", "us"))
