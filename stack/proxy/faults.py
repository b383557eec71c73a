"""The fault proxy itself: one listening port, one target, one mode at a time.

A change of mode reaches connections that are already open, because that is how a network fails:
a pooled connection that was fine a second ago hangs or is reset. Bytes are held, never lost, in
`blackhole`, as TCP would retransmit them once the path is back.
"""

import asyncio
import contextlib
import socket
import struct
from types import TracebackType
from typing import Literal, Self, get_args

from stack.serving import LOOPBACK

Mode = Literal["pass", "refuse", "blackhole", "reset", "latency", "slow"]
"""What happens to the traffic.

pass       forwarded untouched
refuse     nothing listens (ECONNREFUSED) and open connections are reset: the server died
blackhole  connections are taken and nothing moves in either direction, the close included
reset      open and new connections are reset (RST)
latency    every chunk arrives `latency_seconds` later, in each direction
slow       each direction of a connection carries `bytes_per_second`
"""
MODES: tuple[Mode, ...] = get_args(Mode)

_CHUNK_BYTES = 64 * 1024
_CHUNKS_IN_FLIGHT = 64
# SO_LINGER with a timeout of 0 makes close() send RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class FaultProxy:
    """Forward `host`:`port` to a target, with a fault.

    async with FaultProxy("127.0.0.1", 5432) as proxy:
        proxy.mode = "blackhole"

    listen_port: 0 picks a free one. latency_seconds and bytes_per_second may be set at any time.
    Every attribute belongs to the event loop that entered the context.
    """

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        listen_port: int = 0,
        host: str = LOOPBACK,
        mode: Mode = "pass",
        latency_seconds: float = 0.2,
        bytes_per_second: int = 1024,
    ) -> None:
        self.target = (target_host, target_port)
        self.host = host
        self.port = listen_port
        self.latency_seconds = latency_seconds
        self.bytes_per_second = bytes_per_second
        self.accepted = 0
        """Connections taken since the start."""
        self._mode: Mode = mode
        self._changed = asyncio.Event()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[socket.socket] = set()

    async def __aenter__(self) -> Self:
        self._listen()
        if self._mode == "refuse":
            self._stop_listening()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop_listening()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def mode(self) -> Mode:
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        if mode not in MODES:
            msg = f"unknown mode {mode!r}: one of {', '.join(MODES)}"
            raise ValueError(msg)
        self._mode = mode
        if mode == "refuse":
            self._stop_listening()
        elif self._listener is None:
            self._listen()
        if mode in {"refuse", "reset"}:
            self.reset_connections()
        # A task that waits holds the old event; one that waits next finds the new one.
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._tasks)

    def reset_connections(self) -> None:
        """Reset every open connection once, on both sides; the mode stays."""
        for end in self._sockets:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        for task in self._tasks:
            task.cancel()

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind((self.host, self.port))
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client, _ = self._listener.accept()
            client.setblocking(False)
            self.accepted += 1
            task = asyncio.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        """Carry one connection until both directions have ended or one of them is reset."""
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setblocking(False)
        ends = {client, server}
        self._sockets |= ends
        try:
            if self._mode == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                return
            await self._while_blackholed()
            for end in ends:
                # Without it the two hops of small messages add Nagle's 40 ms to each exchange.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(server, self.target)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._carry(client, server))
                directions.create_task(self._carry(server, client))
        except* OSError:
            # One side is gone: the other one learns it the same way, as soon as the path is back.
            await self._while_blackholed()
            for end in ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        finally:
            self._sockets -= ends
            for end in ends:
                end.close()

    async def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry one direction; the end of the source is passed on as a half-close."""
        loop = asyncio.get_running_loop()
        # Chunks wait here for their due time, so latency delays without limiting the rate.
        pipe: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_IN_FLIGHT)

        async def read() -> None:
            while data := await loop.sock_recv(source, _CHUNK_BYTES):
                await pipe.put((loop.time(), data))
            await pipe.put((loop.time(), b""))

        async def write() -> None:
            while True:
                arrived, data = await pipe.get()
                if self._mode == "latency":
                    await asyncio.sleep(arrived + self.latency_seconds - loop.time())
                await self._while_blackholed()
                if not data:
                    with contextlib.suppress(OSError):
                        sink.shutdown(socket.SHUT_WR)
                    return
                await self._send(sink, data)

        async with asyncio.TaskGroup() as both:
            both.create_task(read())
            both.create_task(write())

    async def _send(self, sink: socket.socket, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while data and self._mode == "slow":
            # Ten slices a second; a slow link still delivers something.
            slice_bytes = max(1, self.bytes_per_second // 10)
            await loop.sock_sendall(sink, data[:slice_bytes])
            data = data[slice_bytes:]
            await asyncio.sleep(slice_bytes / self.bytes_per_second)
            await self._while_blackholed()
        if data:
            await loop.sock_sendall(sink, data)

    async def _while_blackholed(self) -> None:
        while self._mode == "blackhole":
            await self._changed.wait()
