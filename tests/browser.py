"""Chromium, and a server of ours for it to look at."""

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from starlette.types import ASGIApp

from stack.serving import server
from tests.stack.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)
WIDTHS = (1280, 390)
"""A desk and a phone, in CSS pixels."""


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root; the pages are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, width: int = 1280, theme: str = "dark") -> Iterator[Page]:
    """A page that must have asked no other host and said no error when the test is over."""
    wrong: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        base_url=url,
        color_scheme="light" if theme == "light" else "dark",
    )
    page = context.new_page()
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((url, "data:,")) else wrong.append(asked.url),
    )
    yield page
    context.close()
    # An answer that is an error by the test's will, Chromium reports as an error of the page.
    assert [text for text in wrong if "the server responded with a status" not in text] == []


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The address at which an application of ours is served by a thread of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        running = server(app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: running.started or not thread.is_alive(), "the server's start")
            assert running.started
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()


def barriers(page: Page) -> list[str]:
    """What keeps people from using the page, as axe-core finds it: rule, element, what to do."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html']}: {node['failureSummary']}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def overflow(page: Page) -> int:
    """CSS pixels by which the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
