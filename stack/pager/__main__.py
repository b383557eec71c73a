"""`python -m stack.pager --port 9095 --db pager.db [--name pager|second-channel]`

The second channel is the same program in a process of its own, without the dead-man: it is there for the
one alert that says that the first pager cannot be reached.
"""

import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog
import uvicorn

from stack.command_line import Parser, port, run
from stack.pager.pager import Pager
from stack.pager.store import Store, UnusableStore
from stack.pager.web import create_app
from stack.serving import configure_logs

NAMES = ("pager", "second-channel")


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


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="pager", description=__doc__)
    parser.add_argument("--port", type=port, required=True, help="0: any free one")
    parser.add_argument("--db", type=Path, required=True, help="SQLite file, made when missing")
    parser.add_argument("--name", choices=NAMES, default="pager")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; a container needs another"
    )
    options = parser.parse_args(arguments)
    configure_logs()
    try:
        listener = listening_socket(options.host, options.port)
    except OSError as error:
        parser.error(f"cannot listen on {options.host}:{options.port}: {error.strerror}")
    store = Store(options.db)
    app = create_app(
        Pager(store, clock=time.time, has_deadman=options.name == "pager"),
        name=options.name.replace("-", " "),
    )
    host, number = listener.getsockname()[:2]
    structlog.get_logger("pager").info("pager_started", url=f"http://{host}:{number}")
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
    run("pager", lambda: main(sys.argv[1:]), UnusableStore)
