"""The client of the shared cache, and what its errors are called. Imported late: redis takes 0.4 s."""

from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

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
    (RuntimeError, "connection"),
)
"""Most specific first; what is not here is `other`."""


class CacheLink:
    """client: has a bounded pool, makes one attempt. errors: what a call raises when there is no answer.

    server: where it is, as spans say it; a socket has no port.
    """

    errors = (exceptions.RedisError, OSError, RuntimeError)
    """RuntimeError: what uvloop raises for a write on a connection that the other end has closed."""

    def __init__(self, url: str, *, connections_max: int, seconds: float) -> None:
        """seconds: the limit of a connect, of a command, and of the wait for a free connection."""
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=connections_max,
            timeout=seconds,
            socket_connect_timeout=seconds,
            socket_timeout=seconds,
            # Three attempts with pauses of seconds otherwise.
            retry=Retry(NoBackoff(), 0),
            # Each is one more round trip of every new connection.
            protocol=2,
            driver_info=None,
        )
        self.client: Redis = Redis.from_pool(pool)
        self.server = _server(pool.connection_kwargs)

    @staticmethod
    def reason(error: BaseException) -> str:
        """Return what an error says about the cache."""
        if isinstance(error, exceptions.ResponseError) and str(error).startswith("NOAUTH"):
            return "auth"
        return next((name for kind, name in _REASONS if isinstance(error, kind)), "other")


def _server(connection: dict[str, Any]) -> dict[str, str | int]:
    if "path" in connection:
        return {"server.address": connection["path"]}
    return {
        "server.address": connection.get("host", "localhost"),
        "server.port": connection.get("port", 6379),
    }
