"""One JSON line per fact on stdout; structlog and the standard library's logging share the way.

Rendered where it is logged, written by a thread (`writer.py`). Exceptions are described, never printed:
see `describe.py`. A newcomer's usual mistake is `log.info(f"...")`: the event is a fixed past-tense
name, of a failure its code (docs/architecture.md), values are fields, and a value never comes from a
body, a token, a query string or a driver's message. What a field is called in the line: see `field_names.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Container, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from time import time_ns
from typing import Any, Literal

import orjson
import structlog
from opentelemetry import trace
from prometheus_client import Counter
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from firedrill_kit.telemetry.describe import describe
from firedrill_kit.telemetry.field_names import field_name
from firedrill_kit.telemetry.guard import guard
from firedrill_kit.telemetry.record import current
from firedrill_kit.telemetry.writer import LineWriter, Write, to_descriptor

FIELD_LENGTH_MAX = 1024
ITEMS_MAX = 20

Format = Literal["auto", "console", "json"]

log: FilteringBoundLogger = structlog.get_logger()

# Loggers whose messages are known to hold no values of callers; of others only the template is kept.
_QUOTED_LOGGERS = ("uvicorn.", "alembic.")
# Their failures are counted and reported by the span queue, in words that quote nobody.
_MUTED_LOGGERS = ("opentelemetry", "urllib3")
_LEVELS = {"warn": "warning", "critical": "error", "exception": "error", "fatal": "error"}
_NUMBERS = logging.getLevelNamesMapping() | {
    name.lower(): number for name, number in logging.getLevelNamesMapping().items()
}
_GUARD = guard("logs")


@dataclass(frozen=True)
class Lines:
    """The way of a line out of the process.

    log: writes on this way, whatever structlog is configured to. finish: the last of structlog's
    processors. writer: to be stopped last. lowest: level that is written, as the standard library numbers it.
    """

    log: FilteringBoundLogger
    finish: Processor
    writer: LineWriter
    constant: Mapping[str, str]
    """Fields of every line, under the names that they have there."""
    lowest: int
    is_json: bool

    def writes(self, level: str) -> bool:
        """Whether lines of this level are written."""
        return _NUMBERS[level] >= self.lowest


def open_lines(
    *,
    service: str,
    version: str,
    instance: str,
    environment: str,
    level: str,
    format_: Format,
    capacity: int,
    records: Counter,
    write: Write | None = None,
) -> Lines:
    """Open a way to stdout, and leave every other logging as it is.

    level: lowest that is written, by name. format_: `auto` is the console's on a terminal, else JSON.
    capacity: lines that may wait. records: counter by (level, result). write: in place of stdout.
    """
    constant = named(
        {"service": service, "version": version, "instance": instance, "env": environment}
    )
    on_terminal = format_ == "console" or (format_ == "auto" and sys.stdout.isatty())
    render = _console_renderer(constant.keys()) if on_terminal else render_json

    def render_drops(drops: Mapping[str, int]) -> bytes:
        return render(
            {
                "timestamp": now(),
                "level": "warning",
                "event": "telemetry_dropped",
                **constant,
                **named({"signal": "logs", **drops}),
            }
        )

    writer = LineWriter(
        write or to_descriptor(_stdout()),
        capacity=capacity,
        records=records,
        render_drops=render_drops,
    )

    def finish(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
        with _GUARD:
            severity = _LEVELS.get(method, method)
            _describe_exception(event)
            line = {
                "timestamp": now(),
                "level": severity,
                "event": event.pop("event"),
                **constant,
                **_context(),
                **named(_capped(event)),
            }
            writer.put(severity, render(line))
        raise structlog.DropEvent

    log = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[finish],
        wrapper_class=structlog.make_filtering_bound_logger(_number_of(level)),
        context_class=dict,
    )
    return Lines(log, finish, writer, constant, _number_of(level), is_json=not on_terminal)


def _stdout() -> int:
    try:
        return sys.stdout.fileno()
    except (AttributeError, OSError):  # something else stands there, as in a notebook or a test
        return 1


def configure(*, level: str, **more: Any) -> Lines:
    """Send every log line of this process to stdout, as `open_lines`."""
    global _configured  # noqa: PLW0603 - a process has one stdout
    lines = open_lines(level=level, **more)
    structlog.configure(
        processors=[lines.finish],
        wrapper_class=structlog.make_filtering_bound_logger(_number_of(level)),
        logger_factory=structlog.ReturnLoggerFactory(),
        # Modules hold loggers that were made before this call; a test may configure again.
        cache_logger_on_first_use=False,
    )
    _take_over_standard_logging(_number_of(level))
    _configured = lines
    return lines


_configured: Lines | None = None


def configured() -> Lines | None:
    """Return what `configure` opened, None when structlog's lines go elsewhere by now."""
    lines = _configured
    return lines if lines and structlog.get_config()["processors"] == [lines.finish] else None


def add_trace_to_records() -> None:
    """Have every record of the standard library's loggers carry trace_id, span_id and http_route.

    For a formatter of the application: `%(trace_id)s`. Empty outside of a request. What the application
    gives itself as `extra` stays. Done once, however often it is called.
    """
    # Not by a factory of records: logging raises KeyError for an `extra` that the factory has set.
    make: Callable[..., logging.LogRecord] = logging.Logger.makeRecord
    if make.__module__ == __name__:
        return

    def with_trace(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        with _GUARD:
            found = {name.replace(".", "_"): value for name, value in _context().items()}
            ids = {"trace_id": "", "span_id": "", "http_route": ""} | found
            record.__dict__.update({**ids, **record.__dict__})
        return record

    logging.Logger.makeRecord = with_trace  # type: ignore[method-assign]


def _number_of(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def render_json(event: Mapping[str, Any]) -> bytes:
    """Return one ASCII line of JSON, newline included, whatever the values are.

    ASCII, because U+2028 or U+0085 inside a value would split the line for some readers. orjson takes
    0.7 µs for a line and json.dumps 4 µs, so the slow way is only for lines that need it.
    """
    try:
        line = orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # A lone surrogate, an integer beyond 64 bits, or nesting that is too deep.
        line = orjson.dumps({_plain(key): _plain(value) for key, value in event.items()})
    if not line.isascii():
        line = json.dumps(orjson.loads(line), separators=(",", ":")).encode("ascii")
    return line + b"\n"


def on_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle what asyncio could not deliver to anybody: `loop.set_exception_handler(on_loop_error)`.

    asyncio's own handler prints the exception's text and the task's repr.
    """
    error = context.get("exception")
    task = context.get("task") or context.get("future")
    name = task.get_name() if isinstance(task, asyncio.Task) else None
    fields = describe(error) if isinstance(error, BaseException) else {}
    log.error("exception", where="event_loop", task=name, **fields)


class _StandardHandler(logging.Handler):
    """Turns a record of the standard library into an event; keeps no exception text."""

    def emit(self, record: logging.LogRecord) -> None:
        with _GUARD:
            quoted = record.name.startswith(_QUOTED_LOGGERS)
            message = record.getMessage() if quoted else str(record.msg)
            fields: dict[str, Any] = {"logger": record.name, "message": message}
            if record.exc_info and record.exc_info[1] is not None:
                fields["exc_info"] = record.exc_info[1]
            method: Callable[..., Any] = getattr(log, _level_of(record.levelno))
            method("library_message", **fields)


def _level_of(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def _take_over_standard_logging(lowest: int) -> None:
    root = logging.getLogger()
    root.handlers = [_StandardHandler()]
    # Libraries are chatty below: SQLAlchemy logs parameters at INFO.
    root.setLevel(max(lowest, logging.WARNING))
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.disabled = False
        logger.setLevel(logging.NOTSET)
    for name in ("uvicorn", "alembic"):
        logging.getLogger(name).setLevel(max(lowest, logging.INFO))
    for name in _MUTED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # The canonical line is the access log.
    logging.getLogger("uvicorn.access").disabled = True


@lru_cache(maxsize=2)
def _until_seconds(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).replace(tzinfo=None).isoformat()


def now() -> str:
    """Return the time as RFC 3339 in UTC, to the microsecond.

    The part until the seconds is made once a second, which saves 0.6 µs of a line.
    """
    seconds, rest = divmod(time_ns(), 1_000_000_000)
    return f"{_until_seconds(seconds)}.{rest // 1000:06d}Z"


def _context() -> dict[str, str]:
    """Return the ids of the span that runs, else of the request's server span, and the request's."""
    context: dict[str, str] = {}
    span = trace.get_current_span().get_span_context()
    record = current()
    if span.is_valid:
        context["trace_id"] = trace.format_trace_id(span.trace_id)
        context["span_id"] = trace.format_span_id(span.span_id)
    elif record is not None:
        context["trace_id"] = record.trace_id
        context["span_id"] = record.span_id
    if record is not None:
        context["request_id"] = record.request_id
        context["http_route"] = record.route
    return named(context)


def named(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields under the names that they have in a line."""
    return {field_name(name): value for name, value in fields.items()}


def _describe_exception(event: MutableMapping[str, Any]) -> None:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event.update(describe(error))


def _capped(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            if len(value) > FIELD_LENGTH_MAX:
                event[key] = value[:FIELD_LENGTH_MAX] + "…"
        elif isinstance(value, list | tuple) and len(value) > ITEMS_MAX:
            event[key] = [*value[:ITEMS_MAX], "…"]
    return event


def _plain(value: object) -> object:
    """Return the value if any JSON can hold it, else its text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 1 << 53:
        return value
    return str(value)[:FIELD_LENGTH_MAX].encode("utf-8", "backslashreplace").decode()


def _console_renderer(left_out: Container[str]) -> Callable[[MutableMapping[str, Any]], bytes]:
    # No exception formatter: exceptions are described before they come here.
    console = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=24)

    def render(event: MutableMapping[str, Any]) -> bytes:
        shown = {name: value for name, value in event.items() if name not in left_out}
        text = console(None, "", shown)
        return text.encode("utf-8", "backslashreplace").replace(b"\n", b" ") + b"\n"

    return render
