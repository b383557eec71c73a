"""`python -m stack.pager --port 9095 --db pager.db [--name pager|second-channel]`

The second channel is the same program in a process of its own, without the dead-man: it is there for the
one alert that says that the first pager cannot be reached.
"""

import argparse
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import structlog
import uvicorn

from stack.pager.pager import Pager
from stack.pager.store import Store, UnusableStore
from stack.pager.web import create_app
from stack.serving import configure_logs

NAMES = ("pager", "second-channel")


def port_number(text: str) -> int:
    """Parse a port, 0 for any free one. Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > 65535:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port (0 to 65535)")
    return int(text)


def listening_socket(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # From here on a caller waits instead of being refused.
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stack.pager", description="Receives, keeps and shows Alertmanager's pages."
    )
    parser.add_argument("--port", type=port_number, required=True, help="0: any free one")
    parser.add_argument("--db", type=Path, required=True, help="SQLite file, made when missing")
    parser.add_argument("--name", choices=NAMES, default="pager")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; a container needs another"
    )
    given = parser.parse_args()
    configure_logs()
    try:
        listener = listening_socket(given.host, given.port)
    except OSError as error:
        parser.exit(2, f"cannot listen on {given.host}:{given.port}: {error.strerror}\n")
    try:
        store = Store(given.db)
    except UnusableStore as error:
        parser.exit(2, f"{error}\n")
    app = create_app(
        Pager(store, clock=time.time, has_deadman=given.name == "pager"),
        name=given.name.replace("-", " "),
    )
    host, port = listener.getsockname()[:2]
    structlog.get_logger("pager").info("pager_started", url=f"http://{host}:{port}")
    # No access log: it would repeat query strings.
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    # uvicorn shuts down and then raises the signal again: without this it would end us before the close.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        store.close()


if __name__ == "__main__":
    main()
