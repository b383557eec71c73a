"""This repository's kit, as its README says; the environment chooses what is left out."""

from pathlib import Path

from fastapi import FastAPI

import firedrill_kit
from firedrill_kit import metrics
from loadtests.bench.apps.application import application
from loadtests.bench.apps.series import add_series

VARIABLE = "TELEMETRY_INSTRUMENTATION"


def everything() -> FastAPI:
    made = application()
    firedrill_kit.instrument(made.app, engine=made.engine)
    add_series(metrics.REGISTRY)
    return made.app


def without_statements() -> FastAPI:
    made = application()
    firedrill_kit.instrument(made.app)
    return made.app


def contrib() -> FastAPI:
    """On the official instrumentations; exits where this kit, maybe of another commit, has not the choice."""
    files = Path(firedrill_kit.__file__).parent.rglob("*.py")
    if not any(VARIABLE in file.read_text("utf-8") for file in files):
        raise SystemExit(f"this kit does not know {VARIABLE}")
    return everything()
