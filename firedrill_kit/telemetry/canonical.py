"""`request_finished`, the canonical line of a request: the same fields, whichever way it is made.

Through structlog it takes 35 µs (measured); with what is the same for a route and a status kept as bytes, 5.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from structlog.typing import FilteringBoundLogger

from firedrill_kit.telemetry import logs
from firedrill_kit.telemetry.field_names import field_name
from firedrill_kit.telemetry.record import RequestRecord

EVENT = "request_finished"


class CanonicalLine:
    """Writes it. log: the way through structlog, for a terminal. lines: the short way, if there is one."""

    def __init__(self, log: FilteringBoundLogger, lines: logs.Lines | None) -> None:
        self._log = log
        self._lines = lines or logs.configured()
        if self._lines is not None and not self._lines.is_json:
            self._lines = None
        self._constant = lru_cache(maxsize=1024)(self._constant_of)

    def __call__(self, level: str, record: RequestRecord, seconds: float) -> None:
        lines = self._lines
        if lines is None:
            getattr(self._log, level)(EVENT, **_fields(record, seconds))
        elif lines.writes(level):
            lines.writer.put(level, self._line(level, record, seconds))

    def _line(self, level: str, record: RequestRecord, seconds: float) -> bytes:
        head, middle = self._constant(
            level,
            record.route,
            record.method,
            record.status,
            record.code,
            record.token_format,
            record.client_version,
            record.degraded,
        )
        caller = record.caller
        if not (caller.isascii() and caller.isalnum()):
            caller = json.dumps(caller)[1:-1]
        line = (
            f'{{"timestamp":"{logs.now()}{head}"trace_id":"{record.trace_id}","span_id":"{record.span_id}",'
            f'"firedrill.request_id":"{record.request_id}",'
            f'{middle}{seconds * 1000:.3f},"firedrill.caller":"{caller}",'
            f"{_spent(record)}"
        ).encode("ascii")
        if (
            record.code
            or record.fields
            or record.client_request_id
            or record.load_run
            or record.disconnected
        ):
            return line + b"," + logs.render_json(logs.named(_rare(record)))[1:]
        return line + b"}\n"

    def _constant_of(  # noqa: PLR0917 - the key of a cache
        self,
        level: str,
        route: str,
        method: str,
        status: int,
        code: str,
        token_format: str,
        client_version: str,
        degraded: tuple[str, ...],
    ) -> tuple[str, str]:
        assert self._lines is not None  # noqa: S101 - as `__call__` found it
        before = {"level": level, "event": EVENT, **self._lines.constant}
        fields = {
            "http_route": route,
            "method": method,
            "status": status,
            "code": code,
            "token_format": token_format,
            "client_version": client_version,
            "degraded": degraded,
        }
        return f'",{_inside(before)}', _inside(logs.named(fields)) + _key("duration_ms")


def _inside(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))[1:-1] + ","


def _key(name: str) -> str:
    return f'"{field_name(name)}":'


_SPENT = (
    f"{_key('body_ms')}%.3f,{_key('pool_wait_ms')}%.3f,{_key('db_ms')}%.3f,"
    f"{_key('db_statements')}%d,{_key('upstream_ms')}%.3f"
)
_NOTHING_SPENT = _SPENT % (0, 0, 0, 0, 0)


def _spent(record: RequestRecord) -> str:
    if not (
        record.db_statements
        or record.pool_wait_seconds
        or record.upstream_seconds
        or record.body_seconds
    ):
        return _NOTHING_SPENT  # 0.7 µs less
    return _SPENT % (
        record.body_seconds * 1000,
        record.pool_wait_seconds * 1000,
        record.db_seconds * 1000,
        record.db_statements,
        record.upstream_seconds * 1000,
    )


def _rare(record: RequestRecord) -> dict[str, Any]:
    """Return the fields that few lines have, those of the layers among them.

    The fixed names win: a field of a layer must not be able to change what the line says.
    """
    rare: dict[str, Any] = {}
    if record.fields:
        rare = {name: value for name, value in record.fields.items() if name not in _FIXED}
    if record.code:
        rare["cause"] = record.cause
    if record.client_request_id:
        rare["client_request_id"] = record.client_request_id
    if record.load_run:
        rare["load_run"] = record.load_run
    if record.disconnected:
        rare["disconnected"] = True
    return rare


def _fields(record: RequestRecord, seconds: float) -> dict[str, Any]:
    """Return the fields of `request_finished`; times in milliseconds, to the microsecond."""
    return {
        **_rare(record),
        "method": record.method,
        "status": record.status,
        "duration_ms": round(seconds * 1000, 3),
        "code": record.code,
        "caller": record.caller,
        "token_format": record.token_format,
        "client_version": record.client_version,
        "body_ms": round(record.body_seconds * 1000, 3),
        "pool_wait_ms": round(record.pool_wait_seconds * 1000, 3),
        "db_ms": round(record.db_seconds * 1000, 3),
        "db_statements": record.db_statements,
        "upstream_ms": round(record.upstream_seconds * 1000, 3),
        "degraded": record.degraded,
    }


_FIXED = frozenset(
    {*_fields(RequestRecord("", ""), 0), "trace_id", "span_id", "request_id", "http_route"}
)
