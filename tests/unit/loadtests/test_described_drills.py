"""A [[drill]] of a firedrill.toml becomes the data that the demo's drills are, or is refused in one line."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from firedrill_kit.config import MissingVariableError, parse
from loadtests.drills.runner import described
from loadtests.faults.database import HOLDER
from loadtests.judge.drill import Drill
from loadtests.world.description import Description, RefusedError, Release
from stack.processes import Running, running_as
from stack.settings import ROOT
from stack.waiting import until

DSN = "postgresql://admin:s3cret@127.0.0.1:5432/shop"
SHOP = """
[service]
name = "shop"
[load]
versions = ["web/1.8", "ios/3.2"]
[load.mix]
"GET /orders" = 12
"POST /orders" = {rate = 3, json = {title = "load"}}
[database]
admin_dsn = "$ADMIN_DSN"
application_name = "shop's"
proxy = 15433
[upstream.payments]
address = "http://127.0.0.1:8091"
proxy = 18091
[process]
start = "uvicorn app.main:app"
replicas = 2
"""
DRILL = """
[[drill]]
name = "it"
break = {broken}
"""
PAGES = """
pages = ["DbPoolExhausted"]
within = 60
"""
ROBOT = """
[service]
name = "shop"
[load.caller]
robot = {what = "one"}
[load.mix]
"GET /" = {rate = 1, caller = "robot"}
"""


class World:
    """What a fault acts on, without anything that runs but the process of a test."""

    release: Release | None = None

    def __init__(self, **running: Running) -> None:
        self._running = running
        self.up_again = 0

    def dsn(self, _role: str) -> str:
        return DSN

    def proxy_control(self, part: str) -> str:
        return f"http://control/{part}"

    is_in_process = False

    def running(self) -> dict[str, Running]:
        return {name.replace("_", "-"): one for name, one in self._running.items()}

    def mends_of_stop(self) -> list[dict[str, Any]]:
        return [{"kind": "up"}]


def service(text: str, **environment: str) -> Description:
    return Description(parse(text), {"ADMIN_DSN": DSN, **environment})


def drill(broken: str, more: str = PAGES) -> Drill:
    return described.catalogue(service(SHOP + DRILL.replace("{broken}", broken) + more))["it"]


def mends(broken: str) -> list[dict[str, Any]]:
    (fault,) = drill(broken).breaks
    return fault.mends(World())  # type: ignore[arg-type]


def test_every_field_of_the_file_is_one_of_the_drill() -> None:
    more = """
    load = {"GET /orders" = 25}
    pages = ["DbPoolExhausted"]
    also = ["ApiProbeFailing"]
    within = 60
    resolves_within = 90
    holds = 30
    """
    made = drill('{lock = "orders"}', more)

    assert made.expects == ("DbPoolExhausted",)
    assert made.also == {"ApiProbeFailing"}
    assert (made.deadline_seconds, made.resolve_seconds, made.holds_seconds) == (60, 90, 30)
    assert made.rates == {"GET /orders": 25}
    assert made.may_follow
    assert made.what == "A second connection locks the table orders."
    assert not made.is_silent


def test_a_lock_ends_with_the_session_that_holds_it() -> None:
    (mend,) = mends('{lock = "orders"}')

    assert mend["kind"] == "end_sessions"
    assert mend["dsn"] == DSN
    assert mend["application_name"] == f"{HOLDER}-lock-orders"


def test_the_session_of_a_long_table_is_called_as_postgresql_calls_it() -> None:
    (mend,) = mends(f'{{lock = "{"t" * 63}"}}')

    assert len(mend["application_name"]) == 63


def test_ended_connections_end_with_the_session_that_ends_them() -> None:
    (mend,) = mends("{kill_connections = 2}")

    assert mend["kind"] == "end_sessions"


@pytest.mark.parametrize(
    ("broken", "part", "what"),
    [
        ('{blackhole = "database"}', "database", "blackhole"),
        ('{refuse = "payments"}', "payments", "refuse"),
        ('{latency = {to = "payments", seconds = 0.06}}', "payments", "latency"),
    ],
)
def test_a_broken_way_is_let_through_again(broken: str, part: str, what: str) -> None:
    (mend,) = mends(broken)

    assert what in drill(broken).what
    assert (mend["kind"], mend["url"]) == ("post", f"http://control/{part}")
    assert mend["content"] == {"mode": "pass"}


def test_a_broken_release_sends_what_the_file_says_with_its_secrets() -> None:
    text = (
        SHOP
        + """
    [[drill]]
    name = "it"
    break = {send = {bodies = {"POST /orders" = {password = "$NEW"}}, versions = ["ios/3.2"]}}
    tickets = ["ApiValidationClientRelease"]
    within = 60
    """
    )
    (fault,) = described.catalogue(service(text, NEW="s3cret"))["it"].breaks
    world = World()

    asyncio.run(fault.cause(world))  # type: ignore[arg-type]

    assert world.release == Release(
        bodies={"POST /orders": {"password": "s3cret"}}, versions=frozenset({"ios/3.2"})
    )
    assert "s3cret" not in fault.what


def test_nothing_is_broken_where_nothing_may_page() -> None:
    made = drill("{nothing = true}", "holds = 60")

    assert made.is_silent
    assert (made.holds_seconds, made.deadline_seconds) == (60, 0)
    assert made.breaks[0].mends(World()) == []  # type: ignore[arg-type]


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child, as a server with a worker."""
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    process = subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE)
    assert process.stdin
    children: list[psutil.Process] = []
    try:
        while not (children := psutil.Process(process.pid).children()):
            assert process.poll() is None
        yield process
    finally:
        for one in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def test_a_frozen_service_is_frozen_with_its_workers_and_thawed(parent: Any) -> None:
    world = World(service_1=running_as("service-1", parent.pid))
    (fault,) = drill('{freeze = "service"}').breaks
    (child,) = psutil.Process(parent.pid).children()

    (mend,) = fault.mends(world)  # type: ignore[arg-type]
    asyncio.run(fault.cause(world))  # type: ignore[arg-type]

    assert {one["pid"] for one in mend["processes"]} == {parent.pid, child.pid}
    both = (psutil.Process(parent.pid), child)
    until(lambda: {one.status() for one in both} == {psutil.STATUS_STOPPED}, "the stop of both")
    os.kill(child.pid, signal.SIGCONT)


def test_a_stopped_replica_goes_with_its_workers_and_is_started_again(parent: Any) -> None:
    world = World(service_2=running_as("service-2", parent.pid))
    (fault,) = drill('{stop = "service-2"}').breaks
    (child,) = psutil.Process(parent.pid).children()

    asyncio.run(fault.cause(world))  # type: ignore[arg-type]

    psutil.wait_procs([child])
    assert parent.wait() == -signal.SIGKILL
    assert not child.is_running()
    assert fault.mends(world) == [{"kind": "up"}]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ("DbPoolExausted", 'drill it: pages: no alert is called DbPoolExausted; write "DbPool'),
        ("CalendarProviderDown", "drill it: pages: CalendarProviderDown cannot fire here"),
    ],
)
def test_an_alert_that_can_never_come_is_refused(pages: str, said: str) -> None:
    text = SHOP + DRILL.replace("{broken}", '{lock = "orders"}')
    shop = service(text + PAGES.replace("DbPoolExhausted", pages))

    with pytest.raises(RefusedError) as refused:
        described.check_file(shop, "it")

    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_an_alert_that_can_come_is_not_refused() -> None:
    described.check_file(service(SHOP + DRILL.replace("{broken}", '{lock = "o"}') + PAGES), "it")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[service]\nname = "shop"\n', "load.mix: nothing would be sent;"),
        (
            ROBOT,
            'load.mix."GET /".caller: nothing here makes a caller "robot"; write one of anybody',
        ),
    ],
)
def test_a_file_that_says_too_little_to_send_is_refused(text: str, said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        service(text).check_load()

    assert str(refused.value).startswith(said)


def test_what_locks_is_named_where_it_is_missing() -> None:
    with pytest.raises(RefusedError, match=r"^drill: nothing says which table to lock; add"):
        service(SHOP).lock  # noqa: B018 - it is a property that raises
    with pytest.raises(RefusedError, match=r"^database.admin_dsn: nothing says how to reach"):
        service('[service]\nname = "shop"\n').admin_dsn  # noqa: B018
    with pytest.raises(MissingVariableError, match=r"^ADMIN_DSN is not set"):
        Description(parse(SHOP), {}).admin_dsn  # noqa: B018


ATTACHED = SHOP.partition("[process]")[0].replace(
    'name = "shop"', 'name = "shop"\naddress = "http://127.0.0.1:1"'
)
COMMANDS = [
    ("drills", "", "say which (NAME=): --all or one of it"),
    ("drills", "that", "no drill is called that: it"),
    ("drills", "it", "drills: nothing runs around shop: `make up SERVICE="),
    ("", "oauth_refresh", "oauth_refresh needs what the demo alone has; with SERVICE: capacity"),
    ("", "steady", "load: nothing answers at http://127.0.0.1:1: is it up?"),
    ("report", "--only=steady", "SERVICE is set, and this is for the demo alone: unset it"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("program", "argument", "said"), COMMANDS)
def test_a_command_that_cannot_be_run_is_one_line_and_exit_2(
    program: str, argument: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "firedrill.toml"
    file.write_text(ATTACHED + DRILL.replace("{broken}", '{lock = "orders"}') + PAGES)
    own = {"SERVICE": str(file), "FIREDRILL_LOCAL": str(tmp_path / "local"), "ADMIN_DSN": DSN}

    done = subprocess.run(
        [sys.executable, "-m", f"loadtests.{program}".rstrip("."), argument],
        cwd=ROOT,
        env={**os.environ, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
