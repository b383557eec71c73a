"""The page of the API in headless Chromium, as an air-gapped reader sees it."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright, expect

from service.app import Service
from tests.browser import CHROMIUM, needs_chromium
from tests.integration.public_server import served

pytestmark = needs_chromium


@pytest.fixture
async def base_url(service: Service) -> AsyncIterator[str]:
    async with served(service.asgi, service.config) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def page(base_url: str) -> AsyncIterator[Page]:
    """A page that must have asked no other host and said no error when the test is over."""
    wrong: list[str] = []
    async with async_playwright() as playwright:
        # Chromium refuses its sandbox to root; the page is our own.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(base_url=base_url)
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: None if is_own(asked.url, base_url) else wrong.append(asked.url),
        )
        yield page
        await browser.close()
    assert wrong == []


def is_own(url: str, base_url: str) -> bool:
    return url.startswith((base_url, "data:", "blob:"))


@pytest.mark.slow
async def test_the_page_shows_every_operation_and_can_call_one(
    page: Page, service: Service
) -> None:
    operations = sum(map(len, service.app.openapi()["paths"].values()))
    await page.goto("/docs")

    blocks = page.locator(".opblock")
    await expect(blocks).to_have_count(operations, timeout=60_000)
    problem = page.locator(".opblock", has_text="/problems/{code}")
    await problem.locator(".opblock-summary-control").click()
    await problem.get_by_role("button", name="Try it out").click()
    await problem.get_by_placeholder("code").fill("validation_failed")
    await problem.get_by_role("button", name="Execute").click()
    await expect(problem.locator(".live-responses-table").first).to_contain_text(
        "What you can do", timeout=60_000
    )
