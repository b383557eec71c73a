"""`python -m loadtests.world.drill_app`: the service with two routes that break it.

The shipped app has neither: a fault that only code can cause needs a build that has the code.
"""

import sys
import time

from fastapi import FastAPI

from service.app import Parts
from service.process import main

BLOCK_SECONDS = 3.0
"""How long one of the routes holds the event loop."""


class _UnheardOfError(Exception):
    """What nothing in the service names."""


async def raise_unknown() -> None:
    raise _UnheardOfError("canary-of-the-exception-text")


async def block_the_loop() -> None:
    time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - the mistake


def add_drill_routes(app: FastAPI) -> None:
    app.add_api_route("/drill/raise", raise_unknown)
    app.add_api_route("/drill/block", block_the_loop)


if __name__ == "__main__":
    sys.exit(main(Parts(add_routes=add_drill_routes)))
