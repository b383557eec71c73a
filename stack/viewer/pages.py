"""The viewer's pages: the committed dashboards, alerts with their runbooks, traces.

One HTML document for every address; what it shows is decided by `static/main.js`. Everything comes
from this server: no build step, no other host. Nothing here writes.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import plotly
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
STATIC = Path(__file__).parent / "static"
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
FIRST = "firedrill-landing"
ORDER = ("landing", "api", "contract", "database", "oauth", "telemetry")
ASK_SECONDS = 10.0
"""A query that takes longer is refused: the panel says so and asks again at the next refresh."""
QUERY_BYTES = 20_000

_ASKED = {
    "query": {"query", "time", "timeout"},
    "query_range": {"query", "start", "end", "step", "timeout"},
    "query_exemplars": {"query", "start", "end"},
    "values": {"match[]", "start", "end"},
}
"""What may be asked of Prometheus, and with which parameters: reading, nothing else."""
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_POLICY = (
    # Plotly sets styles from its script; its scripts and everything else are ours alone.
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


class SafeHeaders:
    """Middleware: what a browser may do with our answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = _POLICY
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


def routes() -> list[Route]:
    """The pages and what they read of `app.state`: httpx clients `prometheus` and `alertmanager`, the folder
    `dashboards`, and `runbooks`.
    """
    return [
        Route("/", _home),
        Route("/d/{uid}", _shell),
        Route("/d/{uid}/{slug}", _shell),
        Route("/alerts", _shell),
        Route("/runbooks/{name}", _runbook_page),
        Route("/traces", _shell),
        Route("/trace/{trace_id}", _shell),
        Route("/explore", _shell),
        Route("/alerting/list", _to_alerts),
        Route("/static/{name}", _static),
        Route("/api/dashboards", _dashboards),
        Route("/api/dashboards/{uid}", _dashboard),
        Route("/api/alerts", _alerts),
        Route("/api/runbooks/{name}", _runbook),
        Route("/api/prometheus/label/{label}/values", _label_values),
        Route("/api/prometheus/{what}", _ask),
    ]


async def _home(_: Request) -> Response:
    return RedirectResponse(f"/d/{FIRST}")


async def _to_alerts(_: Request) -> Response:
    return RedirectResponse("/alerts")


async def _shell(_: Request) -> Response:
    return HTMLResponse((STATIC / "index.html").read_text())


async def _static(request: Request) -> Response:
    """One of our files, by name: only those that were there at the start, so no path leads out."""
    file = _static_files().get(request.path_params["name"])
    if file is None:
        return PlainTextResponse("not here\n", 404)
    # Asked for each time, answered by 304: a new version is seen at once.
    return FileResponse(file, headers={"cache-control": "no-cache"})


@cache
def _static_files() -> Mapping[str, Path]:
    return {file.name: file for file in STATIC.iterdir()} | {PLOTLY.name: PLOTLY}


def _by_uid(request: Request) -> dict[str, dict[str, Any]]:
    """The dashboards that are there, read anew: a rebuilt one is shown at the next load of the page."""
    files = (request.app.state.dashboards / f"{name}.json" for name in ORDER)
    found = (json.loads(file.read_text()) for file in files if file.is_file())
    return {str(content["uid"]): content for content in found}


async def _dashboards(request: Request) -> Response:
    return JSONResponse(
        [
            {"uid": uid, "title": content["title"], "description": content.get("description")}
            for uid, content in _by_uid(request).items()
        ]
    )


async def _dashboard(request: Request) -> Response:
    boards = _by_uid(request)
    content = boards.get(request.path_params["uid"])
    if content is None:
        return _error(404, f"no such dashboard; there are {', '.join(boards)}")
    return JSONResponse(content)


async def _label_values(request: Request) -> Response:
    label = request.path_params["label"]
    if not _LABEL.fullmatch(label):
        return _error(400, "a label's name: letters, digits and underscores")
    return await _prometheus(request, f"label/{label}/values", _ASKED["values"])


async def _ask(request: Request) -> Response:
    what = request.path_params["what"]
    if what == "values" or what not in _ASKED:
        return _error(404, "ask query, query_range, query_exemplars or label/NAME/values")
    return await _prometheus(request, what, _ASKED[what])


async def _prometheus(request: Request, path: str, allowed: set[str]) -> Response:
    given = request.query_params.multi_items()
    for name, value in given:
        if name not in allowed or len(value) > QUERY_BYTES:
            return _error(400, f"parameters: {', '.join(sorted(allowed))}")
    client: httpx.AsyncClient = request.app.state.prometheus
    try:
        answer = await client.get(f"/api/v1/{path}", params=httpx.QueryParams(tuple(given)))
    except httpx.TimeoutException:
        return _error(504, f"Prometheus did not answer within {ASK_SECONDS:.0f} s")
    except httpx.HTTPError:
        return _error(502, f"Prometheus at {client.base_url} cannot be reached")
    if answer.is_success:
        return Response(answer.content, media_type="application/json")
    try:
        said = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        said = f"status {answer.status_code}"
    return _error(answer.status_code, f"Prometheus: {said}")


async def _alerts(request: Request) -> Response:
    """What fires, as Alertmanager has it, and what is pending, as Prometheus has it.

    Each of the two may be away: then its part is missing and `problems` says so.
    """
    problems: list[str] = []
    answers = await asyncio.gather(
        _list_of(request.app.state.alertmanager, "/api/v2/alerts", problems, "Alertmanager"),
        _list_of(request.app.state.prometheus, "/api/v1/alerts", problems, "Prometheus"),
    )
    found = [
        {
            "state": _state(item["status"]),
            "labels": item["labels"],
            "annotations": item["annotations"],
            "since": item["startsAt"],
            "by": item["status"]["inhibitedBy"] + item["status"]["silencedBy"],
            "id": item["fingerprint"],
        }
        for item in answers[0]
    ]
    found += [
        {
            "state": "pending",
            "labels": item["labels"],
            "annotations": item["annotations"],
            "since": item["activeAt"],
            "by": [],
            "id": None,
        }
        for item in answers[1]
        if item["state"] == "pending"
    ]
    return JSONResponse(
        {
            "alerts": found,
            "problems": problems,
            "runbooks": [*request.app.state.runbooks.alerts()],
            "now": time.time(),
        }
    )


def _state(status: Mapping[str, Any]) -> str:
    if status["silencedBy"]:
        return "silenced"
    return "inhibited" if status["inhibitedBy"] else "firing"


async def _list_of(
    client: httpx.AsyncClient, path: str, problems: list[str], name: str
) -> list[dict[str, Any]]:
    try:
        answer = (await client.get(path)).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        problems.append(f"{name} at {client.base_url} does not answer")
        return []
    found: list[dict[str, Any]] = answer if isinstance(answer, list) else answer["data"]["alerts"]
    return found


async def _runbook_page(request: Request) -> Response:
    """A runbook beside the alerts. The code of a failure leads to the alert that owns it."""
    if (alert := request.app.state.runbooks.owner(request.path_params["name"])) is not None:
        return RedirectResponse(f"/runbooks/{alert}")
    return await _shell(request)


async def _runbook(request: Request) -> Response:
    found = request.app.state.runbooks.html(request.path_params["name"])
    if found is None:
        return _error(404, "no alert and no code of that name")
    return HTMLResponse(found)


def _error(status: int, detail: str) -> Response:
    return JSONResponse({"error": detail}, status_code=status)
