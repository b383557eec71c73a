"""`python -m loadtests.world.drill_app`: the service with two routes that break it.

The shipped app has neither: a fault that only code can cause needs a build that has the code.
"""

import sys
import time

from fastapi import FastAPI

import service.__main__ as program
from loadtests.resilience.faults import BLOCK_SECONDS
from service.app import Service


class _UnheardOfError(Exception):
    """What nothing in the service names."""


async def raise_unknown() -> None:
    raise _UnheardOfError("canary-of-the-exception-text")


async def block_the_loop() -> None:
    time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - the mistake


def add_drill_routes(app: FastAPI) -> None:
    app.add_api_route("/drill/raise", raise_unknown)
    app.add_api_route("/drill/block", block_the_loop)


class DrillService(Service):
    """The service, and what breaks it."""

    def _application(self) -> FastAPI:
        app = super()._application()
        add_drill_routes(app)
        return app


if __name__ == "__main__":
    program.Service = DrillService  # type: ignore[attr-defined]
    sys.exit(program.main())
