"""The shop answers as the template that it is shaped after does."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import httpx
import psutil
import pytest

from stack.waiting import until, until_true
from tests.examples.descriptions import unknown_names
from tests.examples.running import PASSWORD, USER, Example

SIGN_IN = "/api/v1/login/access-token"
FORM = {"username": USER, "password": PASSWORD}


@pytest.fixture(scope="module")
def client(shop: Example, shop_process: psutil.Process) -> Iterator[httpx.Client]:
    """Not signed in."""
    with httpx.Client(base_url=shop.url, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def headers(client: httpx.Client) -> dict[str, str]:
    token = client.post(SIGN_IN, data=FORM).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def test_an_account_signs_in_and_reads_itself(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    answer = client.get("/api/v1/users/me", headers=headers)

    assert answer.status_code == 200
    assert answer.json() == {"id": answer.json()["id"], "email": USER, "is_active": True}


def test_what_was_created_is_listed(client: httpx.Client, headers: dict[str, str]) -> None:
    before = client.get("/api/v1/items/", headers=headers).json()
    created = client.post("/api/v1/items/", headers=headers, json={"title": "A pan"})
    after = client.get("/api/v1/items/", headers=headers).json()

    assert created.status_code == 200
    assert after["count"] == before["count"] + 1
    assert created.json() in after["data"]


def test_errors_have_the_shape_of_fastapi(client: httpx.Client, headers: dict[str, str]) -> None:
    wrong = client.post(SIGN_IN, data=FORM | {"password": "wrong"})
    absent = client.get("/api/v1/users/me")
    forged = client.get("/api/v1/users/me", headers={"Authorization": "Bearer x"})
    nameless = client.post("/api/v1/items/", headers=headers, json={"titel": "A pan"})
    nowhere = client.get("/api/v1/nowhere")

    assert (wrong.status_code, wrong.json()) == (400, {"detail": "Incorrect email or password"})
    assert (absent.status_code, absent.json()) == (401, {"detail": "Not authenticated"})
    assert (forged.status_code, forged.json()) == (
        403,
        {"detail": "Could not validate credentials"},
    )
    assert nameless.status_code == 422
    assert nameless.json()["detail"][0]["loc"] == ["body", "title"]
    assert (nowhere.status_code, nowhere.json()) == (404, {"detail": "Not Found"})


def test_four_workers_answer_with_pools_of_their_own(
    shop: Example, shop_process: psutil.Process, headers: dict[str, str]
) -> None:
    workers = [
        child for child in shop_process.children() if "spawn_main" in " ".join(child.cmdline())
    ]

    def ask(_: int) -> int:
        return httpx.get(f"{shop.url}/api/v1/users/me", headers=headers, timeout=60).status_code

    def all_have_asked() -> bool:
        """The kernel chooses the worker of a connection, so several are opened at once."""
        with ThreadPoolExecutor(16) as callers:
            assert set(callers.map(ask, range(32))) == {200}
        return all(
            shop.postgres.port
            in {link.raddr.port for link in links if link.status == psutil.CONN_ESTABLISHED}
            for links in (worker.net_connections("tcp") for worker in workers)
        )

    assert len(workers) == 4
    until(all_have_asked, "a connection of each worker to the database")


async def test_a_lock_on_the_users_stops_sign_in_and_not_the_health_check(
    shop: Example, shop_process: psutil.Process
) -> None:
    holder = await asyncpg.connect(shop.postgres.dsn("owner"))
    watcher = await asyncpg.connect(shop.postgres.dsn("owner"))

    async def one_waits() -> bool:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(await watcher.fetchval(asked))

    async with httpx.AsyncClient(base_url=shop.url, timeout=60) as client:
        async with holder.transaction():
            await holder.execute('LOCK TABLE "user"')
            signing_in = asyncio.create_task(client.post(SIGN_IN, data=FORM))
            await until_true(one_waits, "the statement of the sign-in")
            healthy = await client.get("/api/v1/utils/health-check/")
            was_answered = signing_in.done()
        answer = await signing_in
    await holder.close()
    await watcher.close()

    assert healthy.json() is True
    assert not was_answered
    assert answer.status_code == 200


def test_preparing_again_changes_nothing(shop: Example, client: httpx.Client) -> None:
    done = shop.prepare({"FIRST_PASSWORD": "another password"})

    assert [each.returncode for each in done] == [0]
    assert client.post(SIGN_IN, data=FORM).status_code == 200


@pytest.mark.parametrize("name", ["SECRET_KEY", "FIRST_USER"])
def test_a_missing_variable_is_named_in_one_line(shop: Example, name: str) -> None:
    [done] = shop.prepare({name: ""})

    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr


async def test_its_description_names_what_it_has(shop: Example) -> None:
    assert await unknown_names(shop) == []
