"""`/metrics` on a port of its own, from a thread: one per worker process."""

import errno
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry

from firedrill_kit.telemetry.exposition import compressed, exposition
from firedrill_kit.telemetry.forks import after_fork

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Workers find their ports by trying: two must never listen on one.
    allow_reuse_port = False

    def server_bind(self) -> None:
        # WSGIServer's own asks the resolver for the machine's full name, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that left is no news either; socketserver prints a traceback."""


class _Silent(WSGIRequestHandler):
    timeout = 10.0
    """Seconds for one read: each connection has a thread, also one that asks for nothing."""

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name there
        """A scrape every few seconds is no news."""


class Endpoint:
    """Serves a registry until `stop`. port: where it listens."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        after_fork(server.server_close)  # else the port of a process that has ended stays taken
        self.port: int = server.server_port
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def serve(
    registry: CollectorRegistry, *, host: str, port: int, workers_max: int
) -> Endpoint | None:
    """Serve on the first free port from `port` on; None when all `workers_max` of them are taken.

    Port + index, whichever worker comes first: a scraper lists them all, and a worker that is started
    again takes the place of the one that left.
    """

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        body, content_type = exposition(registry, environ.get("HTTP_ACCEPT", ""))
        body, more = compressed(body, environ.get("HTTP_ACCEPT_ENCODING", ""))
        headers = [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Vary", "Accept, Accept-Encoding"),
            *more.items(),
        ]
        start_response("200 OK", headers)
        return [body]

    for candidate in range(port, min(port + workers_max, 1 << 16)):
        try:
            server = _Server((host, candidate), _Silent)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        server.set_app(application)
        return Endpoint(server)
    return None
