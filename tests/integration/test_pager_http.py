"""The pager as Alertmanager, Prometheus and people meet it: a process and its HTTP."""

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stack.pager.web import MAX_BODY_BYTES
from tests.integration.pager_process import COMMAND, RunningPager, running_pager
from tests.notifications import GROUP_KEY, LABELS, alert, payload, watchdog


@pytest.fixture(scope="module")
def pager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPager]:
    with running_pager(tmp_path_factory.mktemp("pager") / "pager.db") as running:
        yield running


def sample(pager: RunningPager, name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(pager.http.get("/metrics").text):
        for one in family.samples:
            if one.name == name and one.labels == labels:
                return one.value
    raise AssertionError(f"no sample {name} {labels}")


def failure(*flags: str) -> tuple[int, str]:
    ended = subprocess.run(
        [*COMMAND, *flags], capture_output=True, check=False, text=True, timeout=60
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def test_a_notification_comes_back_as_json(pager: RunningPager) -> None:
    before = time.time()
    body = payload(alert(starts_at=1_700_000_000.25), group_key="{}:comes back")

    assert pager.post(body).status_code == 204

    newest = pager.pages(limit=1)[0]
    received = datetime.fromisoformat(newest.pop("received_at")).timestamp()
    assert before - 0.001 <= received <= time.time()
    assert newest == {
        "status": "firing",
        "receiver": "pager",
        "group_key": "{}:comes back",
        "opened": True,
        "alerts": [
            {
                "status": "firing",
                "labels": LABELS,
                "annotations": {"summary": "The pool is used up"},
                "starts_at": "2023-11-14T22:13:20.250000Z",
                "ends_at": None,
                "note": None,
                "is_news": True,
            }
        ],
        "truncated": 0,
    }


def test_pages_are_newest_first_and_can_be_narrowed(pager: RunningPager) -> None:
    pager.post(payload(alert(starts_at=1.0), group_key="{}:older"), "ticket")
    pager.post(payload(alert(starts_at=1.0), group_key="{}:newer"), "ticket")
    pager.post(payload(alert(starts_at=1.0), group_key="{}:other"), "doctor")

    newer, older = pager.pages(receiver="ticket")

    assert (newer["group_key"], older["group_key"]) == ("{}:newer", "{}:older")
    assert pager.pages(receiver="ticket", limit=1) == [newer]
    assert pager.pages(receiver="ticket", since=newer["received_at"]) == [newer]
    assert pager.pages(limit=1)[0]["receiver"] == "doctor"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "limit=x", "limit=-1", "limit=9" + "9" * 5000, "since=1",
              "since=yesterday", "since=2026-11-23T22:36:13"]
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_a_400(pager: RunningPager, query: str) -> None:
    answer = pager.http.get(f"/pages?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"{}", b"[1]", b'{"version": "4"}', b"\x00" * 1000]
)
def test_what_is_no_payload_is_a_400_that_says_why(pager: RunningPager, body: bytes) -> None:
    before = sample(pager, "pager_notifications_refused_total", reason="invalid")

    answer = pager.http.post("/webhook/pager", content=body)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "Bad Request"
    assert answer.json()["detail"].startswith("not a notification of Alertmanager: ")
    assert sample(pager, "pager_notifications_refused_total", reason="invalid") == before + 1


def test_a_watchdog_without_a_stamp_is_a_400(pager: RunningPager) -> None:
    answer = pager.post(watchdog("soon"), "deadman")

    assert answer.status_code == 400
    assert "beat" in answer.json()["detail"]


def test_eight_mebibytes_are_the_limit(pager: RunningPager) -> None:
    fits = payload(alert(starts_at=1.0, annotations={"summary": "x" * (MAX_BODY_BYTES - 2000)}))
    assert pager.post(fits).status_code == 204

    answer = pager.http.post("/webhook/pager", content=b"x" * (MAX_BODY_BYTES + 1))

    assert answer.status_code == 413
    assert answer.json()["detail"] == "a notification may have 8388608 bytes"


def test_an_unknown_receiver_is_told_the_known_ones(pager: RunningPager) -> None:
    answer = pager.post(payload(alert(starts_at=1.0)), "nobody")

    assert answer.status_code == 404
    assert "pager, ticket" in answer.json()["detail"]


def test_notifications_are_counted(pager: RunningPager) -> None:
    labels = {"receiver": "second_channel", "status": "resolved"}
    before = sample(pager, "pager_notifications_total", **labels)

    pager.post(payload(alert(starts_at=1.0, ends_at=2.0)), "second_channel")

    assert sample(pager, "pager_notifications_total", **labels) == before + 1


def test_a_beat_is_heard(pager: RunningPager) -> None:
    beat = time.time() - 5

    assert pager.post(watchdog(beat), "deadman").status_code == 204

    state = pager.http.get("/deadman").json()
    assert state["state"] in ("alive", "waiting")  # waiting: stamped before this pager was up
    assert 5 <= state["age_seconds"] < 75
    assert 5 <= sample(pager, "pager_deadman_beat_age_seconds") < 75
    assert sample(pager, "pager_deadman_dead") == 0


def test_two_hundred_at_once_are_all_kept(pager: RunningPager) -> None:
    async def post_all() -> list[int]:
        async with httpx.AsyncClient(base_url=pager.url, timeout=60) as client:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        client.post(
                            "/webhook/pager",
                            json=payload(alert(starts_at=1.0), group_key=f"crowd {number}"),
                        )
                    )
                    for number in range(200)
                ]
            return [task.result().status_code for task in tasks]

    assert asyncio.run(post_all()) == [204] * 200
    crowd = {one["group_key"] for one in pager.pages() if one["group_key"].startswith("crowd")}
    assert len(crowd) == 200


def test_pages_outlive_a_kill(tmp_path: Path) -> None:
    with running_pager(tmp_path / "pager.db") as pager:
        pager.post(payload(alert(starts_at=1.0)))
        before = pager.pages()

    with running_pager(tmp_path / "pager.db") as pager:
        assert pager.pages() == before
        pager.post(payload(alert(starts_at=1.0)))
        assert [one["opened"] for one in pager.pages()] == [False, True]
        assert pager.pages()[0]["group_key"] == GROUP_KEY


def test_the_second_channel_has_no_dead_man(tmp_path: Path) -> None:
    with running_pager(tmp_path / "second.db", name="second-channel") as second:
        assert second.post(watchdog(time.time()), "deadman").status_code == 404
        assert second.http.get("/deadman").status_code == 404
        assert "pager_deadman" not in second.http.get("/metrics").text
        assert "second channel" in second.http.get("/").text
        assert second.post(payload(alert(starts_at=1.0)), "second_channel").status_code == 204


def test_it_stops_when_told(tmp_path: Path) -> None:
    with running_pager(tmp_path / "pager.db") as pager:
        pager.process.send_signal(signal.SIGTERM)

        assert pager.process.wait(timeout=30) == 0
    assert not (tmp_path / "pager.db-wal").exists()


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        code, said = failure("--port", port, "--db", str(tmp_path / "pager.db"))

    assert code == 2
    assert said.startswith(f"pager: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert said.count("\n") == 1


def test_an_unusable_database_is_one_line(tmp_path: Path) -> None:
    code, said = failure("--port", "0", "--db", str(tmp_path))

    assert code == 2
    assert said.startswith(f"pager: cannot keep notifications in {tmp_path}: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("port", ["65536", "-1", "http", ""])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    code, said = failure(f"--port={port}", "--db", str(tmp_path / "pager.db"))

    assert code == 2
    assert "is no whole number from 0 to 65535" in said
