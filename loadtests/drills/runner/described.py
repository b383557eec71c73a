"""The drills that a firedrill.toml describes: each [[drill]] as the same data that the demo's are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg
import httpx

from alerting.catalogue import load_alerts
from alerting.features import can_fire
from alerting.service import service_of
from firedrill_kit.config import Break, filled
from firedrill_kit.config import Drill as Described
from firedrill_kit.config.drills import BrokenRelease
from firedrill_kit.config.nearest import nearest
from loadtests.faults.client import alter
from loadtests.faults.database import kill_connections, lock
from loadtests.faults.fault import Fault, nothing
from loadtests.faults.network import cut
from loadtests.faults.process import freeze, kill
from loadtests.judge.drill import Drill
from loadtests.world.description import Description, RefusedError
from loadtests.world.stage import Stage
from stack.settings import REPLICAS_MAX

CONNECT_SECONDS = 10.0
MAY_LOCK = "UPDATE, DELETE, TRUNCATE"
"""Any of these privileges lets a role take ACCESS EXCLUSIVE."""


def catalogue(service: Description) -> dict[str, Drill]:
    """Every drill of the file by name. Raises MissingVariableError."""
    return {one.name: _drill(service, one) for one in service.service.drills}


def _drill(service: Description, one: Described) -> Drill:
    fault = _fault(service, one.breaks)
    return Drill(
        name=one.name,
        what=one.what or f"{fault.what[:1].upper()}{fault.what[1:]}.",
        breaks=(fault,),
        expects=one.pages,
        deadline_seconds=one.within or 0.0,
        resolve_seconds=one.resolves_within,
        also=frozenset(one.also),
        tickets=frozenset(one.tickets),
        holds_seconds=one.holds,
        rates=one.load,
        # How long callers wait for a connection is the service's own choice, and often half a minute.
        may_follow=True,
    )


def _fault(service: Description, broken: Break) -> Fault:
    every: Mapping[str, Callable[[Any], Fault]] = {
        "lock": lock,
        "kill_connections": lambda seconds: kill_connections(
            service.session_name, every_seconds=seconds
        ),
        "blackhole": cut,
        "refuse": lambda part: cut(part, mode="refuse"),
        "latency": lambda way: cut(way.to, mode="latency", latency_seconds=way.seconds),
        "stop": lambda part: replace(
            kill(*_replicas(part), with_children=True), what=f"{part} is killed (SIGKILL)"
        ),
        "freeze": lambda part: replace(
            freeze(*_replicas(part)), what=f"{part} is frozen (SIGSTOP)"
        ),
        "send": partial(_release, service),
        "nothing": lambda _: nothing("nothing is broken"),
    }
    return every[broken.kind](getattr(broken, broken.kind))


def _release(service: Description, sent: BrokenRelease) -> Fault:
    bodies = {route: filled(body, service.environment) for route, body in sent.bodies.items()}
    what = (
        f"{', '.join(sent.versions) or 'all clients'} send something else to {', '.join(bodies)}"
    )
    return alter(what, bodies, versions=frozenset(sent.versions) or None)


def _replicas(part: str) -> list[str]:
    """Names of a part; `service`: all of them that there may be."""
    every = [f"service-{number}" for number in range(1, REPLICAS_MAX + 1)]
    return every if part == "service" else [part]


def check_file(service: Description, name: str) -> None:
    """Before anything is started: what would only be seen minutes later.

    Raises RefusedError for an alert that can never come and for a load that cannot be sent,
    MissingVariableError.
    """
    one = _called(service, name)
    service.check_load()
    service.sign_in_body(1)
    if one.breaks.lock or one.breaks.kill_connections:
        _ = service.admin_dsn
    alerts = {alert.name: alert for alert in load_alerts()}
    features = service_of(service.service).features | {"collector"}
    asked: Mapping[str, tuple[str, ...]] = {
        "pages": one.pages,
        "tickets": one.tickets,
        "also": one.also,
    }
    for key, names in asked.items():
        for alert in names:
            if alert not in alerts:
                raise RefusedError(
                    f"drill {name}: {key}: no alert is called {alert};{nearest(alert, alerts)}"
                )
            if key != "also" and not can_fire(alerts[alert], features):
                raise RefusedError(
                    f"drill {name}: {key}: {alert} cannot fire here; `./firedrill check` says"
                    " what it waits for"
                )


def _called(service: Description, name: str) -> Described:
    return next(one for one in service.service.drills if one.name == name)


async def check_fault(stage: Stage, name: str) -> None:
    """Raises RefusedError for a fault that would break nothing, or could not be caused."""
    broken = _called(stage.service, name).breaks
    if broken.lock or broken.kill_connections:
        await _check_database(stage, broken)
    for part in _proxied(broken):
        url = stage.proxy_control(part)
        async with httpx.AsyncClient(trust_env=False, timeout=CONNECT_SECONDS) as http:
            state = (await http.get(url)).raise_for_status().json()
        if not state["accepted"]:
            key = f"{'database' if part == 'database' else f'upstream.{part}'}.proxy"
            raise RefusedError(
                f"{key}: nothing goes through port {state['listen']}; let the service's own address"
                f" of it name this port"
            )


def _proxied(broken: Break) -> Iterator[str]:
    for part in (broken.blackhole, broken.refuse, broken.latency and broken.latency.to):
        if part:
            yield part


async def _check_database(stage: Stage, broken: Break) -> None:
    try:
        connection = await asyncpg.connect(stage.dsn("superuser"), timeout=CONNECT_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise RefusedError(f"database.admin_dsn: {error or 'no answer'}") from None
    try:
        if broken.lock:
            await _check_table(connection, broken.lock)
        else:
            await _check_sessions(connection, stage.service.session_name)
    finally:
        await connection.close()


async def _check_table(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> None:
    quoted = ".".join(f'"{part}"' for part in table.split("."))
    if await connection.fetchval("SELECT to_regclass($1)", quoted) is None:
        raise RefusedError(
            f"drill.break.lock: the database has no table {table}; correct the name"
        )
    allowed = "SELECT has_table_privilege(to_regclass($1), $2)"
    if not await connection.fetchval(allowed, quoted, MAY_LOCK):
        raise RefusedError(
            f"database.admin_dsn: its role may not lock {table}; grant it {MAY_LOCK} or name another"
        )


async def _check_sessions(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    count, may_end = await connection.fetchrow(
        "SELECT count(*), bool_and(pg_has_role(usesysid, 'MEMBER') OR pg_has_role('pg_signal_backend',"
        " 'MEMBER')) FROM pg_stat_activity WHERE application_name = $1",
        name,
    )
    if not count:
        raise RefusedError(
            f"database.application_name: no connection is called {name}; give the service's"
            " connections this name"
        )
    if not may_end:
        raise RefusedError(
            "database.admin_dsn: its role may not end the service's sessions; grant it"
            " pg_signal_backend or name another"
        )
