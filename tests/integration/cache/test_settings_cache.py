"""Settings from the shared cache: the same answers as from the database, with a statement less."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.app import Service
from service.domains.settings.models import Theme
from service.domains.settings.operations import Document
from stack.cache import CacheServer
from tests.integration.cache.conftest import Replicas
from tests.integration.cache.server import ask
from tests.integration.conftest import NewAccount, Owner, Someone
from tests.signals import Samples, watched_spans

pytestmark = pytest.mark.usefixtures("patient")

PATH = "/api/v1/settings"
SECRET = "sk-live-0123456789abcdef"
DOCUMENT = {
    "theme": "dark",
    "notifications": False,
    "ai_models": {
        "default": "writer",
        "models": {
            "writer": {"provider": "acme", "model": "large-1", "options": {"api_key": SECRET}}
        },
    },
}

Ask = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def pair(replicas: Replicas, cache_server: CacheServer) -> list[Service]:
    return await replicas(2, cache_url=cache_server.url(), cache_settings=True)


async def get(service: Service, someone: Someone, **headers: str) -> httpx.Response:
    return await _ask(service, "GET", headers={**someone.headers, **headers})


async def put(service: Service, someone: Someone, content: Any) -> httpx.Response:
    answer = await _ask(service, "PUT", headers=someone.headers, json=content)
    assert answer.status_code == 200, answer.text
    return answer


async def _ask(service: Service, method: str, **request: Any) -> httpx.Response:
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        return await client.request(method, PATH, **request)


async def test_a_document_that_one_replica_wrote_is_a_hit_at_the_other(
    pair: list[Service], someone: Someone
) -> None:
    written = await put(pair[0], someone, DOCUMENT)
    before = Samples()

    read = await get(pair[1], someone)

    assert read.json() == written.json()
    assert read.headers["etag"] == written.headers["etag"]
    assert before.grown("cache_operations_total", purpose="settings", result="hit") == 1
    assert (await get(pair[1], someone, **{"If-None-Match": '"s1"'})).status_code == 304


async def test_a_hit_takes_one_statement_and_a_miss_two(
    pair: list[Service], someone: Someone
) -> None:
    await put(pair[0], someone, DOCUMENT)
    statements = []
    for _ in range(2):
        with watched_spans(pair[1].tracing) as spans:
            await get(pair[1], someone)
        summaries = [
            str((span.attributes or {}).get("db.query.summary", "")) for span in spans.ended
        ]
        # Others are those of the service's own chores.
        mine = [one for one in summaries if one.startswith("SELECT")]
        statements.append(sum("accounts" in one or "settings" in one for one in mine))
        await _flush_once(pair[1])
    hit, miss = statements

    assert (hit, miss) == (1, 2)


async def _flush_once(service: Service) -> None:
    await service.cache.call("settings", "FLUSHALL", lambda client: client.flushall())


@pytest.mark.parametrize("content", [{"theme": "light"}, DOCUMENT])
async def test_nobody_is_answered_an_older_document_when_the_writer_cannot_reach_the_cache(
    pair: list[Service], someone: Someone, content: object
) -> None:
    """The replica that writes has lost the cache, the one that reads has not."""
    await put(pair[0], someone, {"theme": "dark"})
    await get(pair[1], someone)
    pair[0].cache._close("test")

    written = await put(pair[0], someone, content)

    assert (await get(pair[1], someone)).json() == written.json()


async def test_a_row_that_was_changed_by_hand_is_read_anew(
    pair: list[Service], someone: Someone, owner: Owner
) -> None:
    await put(pair[0], someone, {"theme": "dark"})

    await owner.execute("UPDATE settings SET theme = 'light' WHERE account_id = $1", someone.id)

    assert (await get(pair[1], someone)).json()["theme"] == "light"


async def test_settings_that_nobody_stored_take_neither_cache_nor_a_second_statement(
    pair: list[Service], someone: Someone, cache_server: CacheServer
) -> None:
    answer = await get(pair[0], someone)

    assert (answer.json()["theme"], answer.headers["etag"]) == ("system", '"s0"')
    assert ask(cache_server, "KEYS", "*settings*") == []


async def test_readers_at_the_same_time_share_one_read(pair: list[Service]) -> None:
    cache = pair[0].settings_cache
    assert cache is not None
    may_end = asyncio.Event()
    stored = Document(Theme.DARK, notifications=True, version=1, stamp="1.1")
    loads = []

    async def load() -> Document:
        loads.append(1)
        await may_end.wait()
        return stored

    before = Samples()
    readers = [asyncio.create_task(cache.read(-1, "1.1", load)) for _ in range(4)]
    while before.grown("cache_operations_total", purpose="settings", result="miss") < 4:
        await asyncio.sleep(0.01)
    may_end.set()

    assert await asyncio.gather(*readers) == [stored] * 4
    assert len(loads) == 1


async def test_what_is_in_the_cache_says_nothing_and_ends_by_itself(
    pair: list[Service], someone: Someone, cache_server: CacheServer
) -> None:
    await put(pair[0], someone, DOCUMENT)
    await get(pair[1], someone)

    keys = ask(cache_server, "KEYS", "*settings*")
    values = [ask(cache_server, "GET", key) for key in keys]

    assert len(keys) == 1
    for text in (SECRET, someone.token, someone.email, "acme", "dark"):
        assert all(text.encode() not in value for value in values)
    assert all(270_000 < ask(cache_server, "PTTL", key) <= 330_000 for key in keys)


async def test_a_document_of_another_account_or_of_nobody_is_not_taken(
    pair: list[Service], new_account: NewAccount, cache_server: CacheServer
) -> None:
    one, other = await new_account(), await new_account()
    await put(pair[0], one, {"theme": "dark"})
    await put(pair[0], other, {"theme": "light"})
    mine, yours = (f"firedrill:settings:{someone.id}" for someone in (one, other))

    for value in (ask(cache_server, "GET", mine), b"", b"x", json.dumps(DOCUMENT).encode()):
        ask(cache_server, "SET", yours, value)
        assert (await get(pair[1], other)).json()["theme"] == "light"
