"""Faults of the provider: the modes of its simulator."""

from typing import Any

from loadtests.faults.fault import Fault
from loadtests.faults.network import controlled


def provider(what: str, **control: Any) -> Fault:
    """Put the provider into one of its modes. control: as its `/_control` takes it."""
    return controlled(
        what, lambda world: [f"{world.provider_url}/_control"], control, back={"reset": True}
    )
