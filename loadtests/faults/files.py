"""Faults of files that a stack is set up by: discovery, credentials."""

import asyncio
import json
import secrets
from collections.abc import Callable

from loadtests.faults.fault import Fault
from loadtests.world.interface import Mend, World


def emptied(file: str, content: str) -> Fault:
    """Replace the content of a file of the stack. file: relative to its directory."""
    return _replaced(file, f"{file} says {content}", lambda _: content)


def scraped_at(part: str) -> Fault:
    """Discovery names the port of another part as the service's: it answers, and counts nothing of it."""
    file = "prometheus/targets/service.json"

    def elsewhere(world: World) -> str:
        groups = json.loads((world.local / file).read_text())
        for group in groups:
            group["targets"] = [f"127.0.0.1:{world.port(part)}"]
        return json.dumps(groups)

    return _replaced(file, f"Prometheus scrapes {part} in place of the service", elsewhere)


def new_token_keys(part: str) -> Fault:
    """Both signing keys are other ones, the old ones are not kept, and a part has started anew."""
    file = "credentials.json"

    def fresh(world: World) -> str:
        keys = {name: secrets.token_hex(32) for name in ("token_key", "legacy_token_key")}
        return json.dumps({**json.loads((world.local / file).read_text()), **keys}, indent=1)

    replaced = _replaced(
        file, f"the signing keys of {part} are replaced without an overlap", fresh
    )

    async def cause(world: World) -> None:
        await replaced.cause(world)
        await world.restart(part)

    def mends(world: World) -> list[Mend]:
        # Undone last first: the old keys, then a start with them.
        return [*world.mends_of_stop(part), *replaced.mends(world)]

    return Fault(replaced.what, cause, mends)


def _replaced(file: str, what: str, content: Callable[[World], str]) -> Fault:
    async def cause(world: World) -> None:
        await asyncio.to_thread((world.local / file).write_text, content(world))

    def mends(world: World) -> list[Mend]:
        path = world.local / file
        return [{"kind": "restore", "file": str(path), "content": path.read_text()}]

    return Fault(what, cause, mends)
