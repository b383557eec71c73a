import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from argon2 import PasswordHasher

from service.domains.auth import passwords as module
from service.domains.auth.passwords import HASHER, MAX_AT_ONCE, Passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_only_the_right_password_matches(passwords: Passwords) -> None:
    password_hash = CHEAP.hash("correct horse")

    assert await passwords.match("correct horse", password_hash)
    assert not await passwords.match("correct hors", password_hash)
    assert not await passwords.match("correct horse", "not a hash")


async def test_no_account_costs_what_an_account_costs_and_never_matches(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    class Noting:
        def verify(self, password_hash: str, password: str) -> bool:
            checked.append(password_hash)
            return True

    monkeypatch.setattr(module, "HASHER", Noting())

    assert not await passwords.match("anything", None)
    assert len(checked) == 1
    assert not HASHER.check_needs_rehash(checked[0])


async def test_no_more_than_two_are_checked_at_once_and_the_loop_stays_free(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    running: list[str] = []

    def hold(password: str, _password_hash: str | None) -> bool:
        running.append(password)
        assert release.wait(30)
        return True

    monkeypatch.setattr(module, "_match", hold)
    checks: list[asyncio.Task[Any]] = [
        asyncio.create_task(passwords.match(str(number), "hash")) for number in range(5)
    ]
    while len(running) < MAX_AT_ONCE:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)

    assert len(running) == MAX_AT_ONCE
    release.set()
    assert all(await asyncio.gather(*checks))
