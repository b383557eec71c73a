"""The pager behind its HTTP: a real SQLite file, a clock in hand, no sockets."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.pager.pager import DEADMAN_ALERT, Pager
from stack.pager.payload import UNKNOWN, parse
from stack.pager.store import Store, UnusableStore
from tests.notifications import alert, payload, watchdog

START = 1_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "pager.db")
    yield store
    store.close()


@pytest.fixture
def pager(store: Store, clock: Clock) -> Pager:
    return Pager(store, clock=clock)


def send(pager: Pager, body: dict[str, Any], receiver: str = "pager") -> None:
    pager.receive(receiver, parse(json.dumps(body).encode()))


def let_time_pass(pager: Pager, clock: Clock, seconds: float) -> None:
    """As the process does: looking at the dead-man all the while."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now = min(clock.now + 1, end)
        pager.look()


def firing_names(pager: Pager) -> list[str]:
    return [one.name for group in pager.firing() for one in group.alerts]


def test_a_group_rings_when_it_goes_from_none_to_firing_only(pager: Pager, clock: Clock) -> None:
    send(pager, payload(alert(starts_at=START)))
    send(pager, payload(alert(starts_at=START), alert(starts_at=START, alertname="PostgresDown")))
    send(pager, payload(alert(starts_at=START, ends_at=START + 60)))
    send(pager, payload(alert(starts_at=START + 90)))

    newest_first = pager.store.newest(limit=10)

    assert [one.opened for one in newest_first] == [True, False, False, True]
    assert [one.status for one in newest_first] == ["firing", "resolved", "firing", "firing"]


def news(pager: Pager) -> list[str]:
    """What the newest notification says that the one before it did not."""
    (newest,) = pager.store.newest(limit=1)
    return [f"{one.status} {one.name}" for one in newest.alerts if one.is_news]


def test_what_is_new_in_a_notification_is_known(pager: Pager) -> None:
    pool, other = alert(starts_at=START), alert(starts_at=START, alertname="PostgresDown")
    mended = alert(starts_at=START, ends_at=START + 60)

    said = []
    for body in (
        payload(pool),
        payload(pool, other),
        payload(mended, other),
        payload(mended, other),
        payload(alert(starts_at=START + 90), other),
        payload({**pool, "is_news": True}, group_key="{}:{scope=profile}"),
    ):
        send(pager, body)
        said.append(news(pager))

    assert said == [
        ["firing DbPoolExhausted"],
        ["firing PostgresDown"],
        ["resolved DbPoolExhausted"],
        [],
        ["firing DbPoolExhausted"],
        ["firing DbPoolExhausted"],
    ]


def test_a_body_does_not_decide_what_is_news(pager: Pager) -> None:
    send(pager, payload(alert(starts_at=START)))
    send(pager, payload({**alert(starts_at=START), "is_news": True}))

    assert news(pager) == []


def test_how_many_alerts_were_left_out_is_kept(pager: Pager) -> None:
    send(pager, payload(alert(starts_at=START)) | {"truncatedAlerts": 2900})

    assert [one.truncated for one in pager.store.newest(limit=1)] == [2900]
    assert firing_names(pager) == ["DbPoolExhausted"]


def test_each_group_rings_for_itself(pager: Pager) -> None:
    send(pager, payload(alert(starts_at=START), group_key="{}:{scope=profile}"))
    send(pager, payload(alert(starts_at=START), group_key="{}:{scope=calendar}"))

    assert [one.opened for one in pager.store.newest(limit=10)] == [True, True]


def test_a_resolved_group_is_no_longer_firing(pager: Pager) -> None:
    send(pager, payload(alert(starts_at=START)))
    assert firing_names(pager) == ["DbPoolExhausted"]

    send(pager, payload(alert(starts_at=START, ends_at=START + 60)))

    assert firing_names(pager) == []


def test_a_page_that_is_no_longer_repeated_lapses(pager: Pager, clock: Clock) -> None:
    """Alertmanager never says that an alert ended while another one inhibited it."""
    send(pager, watchdog(START), "deadman")
    send(pager, payload(alert(starts_at=START)))

    clock.now = START + 5 * 3600
    send(pager, watchdog(clock.now), "deadman")
    assert firing_names(pager) == ["DbPoolExhausted"]

    clock.now += 1
    assert firing_names(pager) == []


def test_nothing_lapses_while_nothing_can_be_repeated(pager: Pager, clock: Clock) -> None:
    send(pager, payload(alert(starts_at=START)))

    let_time_pass(pager, clock, 6 * 3600)

    assert firing_names(pager) == [DEADMAN_ALERT, "DbPoolExhausted"]


def test_the_doctors_alert_is_no_page(pager: Pager) -> None:
    send(pager, payload(alert(starts_at=START, alertname="FiredrillDoctor")), "doctor")

    assert firing_names(pager) == []


def test_silence_of_prometheus_is_a_page_of_the_pagers_own(pager: Pager, clock: Clock) -> None:
    send(pager, watchdog(START), "deadman")
    let_time_pass(pager, clock, 74)
    assert pager.store.newest(limit=10) == []

    let_time_pass(pager, clock, 1)

    (page,) = pager.store.newest(limit=10)
    (fired,) = page.alerts
    assert (page.status, page.receiver, page.opened) == ("firing", "pager", True)
    assert fired.labels == {
        "alertname": DEADMAN_ALERT,
        "severity": "page",
        "kind": "meta",
        "domain": "telemetry",
        "env": "test",
        "service": "monitoring",
        "scope": "monitoring",
    }
    assert fired.annotations["runbook_url"] == "http://viewer.test/runbooks/Watchdog"
    assert firing_names(pager) == [DEADMAN_ALERT]


def test_the_dead_mans_page_resolves_when_beats_return(pager: Pager, clock: Clock) -> None:
    let_time_pass(pager, clock, 80)
    assert firing_names(pager) == [DEADMAN_ALERT]

    send(pager, watchdog(clock.now), "deadman")

    resolved, fired = pager.store.newest(limit=10)
    assert resolved.status == resolved.alerts[0].status == "resolved"
    assert resolved.group_key == fired.group_key
    assert resolved.alerts[0].starts_at == fired.alerts[0].starts_at
    assert firing_names(pager) == []


def test_a_resolved_watchdog_is_no_beat(pager: Pager, clock: Clock) -> None:
    send(pager, watchdog(START), "deadman")
    let_time_pass(pager, clock, 60)

    send(pager, watchdog(clock.now, ends_at=clock.now), "deadman")
    let_time_pass(pager, clock, 16)

    assert pager.is_dead


def test_beats_are_not_stored_as_notifications(pager: Pager) -> None:
    send(pager, watchdog(START), "deadman")

    assert pager.store.newest(limit=10) == []


def test_what_resolves_while_prometheus_is_silent_is_unknown(pager: Pager, clock: Clock) -> None:
    send(pager, watchdog(START), "deadman")
    send(pager, payload(alert(starts_at=START)))
    let_time_pass(pager, clock, 80)

    send(pager, payload(alert(starts_at=START, ends_at=START + 79)))

    assert pager.store.newest(limit=1)[0].alerts[0].note == UNKNOWN
    assert [group.alerts[0].name for group in pager.unknown()] == ["DbPoolExhausted"]


def test_what_resolved_after_the_last_beat_becomes_unknown(pager: Pager, clock: Clock) -> None:
    """Alertmanager lets alerts expire before that; only later do we know that it was a lapse."""
    send(pager, watchdog(START), "deadman")
    let_time_pass(pager, clock, 65)
    send(pager, payload(alert(starts_at=START - 60, ends_at=START + 60)))
    assert pager.store.newest(limit=1)[0].alerts[0].note is None

    let_time_pass(pager, clock, 11)

    _, resolved = pager.store.newest(limit=2)
    assert resolved.alerts[0].note == UNKNOWN


def test_what_resolved_before_the_last_beat_stays_resolved(pager: Pager, clock: Clock) -> None:
    send(pager, watchdog(START), "deadman")
    let_time_pass(pager, clock, 5)
    send(pager, payload(alert(starts_at=START - 60, ends_at=START - 5)))

    let_time_pass(pager, clock, 75)

    assert pager.is_dead
    assert pager.unknown() == []


def test_unknown_ends_with_the_silence(pager: Pager, clock: Clock) -> None:
    let_time_pass(pager, clock, 80)
    send(pager, payload(alert(starts_at=START, ends_at=START + 79)))
    assert len(pager.unknown()) == 1

    send(pager, watchdog(clock.now), "deadman")

    assert pager.unknown() == []


def test_death_survives_a_restart_and_rings_once(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path / "pager.db")
    let_time_pass(Pager(store, clock=clock), clock, 80)
    store.close()

    store = Store(tmp_path / "pager.db")
    restarted = Pager(store, clock=clock)
    let_time_pass(restarted, clock, 80)

    assert restarted.is_dead
    assert len(store.newest(limit=10)) == 1
    store.close()


def test_its_own_downtime_is_not_prometheus_silence(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path / "pager.db")
    send(Pager(store, clock=clock), watchdog(START), "deadman")
    store.close()
    clock.now += 3600

    store = Store(tmp_path / "pager.db")
    restarted = Pager(store, clock=clock)
    let_time_pass(restarted, clock, 74)
    assert not restarted.is_dead
    send(restarted, watchdog(clock.now), "deadman")
    let_time_pass(restarted, clock, 74)

    assert store.newest(limit=10) == []
    store.close()


def test_a_death_and_a_recovery_that_could_not_be_stored_are_stored_later(
    pager: Pager, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(pager.store, "add", full)
        with pytest.raises(sqlite3.OperationalError):
            let_time_pass(pager, clock, 80)
        assert pager.is_dead
        with pytest.raises(sqlite3.OperationalError):
            send(pager, watchdog(clock.now), "deadman")

    send(pager, watchdog(clock.now), "deadman")

    assert [one.status for one in pager.store.newest(limit=10)] == ["resolved", "firing"]


def test_the_second_channel_expects_no_beats(store: Store, clock: Clock) -> None:
    second = Pager(store, clock=clock, has_deadman=False)

    let_time_pass(second, clock, 300)

    assert store.newest(limit=10) == []


def test_history_is_bounded(tmp_path: Path, clock: Clock) -> None:
    store = Store(tmp_path / "small.db", keep=3)
    pager = Pager(store, clock=clock)

    for number in range(5):
        send(pager, payload(alert(starts_at=START), group_key=f"group {number}"))

    assert [one.group_key for one in store.newest(limit=10)] == ["group 4", "group 3", "group 2"]
    store.close()


def test_the_database_survives_power_loss_between_two_pages(store: Store) -> None:
    assert store._db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert store._db.execute("pragma synchronous").fetchone() == (2,)  # FULL


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "pager.db"
    path.write_text("not a database, but long enough to be looked at as one" * 20)

    with pytest.raises(UnusableStore, match="cannot keep notifications in"):
        Store(path)


def test_the_database_of_the_first_version_is_read_on(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "pager.db"
    store = Store(path)
    send(Pager(store, clock=clock), payload(alert(starts_at=START)))
    store.close()
    with sqlite3.connect(path) as older:
        older.execute("alter table notification drop column truncated")
        older.execute("pragma user_version = 1")
    older.close()

    store = Store(path)
    pager = Pager(store, clock=clock)
    send(pager, payload(alert(starts_at=START), alert(starts_at=START, alertname="PostgresDown")))

    assert [one.opened for one in store.newest(limit=2)] == [False, True]
    assert news(pager) == ["firing PostgresDown"]
    store.close()


def test_the_database_of_another_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "pager.db"
    with sqlite3.connect(path) as other:
        other.execute("pragma user_version = 7")
    other.close()

    with pytest.raises(UnusableStore, match="another version"):
        Store(path)
