"""`/metrics` of our servers, as a scraper with odd headers meets it."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from firedrill_kit.config import parse
from service.config import Config
from service.health import Health, InternalServer
from stack.prober.app import Addresses
from stack.prober.app import create_app as create_prober
from stack.prober.asked import asked_of
from stack.provider.app import Settings
from stack.provider.app import create_app as create_provider
from stack.viewer.app import create_app as create_viewer


def service(_: Path) -> ASGIApp:
    values = {
        "token_keys": {"a": "k" * 32},
        "grant_keys": {"g": "g" * 32},
        "session_key": "s" * 32,
    }
    return InternalServer(Config.model_validate(values), Health()).app()


def provider(_: Path) -> ASGIApp:
    return create_provider(Settings())


def prober(_: Path) -> ASGIApp:
    asked = asked_of(parse('[service]\nname = "shop"\n'))
    return create_prober(Addresses((), "", "", ""), asked)


def viewer(folder: Path) -> ASGIApp:
    return create_viewer(folder / "traces.db", folder)


@pytest.mark.parametrize("created", [service, provider, prober, viewer])
@pytest.mark.parametrize(
    ("version", "content_type"),
    [('"1.0.0"', "application/openmetrics-text"), ("abc", "text/plain")],
)
async def test_a_scraper_is_answered_whatever_version_it_names(
    tmp_path: Path, created: Callable[[Path], ASGIApp], version: str, content_type: str
) -> None:
    transport = httpx.ASGITransport(created(tmp_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as client:
        accept = {"Accept": f"application/openmetrics-text; version={version}"}
        answer = await client.get("/metrics", headers=accept)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(content_type)
