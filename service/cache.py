"""The cache that all replicas share (Redis or Valkey): its connections, its gate, its figures.

Nothing is right or wrong because of it: each caller has an answer of its own for when it is away. So a
call takes COMMAND_SECONDS at most, and after one that failed none is made until a probe of our own, which
nobody waits for, has succeeded. A newcomer's usual mistake is to let a request do the probing: each second
one caller would then wait for what is known to be away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import structlog
from opentelemetry.trace import SpanKind

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry.traces import span
from service import metrics

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from service.cache_link import CacheLink

COMMAND_SECONDS = 0.05
"""Limit of a call, the wait for a connection included, and of connecting. Usual: under 1 ms."""
SLOW_SECONDS = 0.02
"""A statement on the database takes less: a cache that is slower than this costs more than it saves."""
SLOW_CALLS = 3
"""So many slow calls in a row close the gate. One timeout does, unless our own event loop was late."""
PROBE_EVERY_SECONDS = 1.0
"""From one probe to the next while the gate is closed."""
MAX_CONNECTIONS = 10
"""As many as the pool of the database has; a caller that finds none waits within its COMMAND_SECONDS."""
PREFIX = "firedrill:"

Client: TypeAlias = "Redis"
T = TypeVar("T")
_log = structlog.get_logger()


class CacheAway(Exception):
    """The cache gave no answer, or was not asked: go on with what this process knows."""


class Cache:
    """The connections of one process and their gate, which is closed until the first probe succeeds."""

    def __init__(self, url: str, *, lag_seconds: Callable[[], float] = lambda: 0.0) -> None:
        """url: redis://, rediss:// or unix://; empty: there is no cache, and every call is CacheAway.

        lag_seconds: how late our own event loop is: what it adds to a call is not the cache's doing.
        """
        self._lag_seconds = lag_seconds
        self._url = url
        self._link: CacheLink | None = None
        self._is_open = False
        self._closed_at = time.monotonic()
        self._slow_calls = 0
        if url:
            metrics.CACHE_GATE_CLOSED.set(1)

    @property
    def is_open(self) -> bool:
        """Whether the next call would be made."""
        return self._is_open

    async def call(self, purpose: str, command: str, run: Callable[[Client], Awaitable[T]]) -> T:
        """Return what the command returns.

        purpose: what it is for, of `metrics.CACHE_PURPOSES`. command: its name in the protocol. run: makes
        the call on the client; None counts as a miss, anything else as a hit.
        Raises CacheAway.
        """
        if not self._url:
            raise CacheAway
        if self._link is None or not self._is_open:
            metrics.CACHE_OPERATIONS.labels(purpose, "gated").inc()
            raise CacheAway
        result, seconds = await self._timed(self._link, purpose, command, run)
        if seconds - self._lag_seconds() <= SLOW_SECONDS:
            self._slow_calls = 0
        else:
            self._note_slow("slow")
        metrics.CACHE_OPERATIONS.labels(purpose, "miss" if result is None else "hit").inc()
        return result

    async def probe(self) -> None:
        """Open the gate if a test write succeeds in time. Nothing else opens it."""
        if not self._url or self._is_open:
            return
        if self._link is None:
            # In a thread, so that neither the start nor a request waits for the import.
            self._link = await asyncio.to_thread(_linked, self._url)
        try:
            # A write: a full server, or a replica of one that is gone, answers every PING.
            _, seconds = await self._timed(self._link, "probe", "SET", _probe)
        except CacheAway:
            return
        if seconds - self._lag_seconds() <= SLOW_SECONDS:
            self._open()

    async def close(self) -> None:
        self._is_open = False
        if self._link is not None:
            await self._link.client.aclose()

    async def _timed(
        self, link: "CacheLink", purpose: str, command: str, run: Callable[[Client], Awaitable[T]]
    ) -> tuple[T, float]:
        """Return the result and the seconds it took. Raises CacheAway."""
        summary = f"{command} {purpose}"
        about = {
            "db.system.name": "redis",
            "db.operation.name": command,
            "db.query.summary": summary,
            **link.server,
        }
        started = time.perf_counter()
        reason = ""
        try:
            with span(summary, about, kind=SpanKind.CLIENT):
                async with asyncio.timeout(COMMAND_SECONDS):
                    result = await run(link.client)
        except link.errors as error:
            reason = link.reason(error)
            metrics.CACHE_OPERATIONS.labels(purpose, "error").inc()
            metrics.CACHE_ERRORS.labels(purpose, reason).inc()
            if reason == "timeout" and self._lag_seconds() > SLOW_SECONDS:
                self._note_slow(reason)
            else:
                self._close(reason)
            raise CacheAway from error
        except BaseException:
            reason = "cancelled"
            raise
        finally:
            seconds = time.perf_counter() - started
            core_metrics.DB_OPERATION_SECONDS.labels(
                "redis", "", purpose, command, "", reason
            ).observe(seconds)
        return result, seconds

    def _note_slow(self, reason: str) -> None:
        self._slow_calls += 1
        if self._slow_calls >= SLOW_CALLS:
            self._close(reason)

    def _open(self) -> None:
        self._is_open = True
        self._slow_calls = 0
        metrics.CACHE_GATE_CLOSED.set(0)
        _log.info("cache_available", away_seconds=round(time.monotonic() - self._closed_at, 3))

    def _close(self, reason: str) -> None:
        if self._is_open:
            self._is_open = False
            self._closed_at = time.monotonic()
            metrics.CACHE_GATE_CLOSED.set(1)
            _log.warning("cache_unavailable", reason=reason)


def _linked(url: str) -> "CacheLink":
    from service.cache_link import CacheLink  # noqa: PLC0415 - redis takes 0.4 s to import

    return CacheLink(url, connections_max=MAX_CONNECTIONS, seconds=COMMAND_SECONDS)


async def _probe(client: Client) -> Any:
    return await client.set(f"{PREFIX}probe", 1, px=1000)
