"""`python -m loadtests.drills.runner.screenshots`: the pictures of the README, taken of a real fault.

Carries the drill `db_pool_exhausted` out on a stack of its own, and photographs the viewer before the
fault and when its page has come; then the load test `oauth_refresh` against two replicas. `--only` takes
the pictures of one of them. Needs Chromium.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
from playwright.async_api import Browser, Page, async_playwright

from loadtests.drills import catalogue
from loadtests.drills.runner import run
from loadtests.observe import traces
from loadtests.observe.pager import Notice
from loadtests.world.command import run as run_command
from loadtests.world.stage import Stage, StageError, alone, own_stage
from stack.command_line import Parser
from stack.prometheus import Prometheus
from stack.settings import ROOT

DRILL = "db_pool_exhausted"
WARM_SECONDS = 120.0
"""Long enough for the healthy pictures to show a minute of load."""
IMAGES = ROOT / "docs" / "images"
WIDTH, PHONE_WIDTH, HEIGHT = 1280, 390, 900
OPENED = ".span:first-child > summary, .span:last-child > summary, .line:first-child > summary"
BUSY = 25.0
"""Requests a second over a minute: the load of the drill has arrived in the rates."""
DRAWN = """() => {
    const panels = [...document.querySelectorAll('.panel')];
    const seen = panels.filter((panel) => panel.getBoundingClientRect().top < innerHeight);
    return seen.length > 0 && seen.every((panel) => panel.dataset.state !== 'waiting');
}"""


@asynccontextmanager
async def chromium(program: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # Chromium refuses its sandbox to root; the pages are our own.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Camera:
    """Photographs pages of one viewer."""

    def __init__(self, browser: Browser, stage: Stage) -> None:
        self._browser = browser
        self._url = stage.settings.url("viewer")

    async def take(
        self, name: str, address: str, ready: str = DRAWN, *, width: int = WIDTH, click: str = ""
    ) -> None:
        """Write docs/images/NAME.png and say how long the page took to be drawn.

        width: in CSS pixels. click: a selector; every element of it is clicked first, and the picture is
        of the whole page.
        """
        page: Page = await self._browser.new_page(
            viewport={"width": width, "height": HEIGHT}, color_scheme="dark"
        )
        began = time.monotonic()
        await page.goto(self._url + address)
        await page.wait_for_function(ready, timeout=20_000)
        took = time.monotonic() - began
        for element in await page.locator(click).all() if click else []:
            await element.click()
        await page.screenshot(path=IMAGES / f"{name}.png", full_page=bool(click))
        await page.close()
        print(f"{name}.png: drawn after {took:.1f} s")


async def take(program: str) -> None:
    """All pictures. Raises what `run.carry_out` raises."""
    stage = own_stage()
    drill = replace(catalogue()[DRILL], warm_seconds=WARM_SECONDS)
    async with chromium(program) as browser:
        camera = Camera(browser, stage)
        healthy = asyncio.create_task(_healthy(stage, camera))

        async def at_page(page: Notice) -> None:
            await healthy
            await _broken(stage, camera, page)

        try:
            await run.carry_out(drill, stage, seed=1, say=print, at_page=at_page)
        finally:
            healthy.cancel()
    if not healthy.done() or healthy.cancelled():
        raise StageError("no page came, so nothing was broken to be photographed")


async def _healthy(stage: Stage, camera: Camera) -> None:
    query = 'sum(rate(http_server_request_duration_seconds_count{job="service"}[1m]))'
    with Prometheus(stage.settings.url("prometheus"), timeout_seconds=5) as prometheus:
        # What is awaited is a server: there is no event to wait for.
        while not await asyncio.to_thread(_above, prometheus, query, BUSY):  # noqa: ASYNC110
            await asyncio.sleep(run.LOOK_SECONDS)
    await asyncio.sleep(WARM_SECONDS / 4)  # of load, for the pictures to show
    await camera.take("landing-healthy", "/d/firedrill-landing?from=now-15m&to=now&refresh=0s")


async def take_refreshes(program: str) -> None:
    """Forty callers at once on ten expired grants, five times. Raises StageError."""
    stage = own_stage({"REPLICAS": "2"})
    with alone(stage):
        await asyncio.to_thread(stage.clean)
        try:
            await asyncio.to_thread(stage.up)
            load = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "loadtests", "oauth_refresh"),
                cwd=ROOT,
                env=dict(stage.environment),
                stdout=asyncio.subprocess.DEVNULL,
            )
            await load.wait()
            async with chromium(program) as browser:
                await Camera(browser, stage).take(
                    "oauth-refresh", "/d/firedrill-oauth?from=now-2m&to=now&refresh=0s"
                )
        finally:
            await asyncio.to_thread(stage.clean)


def _above(prometheus: Prometheus, query: str, least: float) -> bool:
    try:
        return any(value > least for _, value in prometheus.query(query))
    except (httpx.HTTPError, ValueError, KeyError):
        return False  # not up yet


async def _broken(stage: Stage, camera: Camera, page: Notice) -> None:
    """The way from the page to the trace."""
    last = "from=now-5m&to=now&refresh=0s"
    await camera.take("landing-pool-exhausted", f"/d/firedrill-landing?{last}")
    await camera.take("database-pool-exhausted", f"/d/firedrill-database?{last}")
    runbook = f"/runbooks/{page.runbook.rpartition('/')[2]}"
    await camera.take(
        "alerts",
        runbook,
        "() => document.querySelector('.alert') && document.querySelector('.runbook h2')",
    )
    with httpx.Client(trust_env=False) as http:
        for trace_id in traces.newest(http, stage.settings.url("viewer"), limit=1, status="503"):
            drawn = "() => document.querySelector('.span') && document.querySelector('.line')"
            address = f"/trace/{trace_id}"
            await camera.take("trace", address, drawn)
            for name, width in (("span", WIDTH), ("span-phone", PHONE_WIDTH)):
                await camera.take(name, address, drawn, width=width, click=OPENED)


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="screenshots", description=__doc__)
    parser.add_argument("--only", choices=["fault", "refreshes"], help="one of the two")
    options = parser.parse_args(arguments)
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print("screenshots: no chromium here: apt-get install chromium", file=sys.stderr)
        return 2
    IMAGES.mkdir(exist_ok=True)
    if options.only != "refreshes":
        asyncio.run(take(program))
    if options.only != "fault":
        asyncio.run(take_refreshes(program))
    return 0


if __name__ == "__main__":
    run_command(
        "screenshots",
        lambda: main(sys.argv[1:]),
        interrupted="interrupted; what was broken is mended",
    )
