import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.resilience.admission import Admission, OverloadedError


async def receive() -> Message:
    return {"type": "http.request"}


async def send(_message: Message) -> None:
    pass


class Gatekeeper:
    """An admission in front of work that ends when it is told to."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.finish = asyncio.Event()
        self.running = 0
        self.shed: list[str] = []
        self.in_flight: dict[str, int] = {}
        self.admission = Admission(
            self.work,
            class_of=lambda scope: scope.get("class"),
            limits=limits,
            on_change=self.in_flight.__setitem__,
            on_shed=self.shed.append,
        )

    async def work(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        await self.finish.wait()

    async def ask(self, name: str | None) -> None:
        await self.admission({"type": "http", "class": name}, receive, send)


async def test_one_more_than_the_limit_is_refused_and_counted() -> None:
    gate = Gatekeeper({"read": 2})
    admitted = [asyncio.create_task(gate.ask("read")) for _ in range(2)]
    while gate.running < 2:
        await asyncio.sleep(0)

    with pytest.raises(OverloadedError):
        await gate.ask("read")

    assert gate.shed == ["read"]
    assert gate.in_flight == {"read": 2}
    gate.finish.set()
    await asyncio.gather(*admitted)
    assert gate.in_flight == {"read": 0}


async def test_classes_do_not_take_each_others_places() -> None:
    gate = Gatekeeper({"read": 1, "write": 1})
    admitted = [asyncio.create_task(gate.ask(name)) for name in ("read", "write", None)]
    while gate.running < 3:
        await asyncio.sleep(0)

    assert gate.shed == []
    gate.finish.set()
    await asyncio.gather(*admitted)


async def test_a_place_is_given_back_when_the_work_is_cancelled() -> None:
    gate = Gatekeeper({"read": 1})
    task = asyncio.create_task(gate.ask("read"))
    while not gate.running:
        await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert gate.in_flight == {"read": 0}
