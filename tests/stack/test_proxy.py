"""The fault proxy, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from stack.proxy import FaultProxy
from stack.proxy.__main__ import control_app

PATIENCE_SECONDS = 10
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def proxy(echo_port: int) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", echo_port) as proxy:
        yield proxy


@pytest.fixture
async def connect(proxy: FaultProxy) -> AsyncIterator[Connect]:
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(streams: Streams, data: bytes) -> bytes:
    reader, writer = streams
    writer.write(data)
    await writer.drain()
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await reader.readexactly(len(data))


async def test_bytes_and_the_half_close_pass_unchanged(
    proxy: FaultProxy, connect: Connect
) -> None:
    reader, writer = await connect()
    data = bytes(range(256)) * 8192

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    async with asyncio.timeout(PATIENCE_SECONDS):
        _, received = await asyncio.gather(send(), reader.read(-1))

    assert received == data


async def test_refuse_cuts_open_connections_and_answers_nobody(
    proxy: FaultProxy, connect: Connect
) -> None:
    streams = await connect()
    await ask(streams, b"before")

    proxy.mode = "refuse"

    with pytest.raises(ConnectionRefusedError):
        await connect()
    with pytest.raises(ConnectionResetError):
        await streams[0].read(1)
    proxy.mode = "pass"
    assert await ask(await connect(), b"after") == b"after"


async def test_reset_resets_open_and_new_connections(proxy: FaultProxy, connect: Connect) -> None:
    old = await connect()
    await ask(old, b"before")

    proxy.mode = "reset"

    with pytest.raises(ConnectionResetError):
        await old[0].read(1)
    new = await connect()
    with pytest.raises(ConnectionResetError):
        await new[0].read(1)
    assert proxy.accepted == 2


async def test_a_blackhole_holds_everything_and_loses_nothing(
    proxy: FaultProxy, connect: Connect
) -> None:
    old = await connect()
    await ask(old, b"before")
    proxy.mode = "blackhole"
    new = await connect()
    for _, writer in (old, new):
        writer.write(b"during")

    done, waiting = await asyncio.wait(
        [asyncio.create_task(reader.readexactly(6)) for reader, _ in (old, new)], timeout=0.2
    )

    assert not done
    proxy.mode = "pass"
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await asyncio.gather(*waiting) == [b"during", b"during"]


async def test_latency_delays_each_direction_and_keeps_the_order(
    proxy: FaultProxy, connect: Connect
) -> None:
    proxy.latency_seconds = 0.05
    proxy.mode = "latency"
    streams = await connect()
    loop = asyncio.get_running_loop()
    began = loop.time()

    answer = await ask(streams, b"one two three")

    assert answer == b"one two three"
    assert loop.time() - began >= 2 * proxy.latency_seconds


async def test_slow_limits_the_rate_of_a_direction(proxy: FaultProxy, connect: Connect) -> None:
    proxy.bytes_per_second = 1000
    proxy.mode = "slow"
    streams = await connect()
    loop = asyncio.get_running_loop()
    began = loop.time()

    await ask(streams, b"x" * 300)

    # The last slice of 100 bytes is delivered before its pause.
    assert loop.time() - began >= 0.2


async def test_the_target_gone_is_a_reset_and_leaves_no_connection(echo_port: int) -> None:
    async with FaultProxy("127.0.0.1", 1) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)

        with pytest.raises(ConnectionResetError):
            await reader.read(1)

        writer.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while proxy.connections:
                await asyncio.sleep(0.01)


async def test_the_control_port_changes_the_mode_and_refuses_nonsense(proxy: FaultProxy) -> None:
    transport = httpx.ASGITransport(app=control_app(proxy))
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
        changed = await client.post("/", json={"mode": "latency", "latency_seconds": 1.5})
        refused = await client.post("/", json={"mode": "explode"})
        unknown = await client.post("/", json={"delay": 3})
        state = (await client.get("/")).json()

    assert changed.status_code == 200
    assert [refused.status_code, unknown.status_code] == [400, 400]
    assert (state["mode"], state["latency_seconds"]) == ("latency", 1.5)
    assert proxy.mode == "latency"
