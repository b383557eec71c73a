"""The ways to break something: locks and DDL, the provider's modes, signals, a broken release."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import asyncpg
import httpx
import psutil
from joserfc import jwt
from joserfc.jwk import OctKey

from loadtests.drills.runner.drill import Break
from loadtests.faults.mending import HOLDER, Mend
from loadtests.world.description import Release
from loadtests.world.stage import Stage
from service.security.tokens import ALGORITHM
from stack.demo import email_of
from stack.processes import Running, identity_of, stop
from stack.settings import variable
from stack.state import read_state

LOCK_WAIT_SECONDS = 10
"""DDL waits for the requests in flight, and everybody behind it waits with it: not for long."""

_held: list["asyncpg.Connection[asyncpg.Record]"] = []


async def _connection(stage: Stage, role: Any) -> "asyncpg.Connection[asyncpg.Record]":
    settings = {"application_name": HOLDER, "lock_timeout": f"{LOCK_WAIT_SECONDS}s"}
    return await asyncpg.connect(stage.dsn(role), timeout=10, server_settings=settings)


def lock(table: str) -> Break:
    """Hold ACCESS EXCLUSIVE on a table, as a forgotten migration does."""

    async def cause(stage: Stage) -> None:
        connection = await _connection(stage, "owner")
        _held.append(connection)
        await connection.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

    def mends(stage: Stage) -> list[Mend]:
        return [{"kind": "let_go", "dsn": stage.dsn("superuser")}]

    return Break(f"a second connection locks the table {table}", cause, mends)


def sessions() -> Break:
    """Open sessions, as a pool without a limit does, until the server refuses one."""

    async def cause(stage: Stage) -> None:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                _held.append(await _connection(stage, "app"))

    def mends(stage: Stage) -> list[Mend]:
        return [{"kind": "let_go", "dsn": stage.dsn("superuser")}]

    return Break("sessions of another program take every connection", cause, mends)


def sql(what: str, statement: str, *, mend: str, role: str = "superuser") -> Break:
    """Run a statement. mend: undoes it, and must do nothing when there is nothing to undo."""

    async def cause(stage: Stage) -> None:
        connection = await _connection(stage, role)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def mends(stage: Stage) -> list[Mend]:
        return [{"kind": "sql", "dsn": stage.dsn("superuser"), "statement": mend}]

    return Break(what, cause, mends)


def column_away(table: str, column: str) -> Break:
    """Rename a column: the same as dropped to the service, and nothing stored is lost."""
    rename = f"ALTER TABLE {table} RENAME COLUMN"
    back = (
        "DO $$ BEGIN IF EXISTS (SELECT FROM information_schema.columns "
        f"WHERE table_name = '{table}' AND column_name = '{column}_away') "
        f"THEN {rename} {column}_away TO {column}; END IF; END $$"
    )
    return sql(
        f"the column {table}.{column} is gone", f"{rename} {column} TO {column}_away", mend=back
    )


def provider(what: str, *, after_seconds: float = 0.0, **control: Any) -> Break:
    """Put the provider into one of its modes."""

    async def cause(stage: Stage) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(stage.settings.url("provider", "/_control"), json=control)
            answer.raise_for_status()

    def mends(stage: Stage) -> list[Mend]:
        url = stage.settings.url("provider", "/_control")
        return [{"kind": "post", "url": url, "content": {"reset": True}}]

    return Break(what, cause, mends, after_seconds)


def alter(
    what: str, bodies: Mapping[str, object], *, versions: frozenset[str] | None = None
) -> Break:
    """Let callers send what a broken release would. It ends with the process that sends it."""

    async def cause(stage: Stage) -> None:
        stage.release = Release(bodies=bodies, versions=versions)

    return Break(what, cause)


def contradicting_tokens(version: str) -> Break:
    """Callers of one version show tokens that name two accounts: the id of one, the address of another."""

    async def cause(stage: Stage) -> None:
        config = stage.config
        kid, key = next(iter(config.token_keys.items()))
        now = int(time.time())
        claims = {
            "sub": "1",
            "email": email_of(1),
            "id": 2,
            "role": "user",
            "iss": config.token_issuer,
            "aud": config.token_audience,
            "iat": now,
            "exp": now + config.token_lifetime_seconds,
        }
        signing = OctKey.import_key(key.get_secret_value())
        token = jwt.encode({"alg": ALGORITHM, "kid": kid}, claims, signing, algorithms=[ALGORITHM])
        headers = {"Authorization": f"Bearer {token}"}
        stage.release = Release(headers=headers, versions=frozenset({version}))

    return Break(f"the tokens of {version} name two accounts", cause)


def new_token_keys(part: str) -> Break:
    """Both signing keys are other ones, the old ones are not kept, and a part has started anew."""
    file = "credentials.json"

    async def cause(stage: Stage) -> None:
        fresh = {name: secrets.token_hex(32) for name in ("token_key", "legacy_token_key")}
        path = stage.settings.local / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **fresh}, indent=1))
        await restart(part).cause(stage)

    def mends(stage: Stage) -> list[Mend]:
        # Undone last first: the old keys, then a start with them.
        again: Mend = {"kind": "restart", "parts": [part], "environment": _environment(stage)}
        return [again, _restoring(stage, file)]

    return Break(f"the signing keys of {part} are replaced without an overlap", cause, mends)


def cut(*parts: str, mode: str = "blackhole", **how: float) -> Break:
    """Let the way to some parts fail, the parts themselves untouched. mode, how: of `stack.proxy`.

    The drill's environment must have FAULT_PROXIES before them.
    """

    def controls(stage: Stage) -> list[str]:
        return [f"http://127.0.0.1:{stage.settings.proxy_port(part) + 1}/" for part in parts]

    async def cause(stage: Stage) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            for url in controls(stage):
                (await http.post(url, json={"mode": mode, **how})).raise_for_status()

    def mends(stage: Stage) -> list[Mend]:
        return [
            {"kind": "post", "url": url, "content": {"mode": "pass"}} for url in controls(stage)
        ]

    return Break(f"the way to {' and '.join(parts)} is broken ({mode})", cause, mends)


def kill(*parts: str, number: signal.Signals = signal.SIGKILL) -> Break:
    """End those of the parts that there are; the mend starts them again. Raises KeyError for none."""

    async def cause(stage: Stage) -> None:
        running = read_state(stage.settings).alive
        there = [running[part] for part in parts if part in running]
        if not there:
            raise KeyError(parts)
        for process in there:
            os.kill(process.pid, number)

    return Break(f"{', '.join(parts)} stopped ({number.name})", cause, _up)


def freeze(part: str) -> Break:
    """Stop a part without ending it: it holds its port and answers nothing."""

    async def cause(stage: Stage) -> None:
        for process in _family(stage.process(part)):
            os.kill(process.pid, signal.SIGSTOP)

    def mends(stage: Stage) -> list[Mend]:
        family = _family(stage.process(part))
        return [{"kind": "thaw", "processes": [asdict(process) for process in family]}]

    return Break(f"{part} frozen (SIGSTOP)", cause, mends)


def emptied(file: str, content: str) -> Break:
    """Replace the content of a file of the stack. file: relative to its directory."""
    return _replaced(file, f"{file} says {content}", lambda _: content)


def scraped_at(part: str) -> Break:
    """Discovery names the port of another part as the service's: it answers, and counts nothing of it."""
    file = "prometheus/targets/service.json"

    def elsewhere(stage: Stage) -> str:
        groups = json.loads((stage.settings.local / file).read_text())
        for group in groups:
            group["targets"] = [f"127.0.0.1:{stage.settings.ports[part]}"]
        return json.dumps(groups)

    return _replaced(file, f"Prometheus scrapes {part} in place of the service", elsewhere)


def _replaced(file: str, what: str, content: Callable[[Stage], str]) -> Break:
    async def cause(stage: Stage) -> None:
        await asyncio.to_thread((stage.settings.local / file).write_text, content(stage))

    return Break(what, cause, lambda stage: [_restoring(stage, file)])


def _restoring(stage: Stage, file: str) -> Mend:
    path = stage.settings.local / file
    return {"kind": "restore", "file": str(path), "content": path.read_text()}


def nothing(what: str) -> Break:
    async def cause(_: Stage) -> None:
        return

    return Break(what, cause)


def restart(*parts: str) -> Break:
    """Stop parts in turn, as a release does, and start each again before the next one."""

    async def cause(stage: Stage) -> None:
        for part in parts:
            await asyncio.to_thread(stop, [stage.process(part)])
            await asyncio.to_thread(stage.up)

    return Break(f"{', '.join(parts)} restarted", cause, _up)


def _up(stage: Stage) -> list[Mend]:
    return [{"kind": "up", "environment": _environment(stage)}]


def _environment(stage: Stage) -> dict[str, str]:
    """What another process must be told to find the stack, and to start its parts as they were."""
    ports = {variable(name): str(port) for name, port in stage.settings.ports.items()}
    told = {
        name: stage.environment[name]
        for name in ("REPLICAS", "FAULT_PROXIES", "PROVIDER_EXPIRES_IN")
        if name in stage.environment
    }
    return {**ports, **told, "FIREDRILL_LOCAL": str(stage.settings.local)}


def _family(running: Running) -> list[Running]:
    """A process and its children: stopping PostgreSQL's parent alone stops nothing."""
    children = psutil.Process(running.pid).children(recursive=True)
    return [
        running,
        *(
            Running(
                f"{running.name} child",
                child.pid,
                identity_of(child.pid) or "",
                child.create_time(),
                int(signal.SIGTERM),
                "",
            )
            for child in children
        ),
    ]
