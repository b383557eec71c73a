"""Chromium, and one of our servers for it to look at."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.types import ASGIApp

from stack.serving import server
from stack.waiting import PATIENCE_SECONDS, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"
)
WIDTHS = (1280, 390)
"""A desk and a phone, in CSS pixels."""


@contextmanager
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
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
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
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
def served(make: Callable[[], ASGIApp]) -> Iterator[str]:
    """The address of one of our applications. It is made and served in one thread, as SQLite wants it."""
    running: list[uvicorn.Server] = []

    def serve(listener: socket.socket) -> None:
        running.append(server(make()))
        running[0].run(sockets=[listener])

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        try:
            until(lambda: not thread.is_alive() or (running and running[0].started), "the start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for one in running:
                one.should_exit = True
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
