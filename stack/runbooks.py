"""`python -m stack.runbooks --port 9098 [--host ADDRESS]`: the runbooks, where there is no viewer.

Grafana shows dashboards at the addresses that links name, but has no runbooks. A page is plain HTML; the
viewer shows the same text beside its alerts.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from alerting.catalogue import Alert, load_alerts
from service.failures import MODES
from stack.command_line import Parser, port, run
from stack.described import Described
from stack.serving import HOST_HELP, LOOPBACK, configure_logs, serve

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_COMMAND = re.compile(r"`make (?P<target>\w+)(?P<rest>[^`]*)`")
_DRILL = re.compile(r"(?<=^## Drill\n).*", re.DOTALL | re.MULTILINE)
_DATABASE, _OWN = "psql", {"status": "status", "up": "start"}
"""Target of our Makefile that only the demo has, and those that [runbooks] may have another command for."""
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "pre{overflow:auto;padding:.5rem;background:#eee;color:#111}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Runbooks:
    """The runbooks of one installation.

    rules: folder of the rules that Prometheus loads: an alert without a file in it has no runbook; None:
    every alert has one. service: whose commands and drills they name; None: the demo's, as they are written.
    """

    rules: Path | None = None
    service: Described | None = None

    def alerts(self) -> Mapping[str, Alert]:
        """By name, of those that can fire here; asked anew each time, as rules may be rendered again."""
        if self.rules is None:
            return _every_alert()
        rendered = {path.stem for path in self.rules.glob("*.yaml")}
        return {
            name: alert for name, alert in _every_alert().items() if alert.snake_name in rendered
        }

    def owner(self, name: str) -> str | None:
        """The alert that owns a failure code; None for any other name, and for a code that none owns here."""
        mode = MODES.get(name)
        return mode.alert if mode is not None and mode.alert in self.alerts() else None

    def html(self, name: str) -> str | None:
        """An alert's runbook, or what a failure code that no alert owns means."""
        alert = self.alerts().get(name)
        if alert is not None:
            text = (alert.folder / "runbook.md").read_text()
            return _rendered(text if self.service is None else fitted(text, alert, self.service))
        mode = MODES.get(name)
        if mode is None:
            return None
        return _rendered(
            f"## {mode.title}\n\n{mode.explanation}\n\n{mode.detail}\n\nNo alert owns it."
        )


@cache
def _every_alert() -> Mapping[str, Alert]:
    """Found once: the rules are many files."""
    return {alert.name: alert for alert in load_alerts()}


def fitted(text: str, alert: Alert, service: Described) -> str:
    """Return a runbook, which is written for the demo, with the commands and the drill of another service.

    A command that [runbooks] does not have is ours, with the service that it is about.
    """
    commands = service.config.runbooks

    def command(found: re.Match[str]) -> str:
        if found["target"] == _DATABASE:
            return f"`{commands.database}`" if commands.database else "a shell of the database"
        own = _OWN.get(found["target"], "")
        own_command = getattr(commands, own) if own else None
        ours = f"make {found['target']}{found['rest']} SERVICE={service.file}"
        return f"`{own_command or ours}`"

    drills = [drill.name for drill in service.config.drills if alert.name in drill.pages]
    drill_text = "\n".join(f"`make drill NAME={name}`." for name in drills) or (
        f"No drill in `{service.file}` causes it; docs/firedrill-toml.md says how one is written."
    )
    return _COMMAND.sub(command, _DRILL.sub(lambda _: f"{drill_text}\n", text))


def _rendered(markdown: str) -> str:
    """HTML of our own Markdown; HTML in it stays text."""
    text = _FRONT_MATTER.sub("", markdown)
    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def create_app() -> Starlette:
    """Of every alert, as they are written."""
    app = Starlette(
        routes=[
            Route("/", _index),
            Route("/healthz", _healthy),
            Route("/runbooks", _index),
            Route("/runbooks/{name}", _page),
        ]
    )
    app.state.runbooks = Runbooks()
    return app


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _index(request: Request) -> Response:
    names = sorted(request.app.state.runbooks.alerts())
    items = "".join(f'<li><a href="/runbooks/{name}">{name}</a></li>' for name in names)
    return _html("Runbooks", f"<ul>{items}</ul>")


async def _page(request: Request) -> Response:
    name, runbooks = request.path_params["name"], request.app.state.runbooks
    if (alert := runbooks.owner(name)) is not None:
        return RedirectResponse(f"/runbooks/{alert}")
    found = runbooks.html(name)
    if found is None:
        return PlainTextResponse("no alert and no code of that name\n", 404)
    return _html(name, found)


def _html(title: str, body: str) -> Response:
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    )
    return HTMLResponse(page, headers={"content-security-policy": _POLICY})


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="runbooks", description=__doc__)
    parser.add_argument("--port", type=port, required=True)
    parser.add_argument("--host", default=LOOPBACK, help=HOST_HELP)
    options = parser.parse_args(arguments)
    configure_logs()
    serve(create_app(), [options.port], host=options.host)


if __name__ == "__main__":
    run("runbooks", lambda: main(sys.argv[1:]))
