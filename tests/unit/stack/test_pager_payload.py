import json
from typing import Any

import pytest

from stack.pager.payload import InvalidPayload, parse
from tests.notifications import alert, payload


def changed(**members: Any) -> bytes:
    return json.dumps({**payload(alert(starts_at=1000.0)), **members}).encode()


def test_a_firing_alert_has_no_end() -> None:
    assert parse(changed()).alerts[0].ends_at is None


def test_go_writes_nanoseconds_and_offsets() -> None:
    started = alert(starts_at=1000.0) | {"startsAt": "2026-11-23T22:36:13.123456789+01:00"}

    moment = parse(changed(alerts=[started])).alerts[0].starts_at
    assert moment.isoformat() == "2026-11-23T21:36:13.123456+00:00"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body: Invalid JSON"),
        (b"not json", "body: Invalid JSON"),
        (b"[]", "body: "),
        (b'{"a": "\\ud800"}', "body: Invalid JSON"),
        (b"[" * 100_000, "body: Invalid JSON"),
        (b"\xff\xfe", "body: Invalid JSON"),
        (b"{}", "version: Field required"),
        (changed(version="3"), "version: "),
        (changed(groupKey=""), "groupKey: "),
        (changed(alerts=[]), "alerts: "),
        (changed(status="resolved"), "status must be firing"),
        (changed(status="pending"), "status: "),
        (changed(alerts=[{"status": "firing"}]), "alerts.0.labels: Field required"),
        (changed(alerts=[alert(starts_at=1.0) | {"labels": {"a": 1}}]), "alerts.0.labels.a: "),
        (changed(alerts=[alert(starts_at=1.0) | {"startsAt": "now"}]), "alerts.0.startsAt: "),
        (
            changed(alerts=[alert(starts_at=1.0) | {"startsAt": "9999-12-31T23:59:59-01:00"}]),
            "alerts.0.startsAt: Value error, this moment has no equivalent in UTC",
        ),
        (
            changed(alerts=[alert(starts_at=1.0) | {"startsAt": "2026-11-23T22:36:13"}]),
            "alerts.0.startsAt: Input should have timezone",
        ),
    ],
)
def test_what_is_no_notification_is_refused_saying_where(body: bytes, said: str) -> None:
    with pytest.raises(InvalidPayload) as refusal:
        parse(body)

    assert said in str(refusal.value)


def test_a_group_fires_although_none_of_those_that_were_not_left_out_does() -> None:
    mended = alert(starts_at=1.0, ends_at=2.0)

    assert parse(changed(alerts=[mended], truncatedAlerts=2900)).status == "firing"
    with pytest.raises(InvalidPayload, match="status must be firing"):
        parse(changed(status="resolved", truncatedAlerts=2900))


def test_a_refusal_repeats_nothing_of_the_value() -> None:
    with pytest.raises(InvalidPayload) as refusal:
        parse(changed(status="hunter2"))

    assert "hunter2" not in str(refusal.value)
