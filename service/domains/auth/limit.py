"""The limit of failed sign-ins, of an address and of an account, over all replicas.

An attempt is counted before the password is checked, in one step with the question whether it may be made,
and taken back when it succeeds: so attempts that run at the same time, on whichever replica, cannot pass
the limit together. Each process counts for itself as well, which is the limit while the shared cache is
away. The usual mistake is to make an attempt free, or impossible, then.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

from service import failures
from service.cache import PREFIX, Cache, CacheAway, Client
from service.config import Config
from service.domains.auth.attempts import WINDOW_SECONDS, Attempts, network_of
from service.failures import Failure

_TAKE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local window, attempt, wait = tonumber(ARGV[1]), ARGV[2], 0
for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', ms - window)
  if redis.call('ZCARD', key) >= tonumber(ARGV[2 + i]) then
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]
    wait = math.max(wait, oldest + window - ms)
  end
end
if wait == 0 then
  for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, string.format('%.0f', ms), attempt)
    redis.call('PEXPIRE', key, window)
  end
end
return wait
"""
"""Returns the milliseconds to wait, or 0 and the attempt is counted. By the server's clock: the replicas'
clocks differ."""


@dataclass(slots=True)
class Attempt:
    """One sign-in. A wrong password is marked by the caller; everything else is taken back."""

    has_failed: bool = False


class SignInLimit:
    """The limits of one process: its own counts, and those in the shared cache."""

    def __init__(
        self,
        cache: Cache,
        *,
        of_address: int,
        of_account: int,
        clock: Callable[[], float],
        hashed: Callable[[str], str],
    ) -> None:
        """of_address, of_account: failures in WINDOW_SECONDS. clock: seconds that never go back.

        hashed: keeps addresses and accounts out of the cache; the same for all replicas.
        """
        self._cache = cache
        self._limits = (of_address, of_account)
        self._own = tuple(Attempts(limit, clock=clock) for limit in self._limits)
        self._hashed = hashed

    @classmethod
    def of(cls, config: Config, cache: Cache, *, hashed: Callable[[str], str]) -> Self:
        return cls(
            cache,
            of_address=config.login_attempts_per_minute,
            of_account=config.login_attempts_of_account_per_minute,
            clock=time.monotonic,
            hashed=hashed,
        )

    @asynccontextmanager
    async def attempt(self, email: str, *, address: str) -> AsyncIterator[Attempt]:
        """Count one attempt for the block. email: normal form. Raises Failure(RATE_LIMITED)."""
        subjects = (network_of(address), email)
        for own, subject in zip(self._own, subjects, strict=True):
            own.check(subject)
        shared = await self._take(subjects)
        attempt = Attempt()
        try:
            yield attempt
        finally:
            if attempt.has_failed:
                for own, subject in zip(self._own, subjects, strict=True):
                    own.note_failure(subject)
            else:
                await self._give_back(shared)

    async def _take(self, subjects: tuple[str, str]) -> Mapping[str, str]:
        """Return what was counted: the keys and the name of the attempt; empty without the cache."""
        name = secrets.token_hex(8)
        taken = {
            f"{PREFIX}sign_in:{kind}:{self._hashed(f'sign_in.{kind}.{subject}')}": name
            for kind, subject in zip(("address", "account"), subjects, strict=True)
        }
        window = round(WINDOW_SECONDS * 1000)

        async def take(client: Client) -> int:
            script = client.register_script(_TAKE)
            wait: int = await script(keys=[*taken], args=[window, name, *self._limits])
            return wait

        try:
            wait = await self._cache.call("sign_in", "EVALSHA", take)
        except CacheAway:
            return {}
        if wait:
            raise Failure(failures.RATE_LIMITED, retry_after_seconds=wait / 1000)
        return taken

    async def _give_back(self, taken: Mapping[str, str]) -> None:
        if not taken:
            return

        async def give_back(client: Client) -> list[int]:
            pipeline = client.pipeline(transaction=False)
            for key, name in taken.items():
                pipeline.zrem(key, name)
            removed: list[int] = await pipeline.execute()
            return removed

        with suppress(CacheAway):  # then it counts as one failure, for a minute
            await self._cache.call("sign_in", "ZREM", give_back)
