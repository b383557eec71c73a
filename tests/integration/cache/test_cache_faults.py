"""The cache away in every way: a caller waits once, 50 ms at most, and then a gate answers for it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from opentelemetry.sdk.trace import ReadableSpan
from structlog.testing import capture_logs

from service.app import Service
from service.cache import COMMAND_SECONDS, SLOW_CALLS, Cache, CacheAway
from stack.cache import CacheServer
from stack.proxy import FaultProxy
from tests.integration.cache.conftest import is_open, opened_cache, probing
from tests.integration.cache.server import ask, value_of
from tests.signals import Samples, watched_spans

SLACK_SECONDS = 10.0
"""What a busy machine may add; without a limit of time the blackholed ones would wait for ever."""

Break = Callable[[CacheServer, FaultProxy], None]


def _proxy(mode: str, **settings: float) -> Break:
    def break_(_server: CacheServer, proxy: FaultProxy) -> None:
        for name, value in settings.items():
            setattr(proxy, name, value)
        proxy.mode = mode  # type: ignore[assignment]

    return break_


def _command(*command: object) -> Break:
    return lambda server, _proxy: ask(server, *command)


def _full(server: CacheServer, _proxy: FaultProxy) -> None:
    ask(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    ask(server, "CONFIG", "SET", "maxmemory", 1)


def _other_password(server: CacheServer, proxy: FaultProxy) -> None:
    ask(server, "CONFIG", "SET", "requirepass", "another")
    proxy.reset_connections()


def _failing_over(server: CacheServer, _proxy: FaultProxy) -> None:
    # A replica that has lost its primary refuses every write, which is what a failover looks like.
    ask(server, "REPLICAOF", "127.0.0.1", 1)


FAULTS: dict[str, tuple[Break, set[str]]] = {
    "refused": (_proxy("refuse"), {"connection"}),
    "blackholed": (_proxy("blackhole"), {"timeout"}),
    "reset": (_proxy("reset"), {"connection"}),
    "slow": (_proxy("latency", latency_seconds=0.2), {"timeout"}),
    "full": (_full, {"full"}),
    "wrong_password": (_other_password, {"connection", "auth"}),  # the old connection is reset
    "failing_over": (_failing_over, {"read_only"}),
    "killed": (lambda server, _proxy: server.kill(), {"connection"}),
}


async def store(cache: Cache, key: str = "a", value: bytes = b"1") -> object:
    return await cache.call("settings", "SET", lambda client: client.set(key, value, px=60_000))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_costs_one_call_and_later_ones_nothing(
    cache: Cache, cache_server: CacheServer, cache_proxy: FaultProxy, fault: str
) -> None:
    break_, reasons = FAULTS[fault]
    await store(cache)
    break_(cache_server, cache_proxy)
    before = Samples()

    with capture_logs() as lines:
        started = time.perf_counter()
        with pytest.raises(CacheAway):
            await store(cache)
        waited = time.perf_counter() - started
        for _ in range(100):
            with pytest.raises(CacheAway):
                await store(cache)

    assert COMMAND_SECONDS <= 0.05
    assert waited < COMMAND_SECONDS + SLACK_SECONDS
    (line,) = [line for line in lines if line["event"] == "cache_unavailable"]
    assert line["reason"] in reasons
    assert before.grown("cache_operations_total", purpose="settings", result="error") == 1
    assert before.grown("cache_operations_total", purpose="settings", result="gated") == 100
    assert (
        sum(before.grown("cache_errors_total", purpose="settings", reason=r) for r in reasons) == 1
    )


async def test_the_gate_stays_closed_while_the_fault_lasts_and_opens_after_it(
    cache: Cache, cache_server: CacheServer, cache_proxy: FaultProxy
) -> None:
    cache_proxy.mode = "blackhole"
    with pytest.raises(CacheAway):
        await store(cache)
    before = Samples()
    while before.grown("cache_operations_total", purpose="probe", result="error") < 2:
        await asyncio.sleep(0.01)
    assert not cache.is_open

    with capture_logs() as lines:
        cache_proxy.mode = "pass"
        await is_open(cache)

    assert await store(cache)
    (line,) = [line for line in lines if line["event"] == "cache_available"]
    assert line["away_seconds"] > 0


async def test_a_cache_that_is_slow_each_time_is_given_up_although_it_answers(
    cache: Cache, cache_proxy: FaultProxy
) -> None:
    cache_proxy.latency_seconds = 0.015  # each way: over SLOW_SECONDS, under COMMAND_SECONDS
    cache_proxy.mode = "latency"

    calls = 0
    while cache.is_open:
        calls += 1
        try:
            await store(cache)
        except CacheAway:
            break

    assert calls <= SLOW_CALLS


async def test_slowness_of_our_own_loop_is_not_the_caches(
    cache_server: CacheServer, cache_proxy: FaultProxy
) -> None:
    late = Cache(cache_server.url(cache_proxy.port), lag_seconds=lambda: 5.0)
    watching = probing(late)
    await is_open(late)
    cache_proxy.latency_seconds = 0.015
    cache_proxy.mode = "latency"

    for _ in range(2 * SLOW_CALLS):
        try:
            await store(late)
        except CacheAway:
            pytest.skip("too little CPU: a call slowed by 15 ms took the 50 ms that it may")
    assert late.is_open

    watching.cancel()
    await late.close()


@pytest.mark.usefixtures("patient")
async def test_evicted_and_flushed_entries_are_misses_and_no_errors(
    cache: Cache, cache_server: CacheServer
) -> None:
    await store(cache)
    assert await value_of(cache, "a") == b"1"
    ask(cache_server, "FLUSHALL")
    before = Samples()

    assert await value_of(cache, "a") is None
    ask(cache_server, "CONFIG", "SET", "maxmemory", "4mb")
    for number in range(200):
        await store(cache, f"n{number}", b"x" * 100_000)

    assert ask(cache_server, "INFO", "stats")["evicted_keys"] > 0
    assert before.grown("cache_operations_total", purpose="settings", result="miss") == 1
    assert before.grown("cache_operations_total", purpose="settings", result="error") == 0
    assert cache.is_open


async def test_a_cache_that_is_away_at_the_start_costs_no_caller_anything(
    cache_server: CacheServer,
) -> None:
    cache_server.kill()
    away = Cache(cache_server.url())
    watching = probing(away)
    before = Samples()

    with pytest.raises(CacheAway):
        await store(away)

    assert before.grown("cache_operations_total", purpose="settings", result="gated") == 1
    watching.cancel()
    await away.close()


async def test_a_wrong_password_is_named(cache_server: CacheServer) -> None:
    stranger = Cache(cache_server.url(password="wrong"))
    watching = probing(stranger)
    before = Samples()

    while not before.grown("cache_errors_total", purpose="probe", reason="auth"):
        await asyncio.sleep(0.01)

    assert not stranger.is_open
    watching.cancel()
    await stranger.close()


async def test_without_a_cache_nothing_is_counted_and_the_gate_does_not_look_closed() -> None:
    none = Cache("")
    await none.probe()
    before = Samples()

    with pytest.raises(CacheAway):
        await store(none)

    assert before.grown("cache_operations_total") == 0
    await none.close()


@pytest.mark.usefixtures("patient")
async def test_at_most_so_many_connections_are_open(
    cache: Cache, cache_server: CacheServer
) -> None:
    await asyncio.gather(*(store(cache) for _ in range(100)))

    clients = int(ask(cache_server, "INFO", "clients")["connected_clients"])
    assert clients - 1 <= 10  # one of them asks


@pytest.mark.usefixtures("patient")
async def test_each_call_leaves_a_span_and_a_failed_one_says_why(
    service: Service, cache: Cache, cache_proxy: FaultProxy
) -> None:
    with watched_spans(service.tracing) as spans:
        await store(cache)
        cache_proxy.mode = "reset"
        with pytest.raises(CacheAway):
            await store(cache)

    good, bad = _of_cache(spans.ended)
    assert good.name == bad.name == "SET settings"
    assert good.kind.name == "CLIENT"
    assert dict(good.attributes or {}) == {
        "db.system.name": "redis",
        "db.operation.name": "SET",
        "db.query.summary": "SET settings",
        "server.address": "127.0.0.1",
        "server.port": cache_proxy.port,
    }
    assert (bad.attributes or {})["error.type"] == "ConnectionError"


def _of_cache(spans: list[ReadableSpan]) -> list[ReadableSpan]:
    return [
        span for span in spans if (span.attributes or {}).get("db.query.summary") == "SET settings"
    ]


def test_a_connection_that_is_cut_is_an_answer_on_uvloop_as_well(
    cache_server: CacheServer,
) -> None:
    """The service runs on it, and it raises RuntimeError for a write on what the other end has closed."""
    called = Counter[str]()

    async def ask(cache: Cache, cut: asyncio.Event) -> None:
        while not cut.is_set():
            try:
                await cache.call("settings", "GET", lambda client: client.get("firedrill:x"))
                called["answered"] += 1
            except CacheAway:
                pass
            except Exception as error:  # noqa: BLE001 - that there is none is what is tested
                called[type(error).__name__] += 1
            await asyncio.sleep(0.002)

    async def main() -> None:
        done = asyncio.Event()
        async with (
            FaultProxy("127.0.0.1", cache_server.port) as proxy,
            opened_cache(cache_server.url(proxy.port)) as cache,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(12):
                group.create_task(ask(cache, done))
            for cuts in range(1, 16):
                while called["answered"] < 20 * cuts:
                    await asyncio.sleep(0.01)
                proxy.reset_connections()
                await is_open(cache)
            done.set()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()
    assert set(called) == {"answered"}
