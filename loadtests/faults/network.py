"""Faults of the network: what the proxies before the parts can do."""

import httpx

from loadtests.faults.fault import Fault
from loadtests.world.interface import Mend, World
from stack.proxy import Mode


def cut(*parts: str, mode: Mode = "blackhole", **how: float) -> Fault:
    """Let the way to some parts fail, the parts themselves untouched. mode, how: of `stack.proxy`.

    The world must have proxies before them: on a stack, by FAULT_PROXIES.
    """

    async def cause(world: World) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            for part in parts:
                url = world.proxy_control(part)
                (await http.post(url, json={"mode": mode, **how})).raise_for_status()

    def mends(world: World) -> list[Mend]:
        return [
            {
                "kind": "post",
                "url": world.proxy_control(part),
                "content": {"mode": "pass"},
                "may_be_gone": world.is_in_process,
            }
            for part in parts
        ]

    return Fault(f"the way to {' and '.join(parts)} is broken ({mode})", cause, mends)
