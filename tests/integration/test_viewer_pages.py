"""The viewer's pages: what they read, what they refuse, and that text stays text."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.failures import MODES
from stack.runbooks import Runbooks, _rendered
from stack.viewer.app import create_app
from stack.viewer.store import Search

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
async def pages(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(tmp_path / "traces.db", None, prometheus=NOBODY, alertmanager=NOBODY)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as client,
    ):
        yield client


async def test_the_first_page_is_the_landing_dashboard(pages: httpx.AsyncClient) -> None:
    answer = await pages.get("/")

    assert answer.headers["location"] == "/d/firedrill-landing"


@pytest.mark.parametrize(
    "path", ["/d/firedrill-api", "/alerts", "/traces", "/static/main.js", "/api/dashboards", "/no"]
)
async def test_every_answer_limits_what_a_browser_may_do(
    pages: httpx.AsyncClient, path: str
) -> None:
    headers = (await pages.get(path)).headers

    assert "default-src 'none'; script-src 'self';" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2fcredentials.json",
        "/static/%2e%2e/pages.py",
        "/static/pages.py",
        "/api/dashboards/..%2f..%2fpyproject",
        "/api/runbooks/..%2f..%2fREADME",
    ],
)
async def test_no_path_leads_out(pages: httpx.AsyncClient, path: str) -> None:
    assert (await pages.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/prometheus/admin/tsdb/delete_series", 404),
        ("/api/prometheus/series?match[]=up", 404),
        ("/api/prometheus/query?query=up&stats=all", 400),
        ("/api/prometheus/label/a-b/values", 400),
    ],
)
async def test_only_reading_queries_reach_prometheus(
    pages: httpx.AsyncClient, path: str, status: int
) -> None:
    assert (await pages.get(path)).status_code == status


async def test_nothing_can_be_posted_to_prometheus(pages: httpx.AsyncClient) -> None:
    assert (await pages.post("/api/prometheus/query", data={"query": "up"})).status_code == 405


async def test_a_prometheus_that_is_away_is_named(pages: httpx.AsyncClient) -> None:
    answer = await pages.get("/api/prometheus/query", params={"query": "up"})

    assert answer.status_code == 502
    assert f"Prometheus at {NOBODY}" in answer.json()["error"]


async def test_alerts_say_which_of_their_two_sources_is_away(pages: httpx.AsyncClient) -> None:
    found = (await pages.get("/api/alerts")).json()

    assert found["alerts"] == []
    assert [problem.split()[0] for problem in sorted(found["problems"])] == [
        "Alertmanager",
        "Prometheus",
    ]


async def test_the_code_of_every_failure_leads_to_a_text(pages: httpx.AsyncClient) -> None:
    for code, mode in MODES.items():
        page = await pages.get(f"/runbooks/{code}")
        if mode.alert is None:
            text = await pages.get(f"/api/runbooks/{code}")
        else:
            assert page.headers["location"] == f"/runbooks/{mode.alert}"
            text = await pages.get(f"/api/runbooks/{mode.alert}")
        assert text.status_code == 200, code
        assert "<h2>" in text.text


def test_html_in_a_runbook_stays_text() -> None:
    html = _rendered("---\nalert: X\n---\n<script>alert(1)</script>\n\n[x](javascript:alert(1))\n")

    assert "<script>" not in html
    assert "href" not in html
    assert "alert: X" not in html


@pytest.mark.parametrize("given", ["6xx", "50", "5x3", "1e3", "abc"])
def test_a_status_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="status: a number such as 503, or 5xx"):
        Search.read({"status": given})


def test_a_class_of_statuses_is_a_range() -> None:
    search = Search.read({"status": "5xx", "min_ms": "12.5", "route": "/a"})

    assert (search.status, search.status_last, search.min_ms) == (500, 599, 12.5)


async def test_the_viewer_lists_them_and_shows_the_dashboards_of_its_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "db_pool_exhausted.yaml").touch()
    (tmp_path / "api.json").write_text(json.dumps({"uid": "own", "title": "Own"}))
    app = create_app(
        tmp_path / "traces.db",
        None,
        prometheus=NOBODY,
        alertmanager=NOBODY,
        dashboards=tmp_path,
        runbooks=Runbooks(tmp_path),
    )
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as viewer,
    ):
        alerts = (await viewer.get("/api/alerts")).json()
        boards = (await viewer.get("/api/dashboards")).json()
        missing = await viewer.get("/api/runbooks/PostgresDown")

    assert alerts["runbooks"] == ["DbPoolExhausted"]
    assert [board["uid"] for board in boards] == ["own"]
    assert missing.status_code == 404
