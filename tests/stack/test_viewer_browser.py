"""The viewer in headless Chromium, on the running stack."""

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from stack.prometheus import Prometheus
from stack.waiting import until
from tests.browser import WIDTHS, barriers, chromium, needs_chromium, opened, overflow
from tests.stack.conftest import Stack

BOARDS = ("landing", "api", "contract", "database", "oauth", "telemetry")
DRAWN = ".main-svg, table, .stat strong, .state, .none"
HAS_EXEMPLARS = "node => node.data.some((trace) => trace.name === 'trace')"
PLACE_OF_LAST_EXEMPLAR = """node => {
    const dots = node.data.find((trace) => trace.name === "trace");
    const {xaxis, yaxis, _size: size} = node._fullLayout;
    const box = node.getBoundingClientRect();
    // The newest, which is the prober's: dots come series by series, and refusals ask no database.
    const at = dots.x.reduce((best, x, i) => new Date(x) > new Date(dots.x[best]) ? i : best, 0);
    return [
        box.left + size.l + xaxis.d2p(dots.x[at]), box.top + size.t + yaxis.d2p(dots.y[at]),
    ];
}"""

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser(stack: Stack, api: httpx.Client) -> Iterator[Browser]:
    """A browser, after enough traffic for every latency panel to have an exemplar."""
    for _ in range(5):
        api.get("/api/v1/profile").raise_for_status()
        api.put("/api/v1/profile", json={"display_name": 7})
    selector = 'http_server_request_duration_seconds_bucket{http_route="/api/v1/profile"}'
    with Prometheus(stack.url("prometheus")) as prometheus:
        until(
            lambda: prometheus.exemplars(selector, start=time.time() - 300, end=time.time()),
            "an exemplar of a read in Prometheus",
        )
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    with opened(browser, stack.url("viewer")) as page:
        yield page


@pytest.fixture(params=WIDTHS)
def wide_or_narrow(
    request: pytest.FixtureRequest, browser: Browser, stack: Stack
) -> Iterator[Page]:
    with opened(browser, stack.url("viewer"), request.param) as page:
        yield page
        assert overflow(page) == 0


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_of_a_dashboard_is_drawn(page: Page, board: str) -> None:
    def at_least_half_has_data() -> bool:
        """Right after the stack's start, rates wait for their second scrape."""
        page.goto(f"/d/firedrill-{board}?from=now-15m&to=now&refresh=0s")
        panels = page.locator(".panel")
        expect(panels.first).to_be_visible()
        for panel in panels.all():
            panel.scroll_into_view_if_needed()
            expect(panel).to_have_attribute("data-state", re.compile("data|empty"))
            assert panel.locator(DRAWN).count() > 0, panel.get_attribute("aria-label")
        return page.locator('.panel[data-state="data"]').count() >= panels.count() / 2

    until(at_least_half_has_data, f"{board}: most panels have no data")


@pytest.mark.parametrize("board", BOARDS)
def test_a_dashboard_has_no_barrier(wide_or_narrow: Page, board: str) -> None:
    page = wide_or_narrow
    page.goto(f"/d/firedrill-{board}?from=now-15m&to=now&refresh=0s")
    for panel in page.locator(".panel").all():
        panel.scroll_into_view_if_needed()
        expect(panel).to_have_attribute("data-state", re.compile("data|empty"))

    assert barriers(page) == []


def test_an_exemplar_leads_to_its_statement_and_its_log_line(wide_or_narrow: Page) -> None:
    page = wide_or_narrow
    page.goto("/d/firedrill-landing?from=now-5m&to=now&refresh=0s&var-route=/api/v1/profile")
    panel = page.locator('.panel[aria-label^="p99 by route"]')
    panel.scroll_into_view_if_needed()
    expect(panel).to_have_attribute("data-state", "data")
    plot = panel.locator(".plot")

    def has_exemplars() -> bool:
        found = bool(plot.evaluate(HAS_EXEMPLARS))
        if not found:
            page.keyboard.press("r")
        return found

    until(has_exemplars, "no exemplar on the panel")
    x, y = plot.evaluate(PLACE_OF_LAST_EXEMPLAR)
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    page.mouse.click(x, y)

    page.wait_for_url("**/trace/*")
    expect(page.locator(".span").first).to_contain_text("/api/v1/profile")
    statement = page.locator(".span", has_text="SELECT").first
    statement.locator("summary").click()
    expect(statement.locator('dt:text-is("db.query.text") + dd')).to_contain_text("FROM accounts")
    line = page.locator(".line", has_text="request_finished").first
    line.locator("summary").click()
    expect(line.locator('dt:text-is("http.route") + dd')).to_have_text("/api/v1/profile")


def test_an_alert_opens_its_runbook(wide_or_narrow: Page) -> None:
    page = wide_or_narrow
    page.goto("/alerts")
    page.get_by_text(re.compile("All [0-9]+ runbooks")).click()
    page.get_by_role("link", name="DbPoolExhausted", exact=True).click()

    page.wait_for_url("**/runbooks/DbPoolExhausted")
    expect(page.locator(".runbook h2")).to_contain_text(["DbPoolExhausted", "Meaning"])
    expect(page.locator(".runbook h2").first).to_be_in_viewport()


def test_a_search_finds_the_traces_of_a_status(page: Page) -> None:
    page.goto("/traces")
    page.get_by_label("Status, 503 or 5xx").fill("422")
    page.get_by_role("button", name="search").click()

    page.wait_for_url("**/traces?*status=422*")
    expect(page.locator("tbody tr").first).to_contain_text("422")


def test_a_label_that_is_html_stays_text(page: Page) -> None:
    evil = "<img src=x onerror=document.title='owned'><script>1</script>"
    now = int(time.time())
    result = [{"metric": {"http_route": evil}, "values": [[now - 60, "1"], [now - 30, "2"]]}]
    answer = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    page.route("**/api/prometheus/query_range?*", lambda route: route.fulfill(json=answer))
    page.goto("/d/firedrill-landing?from=now-5m&to=now&refresh=0s")

    panel = page.locator('.panel[aria-label^="Failed requests"]')
    expect(panel.locator(".legend")).to_contain_text(evil)
    panel.locator(".nsewdrag").hover()
    expect(page.locator("main img, main script")).to_have_count(0)
    assert page.title() != "owned"


def test_an_error_is_said_on_the_panel_and_mends_itself(page: Page) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=502, json={"error": "Prometheus cannot be reached"})

    page.route("**/api/prometheus/query_range?*", refuse)
    page.goto("/d/firedrill-landing?from=now-5m&to=now&refresh=0s")
    panel = page.locator('.panel[aria-label^="Traffic by class"]')
    panel.scroll_into_view_if_needed()
    expect(panel.locator(".panel-error")).to_have_text("Prometheus cannot be reached")

    page.unroute("**/api/prometheus/query_range?*")
    page.keyboard.press("r")
    expect(panel.locator(".panel-error")).to_be_hidden(timeout=60_000)
    expect(panel).to_have_attribute("data-state", "data")


def test_it_fits_a_phone_and_the_keyboard_moves_the_range(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/d/firedrill-landing?from=now-1h&to=now&refresh=0s")
    expect(page.locator('.panel[data-state="data"]').first).to_be_visible(timeout=60_000)
    assert overflow(page) == 0

    page.keyboard.press("+")
    page.wait_for_url("**from=now-1800s*")
