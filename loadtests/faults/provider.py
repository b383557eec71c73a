"""Faults of the provider: the modes of its simulator."""

from typing import Any

import httpx

from loadtests.faults.fault import Fault
from loadtests.world.interface import Mend, World


def provider(what: str, *, after_seconds: float = 0.0, **control: Any) -> Fault:
    """Put the provider into one of its modes. control: as its `/_control` takes it."""

    async def cause(world: World) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{world.provider_url}/_control", json=control)
            answer.raise_for_status()

    def mends(world: World) -> list[Mend]:
        url = f"{world.provider_url}/_control"
        return [
            {
                "kind": "post",
                "url": url,
                "content": {"reset": True},
                "may_be_gone": world.is_in_process,
            }
        ]

    return Fault(what, cause, mends, after_seconds)
