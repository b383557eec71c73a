"""`python -m stack.provider --port N`: starts the provider simulator. Every flag has an
environment variable, PROVIDER_ and its name; the flag wins. Exit codes: 2 bad flags or state file,
1 port not free.
"""

import argparse
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

import uvicorn

from stack.command_line import Parser, number, port, whole
from stack.provider.app import BACKLOG, Settings, create_app, server_config
from stack.provider.grants import Rotation, Terms
from stack.provider.store import StateUnusable

_DEFAULTS = {
    "host": "127.0.0.1",
    "port": "8091",
    "seed": "1",
    "state": "",
    "rotation": "none",
    "grace-seconds": "30",
    "expires-in": "3600",
    "client-id": "firedrill-local-client",
    "client-secret": "firedrill-local-secret",
}
_HELP = {
    "host": "address to listen on; anything but loopback is for containers alone",
    "port": "0 takes any free one",
    "seed": "decides tokens and events",
    "state": "file that keeps grants and calendars over restarts; empty: memory only",
    "rotation": "of refresh tokens: none, strict (reuse revokes the family) or grace",
    "grace-seconds": "rotation grace: how long the previous refresh token is accepted",
    "expires-in": "life of an access token in seconds",
    "client-id": "of the only client there is",
    "client-secret": "of that client; rather by the environment than by the flag",
}


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """Exits 2 on what does not fit, wherever it came from."""
    parser = Parser(prog="provider", description="Google's OAuth and Calendar v3.")
    types: dict[str, Callable[[str], object]] = {
        "port": port,
        "rotation": _rotation,
        "grace-seconds": number,
        "expires-in": whole(0, 999_999_999),
    }
    for name, fallback in _DEFAULTS.items():
        variable = f"PROVIDER_{name.upper().replace('-', '_')}"
        shown = "" if name == "client-secret" else f" (default: {fallback or 'none'}; {variable})"
        parser.add_argument(
            f"--{name}",
            default=environment.get(variable, fallback),
            type=types.get(name, str),
            help=_HELP[name] + shown,
        )
    return parser.parse_args(arguments)


def main() -> int:
    flags = parse(sys.argv[1:], os.environ)
    settings = Settings(
        seed=flags.seed,
        client_id=flags.client_id,
        client_secret=flags.client_secret,
        terms=Terms(
            rotation=flags.rotation,
            grace_seconds=flags.grace_seconds,
            expires_in=flags.expires_in,
        ),
        state=Path(flags.state) if flags.state else None,
    )
    try:
        listener = socket.create_server((flags.host, flags.port), backlog=BACKLOG)
    except OSError as error:
        where = f"{flags.host}:{flags.port}"
        return _fail(1, f"cannot listen on {where}: {error.strerror}; choose another with --port")
    with listener:
        try:
            app = create_app(settings)
        except StateUnusable as error:
            return _fail(2, str(error))
        print(f"provider on http://{flags.host}:{listener.getsockname()[1]}", flush=True)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(server_config(app)).run(sockets=[listener])
    return 0


def _rotation(text: str) -> Rotation:
    for known in get_args(Rotation):
        if text == known:
            rotation: Rotation = known
            return rotation
    raise argparse.ArgumentTypeError(f"must be one of {', '.join(get_args(Rotation))}")


def _fail(code: int, message: str) -> int:
    print(f"provider: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
