"""What a drill left in the signals: do the dashboards have data, do the exemplars lead anywhere?"""

import asyncio
import time
from typing import Any

import httpx

from dashboards import prove
from loadtests.observe import exemplars
from loadtests.world.stage import Stage

RULES_SECONDS = 65.0
"""The rules of the long windows, the budgets among them, are evaluated once a minute: a drill may be over
before they have been."""
LOOK_SECONDS = 5.0


async def empty_now(stage: Stage, drill: str, *, start: float) -> set[str] | None:
    """Panels without data while the fault lasts; None: nobody answers. start: seconds since 1970."""
    try:
        figures = await asyncio.to_thread(_panels, stage, drill, seconds=int(time.time() - start))
    except httpx.HTTPError:
        return None
    return set(figures["unproven"])


async def signals(
    stage: Stage, drill: str, *, start: float, end: float, empty_before: set[str] | None
) -> dict[str, Any]:
    """What was found behind the panels and the exemplars between two times (seconds since 1970).

    The panels that this drill is declared to fill must have data too. empty_before: of `empty_now`; what had
    data then, such as the page itself, needs none once all is mended.
    """
    give_up = time.monotonic() + RULES_SECONDS
    while True:
        panels = await asyncio.to_thread(_panels, stage, drill, seconds=int(time.time() - start))
        if empty_before is not None:
            panels["unproven"] = [one for one in panels["unproven"] if one in empty_before]
            required = panels["queries"] - panels["empty_when_healthy"]
            without = len(panels["unproven"]) + len(panels["errors"])
            panels["share_of_required_with_data"] = round(1 - without / required, 4)
        if not panels["unproven"] or time.monotonic() > give_up:
            break
        await asyncio.sleep(LOOK_SECONDS)
    found = await asyncio.to_thread(_exemplars, stage, start=start, end=end)
    return {"panels": panels, "exemplars": found}


def _panels(stage: Stage, drill: str, *, seconds: int) -> dict[str, Any]:
    with httpx.Client(base_url=stage.settings.url("prometheus"), timeout=30) as client:
        get = prove.client_get(client)
        found = prove.prove(get, now=time.time(), after=[drill], range_seconds=max(seconds, 60))
    return found.figures()


def _exemplars(stage: Stage, *, start: float, end: float) -> dict[str, Any]:
    settings = stage.settings
    report = exemplars.check(
        settings.url("prometheus"), settings.url("viewer"), start=start, end=end
    )
    return {
        "count": report.count,
        "with_trace": report.resolved(report.without_trace),
        "with_line": report.resolved(report.without_line),
        # To look them up in the drill's logs, should there be any.
        "dead_ends": {one: report.exemplars[one] for one in report.without_line},
    }
