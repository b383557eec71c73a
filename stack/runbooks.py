"""`python -m stack.runbooks --port 9098 [--host ADDRESS]`: the runbooks, where there is no viewer.

Grafana shows dashboards at the addresses that links name, but has no runbooks. A page is plain HTML; the
viewer shows the same text beside its alerts.
"""

import argparse
import re
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from alerting.catalogue import load_alerts
from service.failures import MODES
from stack.serving import HOST_HELP, LOOPBACK, configure_logs, serve

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "pre{overflow:auto;padding:.5rem;background:#eee;color:#111}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


def owner(name: str) -> str | None:
    """The alert that owns a failure code; None for any other name."""
    mode = MODES.get(name)
    return None if mode is None else mode.alert


def runbook(name: str) -> str | None:
    """HTML of an alert's runbook, or what a failure code that no alert owns means."""
    file = files().get(name)
    if file is not None:
        return _rendered(file.read_text())
    mode = MODES.get(name)
    if mode is None:
        return None
    return _rendered(
        f"## {mode.title}\n\n{mode.explanation}\n\n{mode.detail}\n\nNo alert owns it."
    )


@cache
def files() -> Mapping[str, Path]:
    """By alert, found once: the rules are many files."""
    return {alert.name: alert.folder / "runbook.md" for alert in load_alerts()}


def _rendered(markdown: str) -> str:
    """HTML of our own Markdown; HTML in it stays text."""
    text = _FRONT_MATTER.sub("", markdown)
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def create_app() -> Starlette:
    return Starlette(
        routes=[
            Route("/", _index),
            Route("/healthz", _healthy),
            Route("/runbooks", _index),
            Route("/runbooks/{name}", _page),
        ]
    )


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _index(_: Request) -> Response:
    items = "".join(f'<li><a href="/runbooks/{name}">{name}</a></li>' for name in sorted(files()))
    return _html("Runbooks", f"<ul>{items}</ul>")


async def _page(request: Request) -> Response:
    name = request.path_params["name"]
    if (alert := owner(name)) is not None:
        return RedirectResponse(f"/runbooks/{alert}")
    found = runbook(name)
    if found is None:
        return PlainTextResponse("no alert and no code of that name\n", 404)
    return _html(name, found)


def _html(title: str, body: str) -> Response:
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    )
    return HTMLResponse(page, headers={"content-security-policy": _POLICY})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stack.runbooks")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK, help=HOST_HELP)
    given = parser.parse_args()
    configure_logs()
    serve(create_app(), [given.port], host=given.host)


if __name__ == "__main__":
    main()
