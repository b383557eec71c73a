"""How our small servers are served: on loopback, one line of JSON per event, a quick stop."""

import asyncio
import errno
import functools
import itertools
import logging
import socket
import sys
from collections.abc import AsyncIterator, Generator, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import structlog
import uvicorn
from prometheus_client import CollectorRegistry, disable_created_metrics
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from firedrill_kit.telemetry.exposition import exposition
from firedrill_kit.telemetry.field_names import field_name

LOOPBACK = "127.0.0.1"
HOST_HELP = "address to listen on; anything but loopback is for containers alone"


class PortTaken(Exception):
    """Somebody listens there already."""


def free_port() -> int:
    """A loopback port for a server to come, which nobody else was given and nobody listens on.

    Below 32768: above, the kernel may give it to a connection before the server is up
    (net.ipv4.ip_local_port_range). The next nine ports are free as well: replicas and proxies follow
    the first of them. The same port comes again after a hundred others.
    """
    return next(port for port in _own_ports() if not is_taken(port))


@functools.cache
def _own_ports() -> Iterator[int]:
    """Every tenth port of a thousand that this process alone gives away, again and again.

    The process that holds the first one has the thousand; the kernel lets go of it when the process ends.
    """
    claim = socket.socket()
    for first in range(20_000, 32_000, 1_000):
        with suppress(OSError):
            claim.bind((LOOPBACK, first))
            claim.detach()  # stays open as long as the process lives
            return itertools.cycle(range(first + 10, first + 1_000, 10))
    raise PortTaken("twelve programs have taken all ports from 20000 to 31999")


def is_taken(port: int) -> bool:
    """Whether somebody listens there; what only has connections in TIME_WAIT is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def listen(port: int, host: str = LOOPBACK) -> socket.socket:
    """A listening socket. Raises PortTaken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise PortTaken(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def configure_logs() -> None:
    """Send our events and the libraries' warnings to stdout, one JSON object a line."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, _named, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _named,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _named(_: object, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    return {field_name(name): value for name, value in event.items()}


def server(app: ASGIApp) -> uvicorn.Server:
    """A server without access log: requests are counted, and lines would repeat query strings."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def metrics_route(registry: CollectorRegistry, path: str = "/metrics") -> Route:
    """A registry as text, or as OpenMetrics for a client that asks for it."""

    async def expose(request: Request) -> Response:
        body, content_type = exposition(registry, ",".join(request.headers.getlist("accept")))
        return Response(body, headers={"Content-Type": content_type})

    return Route(path, expose)


def serve(app: ASGIApp, ports: Sequence[int], *, host: str = LOOPBACK) -> None:
    """Serve one app on every port until SIGTERM or SIGINT. Exits 2 when it cannot listen."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        listeners = [listen(port, host) for port in ports]
    except PortTaken as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    server(app).run(sockets=listeners)


@asynccontextmanager
async def guest(config: uvicorn.Config, *, backlog: int = 256) -> AsyncIterator[str]:
    """Serve on a free port in the event loop at hand for as long as the block runs; gives the base URL."""
    with socket.create_server((LOOPBACK, 0), backlog=backlog) as listener:
        guest = _Guest(config)
        task = asyncio.create_task(guest.serve(sockets=[listener]))
        try:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        finally:
            guest.should_exit = True
            await task


class _Guest(uvicorn.Server):
    """A server that leaves the signals to the program that it runs in."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
