"""What tests ask a cache server, and a cache."""

from typing import Any

import redis

from service.cache import Cache, Client
from stack.cache import CacheServer


def ask(server: CacheServer, *command: object) -> Any:
    """The answer to a command, past any proxy and without our limits of time."""
    with redis.Redis(port=server.port, password=server.password) as admin:
        return admin.execute_command(*command)


async def value_of(cache: Cache, key: str) -> object:
    """What a user of the cache gets. Raises CacheAway."""

    async def get(client: Client) -> object:
        return await client.get(key)

    return await cache.call("settings", "GET", get)
