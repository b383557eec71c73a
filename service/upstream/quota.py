"""The gate before the provider's quota of the whole project: what one replica learns, all know.

The moment is kept in this process and, as the rest of a time to live, in the shared cache, so that replicas
need no common clock. While the cache is away each replica learns it from the provider itself.
"""

from collections.abc import Callable
from contextlib import suppress

from service import metrics
from service.cache import PREFIX, Cache, CacheAway, Client

KEY = f"{PREFIX}quota:{metrics.PROVIDER}"


class QuotaGate:
    """Closed until a moment, which only moves forward."""

    def __init__(self, cache: Cache, *, clock: Callable[[], float]) -> None:
        """clock: seconds of any origin."""
        self._cache = cache
        self._clock = clock
        self._back_at = 0.0

    async def seconds(self) -> float:
        """Return for how long no call is to be made; 0 or less: none."""
        if self._back_at <= self._clock():
            with suppress(CacheAway):
                left = await self._cache.call("quota", "PTTL", _left)
                self._keep(left or 0.0)
        return self._back_at - self._clock()

    async def close(self, seconds: float) -> None:
        """Make no call for so long, on any replica."""
        self._keep(seconds)
        milliseconds = max(1, round(seconds * 1000))

        async def set_(client: Client) -> bool:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(KEY, 1, px=milliseconds, nx=True)
            # Another replica may have been given a longer time.
            pipeline.pexpire(KEY, milliseconds, gt=True)
            return any(await pipeline.execute())

        with suppress(CacheAway):
            await self._cache.call("quota", "SET", set_)

    def _keep(self, seconds: float) -> None:
        self._back_at = max(self._back_at, self._clock() + seconds)


async def _left(client: Client) -> float | None:
    milliseconds: int = await client.pttl(KEY)
    return milliseconds / 1000 if milliseconds > 0 else None
