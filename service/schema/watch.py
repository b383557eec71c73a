"""Compares now and then, and says what came of it: capabilities, metrics, log, span."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import structlog
from opentelemetry.trace import StatusCode
from sqlalchemy.ext.asyncio import AsyncSession

from firedrill_kit.telemetry.traces import root_span
from service import failures, metrics
from service.database import Database
from service.failures import Failure
from service.schema import catalogue
from service.schema.catalogue import Catalogue
from service.schema.comparison import KINDS, OPTIONAL_GROUPS, Drift, compare

MIN_SECONDS_BETWEEN_CHECKS = 1.0
"""However many requests ask for one; also the pause after a check that could not be made."""

# The database could not be asked: nothing is known about its schema, so nothing changes but the age
# of the last check (alert SchemaCheckStale).
_NOT_ASKED = frozenset(
    {
        failures.DB_POOL_EXHAUSTED,
        failures.DB_UNAVAILABLE,
        failures.DB_CONNECTION_LOST,
        failures.DB_TIMEOUT,
        failures.DB_LOCK_TIMEOUT,
    }
)

_log = structlog.get_logger()


@dataclass(slots=True)
class Capabilities:
    """What this database lets the service do; kept up to date in place by the watch.

    Hopeful until the first check: a statement that the database refuses is a `schema_mismatch`, which
    says more than leaving out what is there.
    """

    checked: bool = False
    """Whether the schema has ever been compared."""
    ai_models: bool = True
    missing_required: tuple[str, ...] = ()
    """Objects without which the service is not ready, as `kind table.object`."""


class SchemaWatch:
    """Keeps the capabilities true. `check` never raises for what it finds or cannot find."""

    def __init__(self, database: Database, capabilities: Capabilities) -> None:
        self._database = database
        self.capabilities = capabilities
        self._needed = catalogue.expected()
        self._fingerprint = ""
        self._drifts: list[Drift] = []
        self._asked = asyncio.Event()

    async def run(self, interval_seconds: float) -> None:
        """Check now, then every interval and whenever asked to, until cancelled."""
        while True:
            concluded = await self.check()
            await asyncio.sleep(MIN_SECONDS_BETWEEN_CHECKS)
            if not concluded:
                continue
            try:
                async with asyncio.timeout(interval_seconds - MIN_SECONDS_BETWEEN_CHECKS):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()

    def hurry(self) -> None:
        """Ask for a check now: a statement has just been refused as `schema_mismatch`."""
        self._asked.set()

    async def check(self) -> bool:
        """Compare if anything changed, and say so. False when the database could not be asked."""
        try:
            with root_span("schema.check"):
                fingerprint = await self._database.run(_fingerprint, idempotent=True)
            if fingerprint != self._fingerprint:
                await self._compare()
                # DDL since the fingerprint was taken changes the next one: never missed.
                self._fingerprint = fingerprint
        except Failure as failure:
            if failure.mode in _NOT_ASKED:
                return False
            self._comparer_failed(failure.mode.code)
        except Exception as error:  # noqa: BLE001 - a comparison that breaks is never "all is well"
            self._comparer_failed(type(error).__name__)
        else:
            self.capabilities.checked = True
            metrics.SCHEMA_LAST_CHECK.set(time.time())
        return True

    async def _compare(self) -> None:
        with root_span("schema.check", keep=True) as span:
            found = await self._database.run(_actual, idempotent=True)
            metrics.SCHEMA_REVISION.clear()
            metrics.SCHEMA_REVISION.labels(_revision(self._needed), _revision(found)).set(1)
            drifts = compare(self._needed, found)
            span.set_attribute("firedrill.schema.drift_objects", len(drifts))
            if any(drift.breaking for drift in drifts):
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", failures.SCHEMA_MISMATCH.code)
            self._publish(drifts)

    def _comparer_failed(self, error_type: str) -> None:
        self._fingerprint = ""
        known = [drift for drift in self._drifts if drift.kind != "comparer_failed"]
        self._publish([*known, Drift("comparer_failed", "comparison", error_type)])

    def _publish(self, drifts: list[Drift]) -> None:
        by_kind = Counter(drift.kind for drift in drifts)
        for kind in KINDS:
            metrics.SCHEMA_DRIFT.labels(kind).set(by_kind[kind])
        metrics.SCHEMA_DRIFT_INFO.clear()
        for drift in drifts:
            if drift.breaking:
                metrics.SCHEMA_DRIFT_INFO.labels(drift.kind, drift.object).set(1)
        lost_groups = {drift.group for drift in drifts if drift.breaking}
        for group in OPTIONAL_GROUPS:
            setattr(self.capabilities, group, group not in lost_groups)
        self.capabilities.missing_required = tuple(
            f"{drift.kind} {drift.object}" for drift in drifts if drift.required
        )
        if drifts != self._drifts:
            _log_change(drifts)
        self._drifts = drifts


async def _fingerprint(session: AsyncSession) -> str:
    return await catalogue.fingerprint(await session.connection())


async def _actual(session: AsyncSession) -> Catalogue:
    return await catalogue.actual(await session.connection())


def _revision(of: Catalogue) -> str:
    """Empty where no migration has run, or the role may not read which."""
    return of.get("revision", {}).get("alembic_version", "")


def _log_change(drifts: list[Drift]) -> None:
    if not drifts:
        _log.info("schema_drift_cleared")
        return
    say = _log.error if any(drift.required for drift in drifts) else _log.warning
    say(
        "schema_drift_found",
        objects=len(drifts),
        required=sum(drift.required for drift in drifts),
        drift=[f"{drift.kind} {drift.object} {drift.change}" for drift in drifts],
    )
