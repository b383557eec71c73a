"""How many requests a second of the mixed load one replica serves: the load test's own scenario."""

from collections.abc import Mapping
from pathlib import Path

from loadtests.bench.laboratory import Laboratory, Row
from loadtests.bench.server import NotReadyError
from loadtests.traffic import launch
from loadtests.world.errors import CannotRunError
from stack.serving import LOOPBACK
from stack.settings import ROOT

RATE = 50.0
"""The scenario goes from half of it to ten times as much, in eleven steps."""
STEP_SECONDS = 6.0
QUICK_STEP_SECONDS = 1.0
STEPS = 11


def measured(lab: Laboratory, older_tokens: Mapping[str, str]) -> list[Row]:
    """A row for each checkout: the most that it served, or why it could not be measured."""
    rows = []
    for target, checkout in (("service", ROOT), ("service_before", lab.checkout_before)):
        if checkout is None:
            continue
        try:
            row = _measure(lab, checkout, older_tokens)
        except (NotReadyError, CannotRunError) as error:
            row = {"reason": str(error)}
        rows.append({"target": target} | row)
        lab.say(f"  {rows[-1]}")
    return rows


def _measure(lab: Laboratory, checkout: Path, older_tokens: Mapping[str, str]) -> Row:
    step = STEP_SECONDS if lab.lengths.rounds > 1 else QUICK_STEP_SECONDS
    ports, context = lab.service(checkout)
    with context:
        target = launch.Target(
            [f"http://{LOOPBACK}:{ports.app}"],
            [f"http://{LOOPBACK}:{ports.metrics}"],
            lab.around.provider_url,
            lab.around.dsn("owner"),
        )
        found = launch.measured(
            "capacity", target, tokens=older_tokens, rate=RATE, seconds=STEPS * step
        )
    limits = {limit["name"]: limit["figure"] for limit in found["limits"]}
    return {
        "per_second": limits["capacity"],
        "p99_seconds": limits["p99 there"],
        "void": found["void"],
        "steps": {phase["name"]: phase["goodput"] for phase in found["phases"]},
    }
