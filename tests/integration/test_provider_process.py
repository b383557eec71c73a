"""`python -m stack.provider` as a process: its flags, its state file, its end."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

COMMAND = [sys.executable, "-m", "stack.provider"]
CLIENT = {"client_id": "firedrill-local-client", "client_secret": "firedrill-local-secret"}
EVENTS = "/calendar/v3/calendars/primary/events"


@contextmanager
def started(*flags: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """The simulator on a free port; killed at the end, if it still runs."""
    command, pipe = [*COMMAND, "--port", "0", *flags], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as p:
        try:
            assert p.stdout is not None
            announced = re.fullmatch(
                r"provider on (http://127\.0\.0\.1:\d+)\n", p.stdout.readline()
            )
            assert announced is not None
            with httpx.Client(base_url=announced[1], timeout=20) as http:
                yield http, p
        finally:
            p.kill()
            p.communicate()


def failure(*flags: str) -> tuple[int, str]:
    """Exit code and error output of a start that must fail."""
    ended = subprocess.run(
        [*COMMAND, *flags],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def refresh(http: httpx.Client, token: str) -> httpx.Response:
    form = {**CLIENT, "grant_type": "refresh_token", "refresh_token": token}
    return http.post("/token", data=form)


def test_what_was_minted_outlives_a_kill(tmp_path: Path) -> None:
    """Tokens, rotation, revocation, events and sync tokens; not the faults."""
    flags = ("--state", str(tmp_path / "state.db"), "--rotation", "strict", "--seed", "7")
    with started(*flags) as (http, process):
        kept = http.post("/_grants", json={"user": "ann", "events": 4}).json()
        revoked = http.post("/_grants", json={"user": "bob"}).json()
        http.post("/revoke", data={"token": revoked["refresh_token"]})
        rotated = refresh(http, kept["refresh_token"]).json()
        headers = {"Authorization": f"Bearer {rotated['access_token']}"}
        http.post("/_events", json={"grant": kept["grant"], "create": 1, "update": 1, "delete": 1})
        before: dict[str, Any] = http.get(EVENTS, headers=headers).json()
        http.post("/_control", json={"token": {"mode": "error_500"}})
        process.send_signal(signal.SIGKILL)
        process.wait()

    with started(*flags) as (http, _):
        after = http.get(EVENTS, headers=headers)
        delta = http.get(EVENTS, headers=headers, params={"syncToken": before["nextSyncToken"]})
        third = http.post("/_grants", json={}).json()
        again = refresh(http, rotated["refresh_token"])
        superseded = refresh(http, kept["refresh_token"])

        assert after.json() == before
        assert delta.json()["items"] == []
        assert third["grant"] == "g3"
        assert again.status_code == 200
        assert superseded.json()["error"] == "invalid_grant"
        assert refresh(http, revoked["refresh_token"]).json()["error"] == "invalid_grant"


def test_sigterm_ends_it_quietly_although_a_call_hangs() -> None:
    with started() as (http, process):
        grant = http.post("/_grants", json={}).json()
        http.post("/_control", json={"token": {"mode": "hang", "seconds": 3600}})
        form = urlencode({"refresh_token": grant["refresh_token"]})
        head = (
            "POST /token HTTP/1.1\r\nHost: provider\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(form)}\r\n\r\n"
        )
        address = (http.base_url.host, http.base_url.port or 0)
        with socket.create_connection(address) as hanging:
            hanging.sendall(f"{head}{form}".encode())
            while not http.get("/_judge").json()["totals"]["token_calls_in_flight"]:
                pass

            process.terminate()

            _, log = process.communicate(timeout=60)
        assert process.returncode in {0, -signal.SIGTERM}
        assert "Traceback" not in log


def test_a_bad_flag_is_one_line_and_exit_2() -> None:
    code, message = failure("--port", "many")

    assert code == 2
    assert message.count("\n") == 1
    assert "--port" in message


def test_a_port_that_is_taken_is_one_line_and_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code, message = failure("--port", str(port))

    assert code == 1
    assert message.count("\n") == 1
    assert f"127.0.0.1:{port}" in message


def test_a_state_file_that_cannot_serve_is_one_line_and_exit_2(tmp_path: Path) -> None:
    garbage, other_seed = tmp_path / "garbage.db", tmp_path / "other.db"
    garbage.write_text("no database" * 1000)
    with started("--state", str(other_seed), "--seed", "1"):
        pass

    refused = [
        failure("--port", "0", "--state", str(garbage)),
        failure("--port", "0", "--state", str(tmp_path / "absent" / "state.db")),
        failure("--port", "0", "--state", str(other_seed), "--seed", "2"),
    ]

    assert [code for code, _ in refused] == [2, 2, 2]
    assert [message.count("\n") for _, message in refused] == [1, 1, 1]
    assert "--seed 1" in refused[2][1]
