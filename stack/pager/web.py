"""The pager's HTTP: webhooks in, JSON, metrics and one page out. Loopback only; the one script is ours."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus

import structlog
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from stack.pager.deadman import OWN_GAP_SECONDS, InvalidBeat
from stack.pager.metrics import RECEIVERS
from stack.pager.page import SCRIPT, STYLE, render_page
from stack.pager.pager import Pager
from stack.pager.payload import InvalidPayload, parse
from stack.pager.store import KEPT_NOTIFICATIONS, Notification
from stack.serving import metrics_route

MAX_BODY_BYTES = 8 * 1024 * 1024
"""80 kB for each of the 100 alerts that alertmanager.yml lets into one notification."""
LOOK_EVERY_SECONDS = 0.5

_NOTIFICATIONS = TypeAdapter(list[Notification])
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src data:;"
    " script-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

log = structlog.get_logger("pager")


def create_app(pager: Pager, *, name: str) -> Starlette:
    """name: what the page calls itself."""

    @asynccontextmanager
    async def watch_while_serving(_: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(_watch(pager))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    return Starlette(
        routes=[
            *_page_routes(pager, name),
            *_webhook_routes(pager),
            *_data_routes(pager),
            *_operating_routes(pager),
        ],
        lifespan=watch_while_serving,
        exception_handlers={HTTPException: _problem, ClientDisconnect: _gone},
    )


def _webhook_routes(pager: Pager) -> list[Route]:
    async def receive(request: Request) -> Response:
        receiver = request.path_params["receiver"]
        if receiver not in RECEIVERS or (receiver == "deadman" and pager.deadman is None):
            raise _refused(pager, 404, "unknown_receiver", f"receivers here: {_heard(pager)}")
        body = await _limited_body(request, pager)
        try:
            pager.receive(receiver, parse(body))
        except (InvalidPayload, InvalidBeat) as error:
            raise _refused(
                pager, 400, "invalid", f"not a notification of Alertmanager: {error}"
            ) from error
        except sqlite3.Error as error:
            # Alertmanager repeats what was answered with a 5xx.
            raise _refused(pager, 503, "not_stored", f"could not store it: {error}") from error
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return [Route("/webhook/{receiver}", receive, methods=["POST"])]


def _data_routes(pager: Pager) -> list[Route]:
    async def pages(request: Request) -> Response:
        found = pager.store.newest(
            limit=_limit(request.query_params.get("limit")),
            receiver=request.query_params.get("receiver"),
            since=_since(request.query_params.get("since")),
        )
        return Response(_NOTIFICATIONS.dump_json(found), media_type="application/json")

    async def deadman(_: Request) -> Response:
        if pager.deadman is None:
            raise HTTPException(404, "this pager has no dead-man")
        last = pager.deadman.last_beat
        return JSONResponse(
            {
                "state": pager.deadman.state,
                "last_beat": last and datetime.fromtimestamp(last, UTC).isoformat(),
                "age_seconds": pager.beat_age_seconds(),
            }
        )

    return [Route("/pages", pages), Route("/deadman", deadman)]


def _page_routes(pager: Pager, name: str) -> list[Route]:
    async def page(_: Request) -> Response:
        return HTMLResponse(render_page(pager, name=name), headers=_PAGE_HEADERS)

    async def style(_: Request) -> Response:
        return Response(STYLE, media_type="text/css", headers=_PAGE_HEADERS)

    async def script(_: Request) -> Response:
        return Response(SCRIPT, media_type="text/javascript", headers=_PAGE_HEADERS)

    return [Route("/", page), Route("/pager.css", style), Route("/pager.js", script)]


def _operating_routes(pager: Pager) -> list[Route]:
    async def healthz(_: Request) -> Response:
        if pager.deadman is not None and not pager.deadman.is_watched(pager.clock()):
            raise HTTPException(503, "the dead-man is not being looked at")
        return JSONResponse({"status": "ok"})

    return [metrics_route(pager.metrics.registry), Route("/healthz", healthz)]


async def _watch(pager: Pager) -> None:
    while True:
        try:
            pager.look()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        except sqlite3.Error as error:
            log.error("deadman_not_recorded", reason=str(error))  # noqa: TRY400 - one line
            await asyncio.sleep(OWN_GAP_SECONDS / 2)


def _heard(pager: Pager) -> str:
    return ", ".join(r for r in RECEIVERS if r != "deadman" or pager.deadman is not None)


def _refused(pager: Pager, status: int, reason: str, detail: str) -> HTTPException:
    pager.metrics.refused.labels(reason).inc()
    log.warning("notification_refused", status=status, reason=reason, detail=detail)
    return HTTPException(status, detail)


async def _limited_body(request: Request, pager: Pager) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _refused(
                pager, 413, "too_large", f"a notification may have {MAX_BODY_BYTES} bytes"
            )
    return bytes(body)


def _limit(given: str | None) -> int:
    if given is None:
        return 1000
    if (
        not given.isascii()
        or not given.isdecimal()
        or not 1 <= int(given[:9]) <= KEPT_NOTIFICATIONS
    ):
        raise HTTPException(400, f"limit must be a number from 1 to {KEPT_NOTIFICATIONS}")
    return int(given)


def _since(given: str | None) -> float | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise HTTPException(400, "since must be RFC 3339, such as 2026-01-31T12:00:00Z")
    return moment.timestamp()


async def _problem(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": error.detail if isinstance(error, HTTPException) else "",
        },
        status_code=status,
        media_type="application/problem+json",
        headers=error.headers if isinstance(error, HTTPException) else None,
    )


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)
