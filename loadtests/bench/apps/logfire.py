"""logfire, sending to the collector in place of its own back end."""

import logfire
from fastapi import FastAPI

from loadtests.bench.apps.application import application


def everything() -> FastAPI:
    # The endpoint is in the environment. Its console is for a developer's terminal.
    logfire.configure(send_to_logfire=False, console=False, service_name="bench")
    made = application()
    logfire.instrument_fastapi(made.app)
    # It declares `sqlalchemy < 2.1` and would do nothing; with the check off it works.
    logfire.instrument_sqlalchemy(engine=made.engine, skip_dep_check=True)
    return made.app
