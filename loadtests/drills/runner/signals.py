"""What a drill left in the signals: do the dashboards have data, do the exemplars lead anywhere?"""

import asyncio
import time
from typing import Any

import httpx

from dashboards import prove
from loadtests.drills.runner.stage import Stage
from stack import exemplars


async def signals(stage: Stage, drill: str, *, start: float, end: float) -> dict[str, Any]:
    """What was found behind the panels and the exemplars between two times (seconds since 1970).

    The panels that this drill is said to fill must have data too.
    """
    panels = await asyncio.to_thread(_panels, stage, drill, seconds=int(time.time() - start))
    found = await asyncio.to_thread(_exemplars, stage, start=start, end=end)
    return {"panels": panels, "exemplars": found}


def _panels(stage: Stage, drill: str, *, seconds: int) -> dict[str, Any]:
    with httpx.Client(base_url=stage.settings.url("prometheus"), timeout=30) as client:
        get = prove.client_get(client)
        # Before the page comes out, all callers of the drill have been there for minutes.
        found = prove.prove(get, now=time.time(), after=[drill], range_seconds=max(seconds, 60))
    return found.figures()


def _exemplars(stage: Stage, *, start: float, end: float) -> dict[str, int]:
    settings = stage.settings
    report = exemplars.check(
        settings.url("prometheus"), settings.url("viewer"), start=start, end=end
    )
    return {
        "count": report.count,
        "with_trace": report.resolved(report.without_trace),
        "with_line": report.resolved(report.without_line),
    }
