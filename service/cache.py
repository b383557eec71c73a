"""The cache that all replicas share (Redis or Valkey): its connections, its gate, its figures.

Nothing is right or wrong because of it: each caller has an answer of its own for when it is away. So a
call takes COMMAND_SECONDS at most, and after one that failed none is made until a probe of our own, which
nobody waits for, has succeeded. A newcomer's usual mistake is to let a request do the probing: each second
one caller would then wait for what is known to be away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import structlog
from opentelemetry.trace import SpanKind
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry.traces import span
from service import metrics

COMMAND_SECONDS = 0.05
"""Of one call: a free connection, the way there and back; also of connecting. It answers in under 1 ms."""
SLOW_SECONDS = 0.02
"""A statement on the database takes less: a cache that is slower than this costs more than it saves."""
SLOW_CALLS = 3
"""That many in a row close the gate; of timeouts one does, unless our own event loop is late."""
PROBE_EVERY_SECONDS = 1.0
"""While the gate is closed."""
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
        Raises ValueError for another url.
        """
        self._lag_seconds = lag_seconds
        self._client = _client(url) if url else None
        self._server = _server(self._client)
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
        if self._client is None:
            raise CacheAway
        if not self._is_open:
            metrics.CACHE_OPERATIONS.labels(purpose, "gated").inc()
            raise CacheAway
        result, seconds = await self._timed(self._client, purpose, command, run)
        if seconds - self._lag_seconds() <= SLOW_SECONDS:
            self._slow_calls = 0
        else:
            self._note_slow("slow")
        metrics.CACHE_OPERATIONS.labels(purpose, "miss" if result is None else "hit").inc()
        return result

    async def probe(self) -> None:
        """Open the gate, which nobody else does, if a call is good again."""
        if self._client is None or self._is_open:
            return
        try:
            # A write: a full server, or a replica of one that is gone, answers every PING.
            _, seconds = await self._timed(self._client, "probe", "SET", _probe)
        except CacheAway:
            return
        if seconds - self._lag_seconds() <= SLOW_SECONDS:
            self._open()

    async def close(self) -> None:
        self._is_open = False
        if self._client is not None:
            await self._client.aclose()

    async def _timed(
        self, client: Client, purpose: str, command: str, run: Callable[[Client], Awaitable[T]]
    ) -> tuple[T, float]:
        """Return the result and the seconds it took. Raises CacheAway."""
        summary = f"{command} {purpose}"
        about = {
            "db.system.name": "redis",
            "db.operation.name": command,
            "db.query.summary": summary,
            **self._server,
        }
        started = time.perf_counter()
        reason = ""
        try:
            with span(summary, about, kind=SpanKind.CLIENT):
                async with asyncio.timeout(COMMAND_SECONDS):
                    result = await run(client)
        except (exceptions.RedisError, OSError) as error:
            reason = _reason(error)
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


def _client(url: str) -> Client:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=COMMAND_SECONDS,
        socket_connect_timeout=COMMAND_SECONDS,
        socket_timeout=COMMAND_SECONDS,
        # Three attempts with pauses of seconds otherwise.
        retry=Retry(NoBackoff(), 0),
        # Each is one more round trip of every new connection.
        protocol=2,
        driver_info=None,
    )
    return Redis.from_pool(pool)


async def _probe(client: Client) -> Any:
    return await client.set(f"{PREFIX}probe", 1, px=1000)


def _server(client: "Client | None") -> Mapping[str, str | int]:
    """Return where it is, as spans say it; a socket has no port."""
    if client is None:
        return {}
    connection = client.connection_pool.connection_kwargs
    if "path" in connection:
        return {"server.address": connection["path"]}
    return {
        "server.address": connection.get("host", "localhost"),
        "server.port": connection.get("port", 6379),
    }


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.AuthenticationError, "auth"),
    (exceptions.AuthorizationError, "auth"),
    (exceptions.NoPermissionError, "auth"),
    (exceptions.OutOfMemoryError, "full"),
    (exceptions.ReadOnlyError, "read_only"),
    (exceptions.MasterDownError, "read_only"),
    (exceptions.MaxConnectionsError, "busy"),
    (exceptions.TimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (exceptions.ConnectionError, "connection"),
    (OSError, "connection"),
)
"""Most specific first; what is not here is `other`."""


def _reason(error: BaseException) -> str:
    if isinstance(error, exceptions.ResponseError) and str(error).startswith("NOAUTH"):
        return "auth"
    return next((name for kind, name in _REASONS if isinstance(error, kind)), "other")
