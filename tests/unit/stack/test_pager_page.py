"""The pager's page as a browser gets it, without a socket."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.pager.page import ago
from stack.pager.pager import Pager
from stack.pager.payload import parse
from stack.pager.store import Store
from stack.pager.web import create_app
from tests.notifications import alert, payload

NOW = 1_000_000.0
HOSTILE = """"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"""


@pytest.fixture
def pager(tmp_path: Path) -> Iterator[Pager]:
    store = Store(tmp_path / "pager.db")
    yield Pager(store, clock=lambda: NOW)
    store.close()


def send(pager: Pager, body: dict[str, Any], receiver: str = "pager") -> None:
    pager.receive(receiver, parse(json.dumps(body).encode()))


async def fetch(pager: Pager, path: str = "/") -> httpx.Response:
    transport = httpx.ASGITransport(create_app(pager, name="pager"))
    async with httpx.AsyncClient(transport=transport, base_url="http://pager.test") as client:
        return await client.get(path)


async def test_a_firing_page_is_shown_with_where_to_read_on(pager: Pager) -> None:
    annotations = {
        "summary": "The pool is used up",
        "description": "37 requests got no connection.",
        "runbook_url": "http://viewer.test/runbooks/DbPoolExhausted",
        "dashboard_url": "http://viewer.test/d/firedrill-database?var-env=local&var-service=api",
    }
    send(pager, payload(alert(starts_at=NOW - 300, annotations=annotations)))

    html = (await fetch(pager)).text

    assert "<title>(1) pager · Firedrill</title>" in html
    assert "The pool is used up" in html
    assert "37 requests got no connection." in html
    assert 'href="http://viewer.test/runbooks/DbPoolExhausted"' in html
    assert (
        'href="http://viewer.test/d/firedrill-database?var-env=local&amp;var-service=api"' in html
    )
    assert "(5 min)" in html


async def test_a_resolved_page_is_only_history(pager: Pager) -> None:
    send(pager, payload(alert(starts_at=NOW - 300, ends_at=NOW - 60)))

    html = (await fetch(pager)).text

    assert "Nothing is firing." in html
    assert '<span class="status resolved">resolved</span>' in html


async def test_the_history_says_what_was_new(pager: Pager) -> None:
    first, second = alert(starts_at=NOW - 300), alert(starts_at=NOW, alertname="PostgresDown")
    send(pager, payload(first))
    send(pager, payload(first, second) | {"truncatedAlerts": 2900})

    history = (await fetch(pager)).text.partition('id="history"')[2]
    newest = " ".join(history.partition("</tbody>")[0].split("<tr>")[2].split())

    assert "<td> PostgresDown and 1 as before and 2900 more </td>" in newest
    assert "And 2900 more alerts of this group" in (await fetch(pager)).text


async def test_tickets_stand_apart_from_pages(pager: Pager) -> None:
    ticket = alert(starts_at=NOW, alertname="SchemaDriftDetected", severity="ticket")
    send(pager, payload(ticket), "ticket")

    before, _, tickets = (await fetch(pager)).text.partition("Open tickets")

    assert "SchemaDriftDetected" not in before
    assert "SchemaDriftDetected" in tickets


async def test_everything_that_arrived_is_escaped(pager: Pager) -> None:
    labels = {"alertname": HOSTILE, "scope": HOSTILE, HOSTILE: HOSTILE, "http_route": HOSTILE}
    hostile = alert(starts_at=NOW, annotations={"summary": HOSTILE, "description": HOSTILE})
    hostile["labels"] |= labels
    send(pager, payload(hostile, group_key=HOSTILE))
    send(pager, payload(hostile, group_key=HOSTILE), "ticket")

    html = (await fetch(pager)).text

    assert html.count("<script") == 1  # ours, from /pager.js
    assert "<img" not in html
    assert "onerror=alert(2)&gt;" in html
    assert "49" not in html


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "//evil.test", ""])
async def test_only_web_addresses_become_links(pager: Pager, address: str) -> None:
    send(pager, payload(alert(starts_at=NOW, annotations={"runbook_url": address})))

    assert "Runbook" not in (await fetch(pager)).text


async def test_the_page_may_load_nothing_from_elsewhere(pager: Pager) -> None:
    answer = await fetch(pager)

    assert answer.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'self'; img-src data:;"
    )
    assert "://" not in answer.text
    assert "url(" not in (await fetch(pager, "/pager.css")).text


async def test_silence_is_on_top_of_an_empty_page(pager: Pager) -> None:
    assert pager.deadman is not None
    pager.deadman.last_beat, pager.deadman.is_dead = NOW - 90, True

    html = (await fetch(pager)).text

    assert "Prometheus is silent: last beat 1 min ago" in html
    assert "Nothing is firing." not in html


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (90000, "1 d")],
)
def test_ages_are_said_in_one_unit(seconds: float, said: str) -> None:
    assert ago(seconds) == said
