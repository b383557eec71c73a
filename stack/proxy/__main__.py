"""`python -m stack.proxy --listen 6543 --target 127.0.0.1:15432 --control 6544`

GET / on the control port answers the state; POST / with JSON changes any of `mode`,
`latency_seconds` and `bytes_per_second`.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence

import uvicorn
from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from stack.command_line import Parser, port, run
from stack.proxy.faults import MODES, FaultProxy, Mode
from stack.serving import HOST_HELP, LOOPBACK


class Change(BaseModel):
    """What a caller of the control port may set; absent means unchanged."""

    model_config = ConfigDict(extra="forbid")

    mode: Mode | None = None
    latency_seconds: float | None = Field(default=None, ge=0, le=3600, allow_inf_nan=False)
    bytes_per_second: int | None = Field(default=None, ge=1, le=2**31)


def control_app(proxy: FaultProxy) -> Starlette:
    """The control port of one proxy."""

    def state() -> JSONResponse:
        return JSONResponse(
            {
                "mode": proxy.mode,
                "modes": MODES,
                "listen": proxy.port,
                "target": "{}:{}".format(*proxy.target),
                "connections": proxy.connections,
                "accepted": proxy.accepted,
                "latency_seconds": proxy.latency_seconds,
                "bytes_per_second": proxy.bytes_per_second,
            }
        )

    async def show(_: Request) -> JSONResponse:
        return state()

    async def change(request: Request) -> JSONResponse:
        try:
            wanted = Change.model_validate_json(await request.body())
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        for name, value in wanted.model_dump(exclude_none=True).items():
            setattr(proxy, name, value)
        return state()

    return Starlette(
        routes=[Route("/", show, methods=["GET"]), Route("/", change, methods=["POST"])]
    )


def host_and_port(text: str) -> tuple[str, int]:
    """Parse `host:port`. Raises argparse.ArgumentTypeError."""
    host, _, number = text.rpartition(":")
    if not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port")
    return host, port(number)


async def serve(
    host: str, listen_port: int, target: tuple[str, int], control_port: int, mode: Mode
) -> None:
    """Serve until SIGINT or SIGTERM, which uvicorn handles."""
    async with FaultProxy(*target, host=host, listen_port=listen_port, mode=mode) as proxy:
        config = uvicorn.Config(
            control_app(proxy), host=host, port=control_port, log_level="warning"
        )
        await uvicorn.Server(config).serve()


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="proxy", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help=HOST_HELP)
    parser.add_argument("--listen", type=port, required=True, help="port of the traffic")
    parser.add_argument("--target", type=host_and_port, required=True, help="host:port")
    parser.add_argument("--control", type=port, required=True, help="port of the mode")
    parser.add_argument("--mode", choices=MODES, default="pass")
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(
                serve(options.host, options.listen, options.target, options.control, options.mode)
            )
        except OSError as error:
            parser.error(f"cannot listen on {options.host}:{options.listen}: {error.strerror}")


if __name__ == "__main__":
    run("proxy", lambda: main(sys.argv[1:]))
