"""No page keeps anybody out: axe-core finds nothing serious, on a desk and on a phone, in both themes.

The dashboards are looked at where they have data: tests/stack/test_viewer_browser.py.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette

from stack.pager.pager import Pager
from stack.pager.payload import parse
from stack.pager.store import Store
from stack.pager.web import create_app as pager_app
from stack.viewer.app import create_app as viewer_app
from tests.browser import WIDTHS, barriers, chromium, needs_chromium, opened, overflow, served
from tests.notifications import alert, payload
from tests.spans import PROTOBUF, TRACE, attributes, log_request, record, span, span_request

pytestmark = needs_chromium

NOW = time.time()
NOBODY = "http://127.0.0.1:9"
LONG = "http://viewer.test/" + "a-long-address-without-a-break" * 5
TEXTS = {
    "summary": "The pool is used up",
    "description": f"37 requests got no connection. {LONG}",
    "runbook_url": "http://viewer.test/runbooks/DbPoolExhausted",
    "dashboard_url": "http://viewer.test/d/firedrill-database?var-env=local",
}
LOOKS = [(width, theme) for width in WIDTHS for theme in ("dark", "light")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def shown(state: str, name: str, severity: str, *, by: tuple[str, ...] = (), **more: str) -> Any:
    """An alert as the viewer's API has it."""
    labels = {"alertname": name, "severity": severity, "env": "local", "service": "api", **more}
    since = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(NOW - 300))}Z"
    return {"state": state, "labels": labels, "annotations": TEXTS, "since": since, "by": by} | {
        "id": name
    }


ALERTS = [
    shown("firing", "FaultRecovering", "none"),
    shown("firing", "SchemaDriftDetected", "ticket"),
    shown("firing", "ApiProbeFailing", "page", http_route="/api/v1/profile"),
    shown("firing", "ApiProbeFailing", "page", http_route="/api/v1/settings"),
    shown("inhibited", "ApiErrorBudgetBurn", "page", by=("ApiProbeFailing",)),
    shown("pending", "DbPoolExhausted", "page"),
    shown("silenced", "ApiLatencyBudgetBurn", "ticket", by=("a1",)),
]


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("viewer") / "traces.db"
    with served(lambda: viewer_app(file, None, prometheus=NOBODY, alertmanager=NOBODY)) as url:
        root = span(1, began=NOW, keep=True, error=True, more={"long": "x" * 5000})
        event = root.events.add(name="validation_failed", time_unix_nano=root.start_time_unix_nano)
        event.attributes.extend(attributes({"field": "body.name"}))
        lines = [record(json.dumps({"level": x, "event": "e", "n": 0})) for x in ("info", "error")]
        httpx.post(f"{url}/v1/traces", content=span_request(root), headers=PROTOBUF)
        httpx.post(f"{url}/v1/logs", content=log_request(*lines), headers=PROTOBUF)
        yield url


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def page(request: pytest.FixtureRequest, browser: Browser, viewer: str) -> Iterator[Page]:
    width, theme = request.param
    with opened(browser, viewer, width, theme) as page:
        yield page
        assert overflow(page) == 0


def test_a_trace_with_everything_open_has_no_barrier(page: Page) -> None:
    page.goto(f"/trace/{TRACE}")
    for row in page.locator("summary").all():
        row.click()

    expect(page.locator("details[open]")).to_have_count(3)
    assert barriers(page) == []


@pytest.mark.parametrize("path", ["/traces", f"/trace/{'b' * 32}"])
def test_what_leads_to_traces_has_no_barrier(page: Page, path: str) -> None:
    page.goto(path)

    expect(page.locator(".traces, .problem")).to_be_visible()
    assert barriers(page) == []


def test_alerts_and_a_runbook_have_no_barrier(page: Page) -> None:
    answer = {"alerts": ALERTS, "problems": ["Prometheus does not answer"], "now": NOW}
    page.route(
        "**/api/alerts", lambda route: route.fulfill(json={**answer, "runbooks": ["TargetDown"]})
    )
    page.goto("/runbooks/DbPoolExhausted")
    page.get_by_text("All 1 runbooks").click()

    expect(page.locator(".runbook h2")).not_to_have_count(0)
    assert barriers(page) == []


def test_alerts_are_read_pages_first_and_one_card_each(page: Page) -> None:
    answer = {"alerts": ALERTS, "problems": [], "runbooks": [], "now": NOW}
    page.route("**/api/alerts", lambda route: route.fulfill(json=answer))
    page.goto("/alerts")

    expect(page.locator(".alerts h2")).to_have_text(
        ["Pages 1", "Tickets 1", "Pending 1", "Held back 2", "Sent to nobody 1"]
    )
    expect(page.locator(".alert header a")).to_have_text(
        [
            *("ApiProbeFailing", "SchemaDriftDetected", "DbPoolExhausted"),
            *("ApiErrorBudgetBurn", "ApiLatencyBudgetBurn", "FaultRecovering"),
        ]
    )
    probes = page.locator(".alert").first
    expect(probes.locator("[title=http_route]")).to_have_text(
        ["/api/v1/profile", "/api/v1/settings"]
    )
    expect(probes.get_by_text(TEXTS["summary"])).to_have_count(1)
    expect(page.locator(".alert", has_text="ApiErrorBudgetBurn")).to_contain_text(
        "held back by ApiProbeFailing"
    )


def noisy_pager(directory: Path) -> Starlette:
    """One with a page, a ticket, and a resolution that nobody can know of, as Prometheus is silent."""

    def receive(receiver: str, group_key: str, one: dict[str, Any]) -> None:
        told.receive(receiver, parse(json.dumps(payload(one, group_key=group_key)).encode()))

    store = Store(directory / "pager.db")
    told = Pager(store, clock=lambda: NOW)
    assert told.deadman is not None
    receive("pager", "a", alert(starts_at=NOW - 400, ends_at=NOW - 10, annotations=TEXTS))
    told.deadman.last_beat, told.deadman.is_dead = NOW - 90, True
    store.doubt_resolutions(silent_since=NOW - 90)
    receive("pager", "b", alert(starts_at=NOW - 300, annotations=TEXTS))
    ticket = alert(starts_at=NOW - 3000, alertname="SchemaDriftDetected", annotations=TEXTS)
    receive("ticket", "c", ticket)
    return pager_app(told, name="pager")


@pytest.fixture
def pager(tmp_path: Path) -> Iterator[str]:
    with served(lambda: noisy_pager(tmp_path)) as url:
        yield url


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def test_the_pager_has_no_barrier(browser: Browser, pager: str, look: tuple[int, str]) -> None:
    with opened(browser, pager, *look) as page:
        page.goto("/")

        for text in ("Unknown: Prometheus silent", "SchemaDriftDetected", "resolved", "firing"):
            expect(page.get_by_text(text).first).to_be_visible()
        assert barriers(page) == []
        assert overflow(page) == 0


def test_the_pager_comes_up_to_date_and_leaves_the_keyboard_where_it_stands(
    browser: Browser, pager: str
) -> None:
    with opened(browser, pager) as page:
        page.goto("/")
        runbook = page.get_by_role("link", name="Runbook").first
        runbook.focus()
        page.evaluate("window.stays = true")

        told = payload(alert(starts_at=NOW, alertname="PostgresDown"), group_key="d")
        httpx.post(f"{pager}/webhook/pager", json=told)

        expect(page.get_by_role("heading", name="PostgresDown")).to_be_visible()
        expect(runbook).to_be_focused()
        assert page.evaluate("window.stays")


def test_a_pager_that_is_gone_is_said_on_its_page(browser: Browser, pager: str) -> None:
    with opened(browser, pager) as page:
        page.goto("/")
        page.route("**/*", lambda route: route.fulfill(status=503))

        expect(page.get_by_text("The pager does not answer")).to_be_visible()
