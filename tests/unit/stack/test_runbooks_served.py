"""The part that serves runbooks where Grafana stands in the viewer's place."""

from collections.abc import AsyncIterator

import httpx
import pytest

from alerting.catalogue import load_alerts
from service.failures import MODES
from stack.runbooks import create_app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_app())
    async with httpx.AsyncClient(
        transport=transport, base_url="http://runbooks", follow_redirects=True
    ) as opened:
        yield opened


@pytest.mark.parametrize("name", sorted({alert.name for alert in load_alerts()} | set(MODES)))
async def test_each_alert_and_each_code_has_a_page(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/runbooks/{name}")

    assert answer.status_code == 200
    mode = MODES.get(name)
    if mode is None or mode.alert is not None:
        assert "<h2>Meaning</h2>" in answer.text
        assert "<pre><code" in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["Nobody", "<script>", "../landing"])
async def test_any_other_name_has_none(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/runbooks/{name}")).status_code == 404


async def test_the_index_leads_to_each_of_them(client: httpx.AsyncClient) -> None:
    text = (await client.get("/runbooks")).text

    assert all(f'href="/runbooks/{alert.name}"' in text for alert in load_alerts())
