"""Faults of the network: what the proxies before the parts can do, chosen at their control ports."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from loadtests.faults.fault import Fault
from loadtests.world.interface import Mend, World
from stack.proxy import Mode


def cut(*parts: str, mode: Mode = "blackhole", **how: float) -> Fault:
    """Let the way to some parts fail, the parts themselves untouched. mode, how: of `stack.proxy`.

    The world must have proxies before them: on a stack, by FAULT_PROXIES.
    """
    return controlled(
        f"the way to {' and '.join(parts)} is broken ({mode})",
        lambda world: [world.proxy_control(part) for part in parts],
        {"mode": mode, **how},
        back={"mode": "pass"},
    )


def controlled(
    what: str,
    urls: Callable[[World], Sequence[str]],
    content: Mapping[str, Any],
    *,
    back: Mapping[str, Any],
) -> Fault:
    """Post JSON to control ports. back: what undoes it, posted to the same."""

    async def cause(world: World) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            for url in urls(world):
                (await http.post(url, json=content)).raise_for_status()

    def mends(world: World) -> list[Mend]:
        post: Mend = {"kind": "post", "content": back, "may_be_gone": world.is_in_process}
        return [post | {"url": url} for url in urls(world)]

    return Fault(what, cause, mends)
