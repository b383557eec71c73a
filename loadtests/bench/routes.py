"""The demo's own routes, beside a bare read of one row, and how long the service takes to be ready."""

import json
from collections.abc import Mapping
from pathlib import Path

from loadtests.bench.generator import Ask, GeneratorError, load
from loadtests.bench.laboratory import Laboratory, Row
from loadtests.bench.modes import BARE, ENDPOINTS, MODES
from loadtests.bench.server import NotReadyError
from stack import demo
from stack.settings import ROOT

CLIENTS = 8
CLIENTS_OF: Mapping[str, int] = {"PUT profile": 2, "POST sync": 1, "POST token": 2}
"""Where more would wait for each other: for one row, for one grant, for the two threads that hash."""
ALONE = {"CALLER_SHARE_MAX": "1"}
"""One caller sends everything, so it may have all places."""
_API = "/api/v1"


def asks(token: str) -> dict[str, Ask]:
    """The requests, by the name of the route."""
    bearer = {"authorization": f"Bearer {token}"}
    written = bearer | {"content-type": "application/json"}
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = {"display_name": "Ada", "time_zone": "Europe/London", "locale": "en-GB", "bio": None}
    credentials = f"username={demo.email_of(2)}&password={demo.password_of(2)}"
    return {
        "GET profile": Ask(f"{_API}/profile", headers=bearer),
        "GET settings": Ask(f"{_API}/settings", headers=bearer),
        "GET events": Ask(f"{_API}/calendar/events", headers=bearer),
        "GET connection": Ask(f"{_API}/calendar/connection", headers=bearer),
        "PUT profile": Ask(f"{_API}/profile", "PUT", written, json.dumps(body)),
        "POST sync": Ask(f"{_API}/calendar/sync/auto", "POST", bearer),
        "POST token": Ask(f"{_API}/auth/token", "POST", form, credentials),
    }


def measured(lab: Laboratory, token: str) -> list[Row]:
    """A row for each route, target and round; the bare read is a target too."""
    rows: list[Row] = []
    targets = {"service": ROOT, "service_before": lab.checkout_before}
    # A route needs fewer rounds than a mode: what is claimed of it is twofold, not a few percent.
    for number in range((lab.lengths.rounds + 1) // 2):
        rows.append(_bare(lab) | {"round": number})
        for target, checkout in targets.items():
            if checkout is not None:
                try:
                    found = _service(lab, checkout, token)
                except (NotReadyError, GeneratorError) as error:
                    found = [{"reason": str(error)}]
                rows += [{"target": target, "round": number} | row for row in found]
                lab.say(f"  {target}: {_said(found)}")
    return rows


def _bare(lab: Laboratory) -> Row:
    ports, context = lab.mode(MODES[BARE])
    with context as server:
        ask = Ask(ENDPOINTS["profile"])
        load(ports.app, ask, seconds=lab.lengths.warm, clients=CLIENTS)
        row = lab.saturate(server, ports.app, ask, clients=CLIENTS)
    return {"target": BARE, "route": "profile"} | row


def _service(lab: Laboratory, checkout: Path, token: str) -> list[Row]:
    rows = []
    ports, context = lab.service(checkout, **ALONE)
    with context as server:
        for route, ask in asks(token).items():
            clients = CLIENTS_OF.get(route, CLIENTS)
            load(ports.app, ask, seconds=lab.lengths.warm, clients=clients)
            row = lab.saturate(server, ports.app, ask, clients=clients)
            rows.append({"route": route} | row)
        memory = server.memory_bytes()
    of_process = {
        "memory_mb": round(memory / 1e6, 1),
        "ready_seconds": round(server.ready_seconds, 2),
        "stop_seconds": round(server.stop_seconds, 2),
    }
    return [row | of_process for row in rows]


def _said(rows: list[Row]) -> str:
    return ", ".join(
        str(row.get("reason") or f"{row['route']} {row['cpu_us']:.0f} µs") for row in rows
    )
