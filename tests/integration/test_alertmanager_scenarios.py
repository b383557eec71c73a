"""Faults as a real Alertmanager groups, mutes and routes them, seen at a real pager.

All scenarios are played at once, each in an env of its own (so none may touch another), on the shipped
configuration with all waits divided by two: group_wait of pages 2.5 s, of tickets 15 s, group_interval 7.5 s.
The record is closed by the arrival of a ticket that was posted last.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import stamina

from tests.integration.alertmanager_process import (
    RunningAlertmanager,
    running_alertmanager,
    shipped,
    write_config,
)
from tests.integration.pager_process import RunningPager, running_pager

pytestmark = pytest.mark.slow

DIVIDED_BY = 2
CAUSE_LAG_SECONDS = 2 / DIVIDED_BY
AFTER_GROUP_WAIT_SECONDS = 10 / DIVIDED_BY
MENDED_SECONDS = 40 / DIVIDED_BY
RESEND_SECONDS = 20 / DIVIDED_BY

PROFILE, SETTINGS = "/api/v1/profile", "/api/v1/settings"
CALENDAR = "/api/v1/calendar/events"

Alert = dict[str, Any]
Notification = dict[str, Any]


def burn(env: str, tier: str, route: str = PROFILE) -> Alert:
    scope = route.rpartition("/")[2]
    return shipped("ApiErrorBudgetBurn", env, burn_tier=tier, http_route=route, scope=scope)


def schema_errors(env: str) -> Alert:
    return shipped("DbSchemaMismatchErrors", env, http_route=PROFILE, scope="profile")


def provider_down(env: str) -> Alert:
    return shipped("CalendarProviderDown", env, provider="google", scope="calendar")


def recovering(env: str, route: str) -> Alert:
    return shipped("FaultRecovering", env, http_route=route, holds="slow_tiers")


def just_mended(env: str, route: str) -> Alert:
    return shipped("FaultRecovering", env, http_route=route, holds="symptoms")


def all_just_mended(env: str) -> Alert:
    return shipped("FaultRecovering", env, holds="service_symptoms")


def probe_failing(env: str, route: str = PROFILE) -> Alert:
    scope = route.rpartition("/")[2]
    return shipped("ApiProbeFailing", env, http_route=route, scope=scope)


def doctor(check: str) -> Alert:
    labels = {"alertname": "FiredrillDoctor", "env": "doctor", "severity": "none", "check": check}
    return {"labels": labels, "annotations": {"summary": "Does an alert reach the pager?"}}


TIMELINE: list[tuple[float, Alert]] = [
    (0, burn("cause_after_symptom", "p0")),
    (CAUSE_LAG_SECONDS, schema_errors("cause_after_symptom")),
    (0, burn("service_wide_cause", "p0")),
    (0, burn("service_wide_cause", "p0", SETTINGS)),
    (CAUSE_LAG_SECONDS, shipped("DbPoolExhausted", "service_wide_cause")),
    (0, burn("cause_too_late", "p0")),
    (AFTER_GROUP_WAIT_SECONDS, schema_errors("cause_too_late")),
    (0, provider_down("two_causes")),
    (AFTER_GROUP_WAIT_SECONDS, shipped("DbPoolExhausted", "two_causes")),
    (0, provider_down("cause_elsewhere")),
    (0, burn("cause_elsewhere", "p0")),
    (0, shipped("DbPoolExhausted", "tickets")),
    (0, shipped("DbPoolSaturationHigh", "tickets")),
    (0, shipped("ApiRestartLoop", "tickets")),
    (0, recovering("recovering", PROFILE)),
    (0, burn("recovering", "p1")),
    (0, burn("recovering", "p2")),
    (0, burn("recovering", "p0", SETTINGS)),
    (0, recovering("recovering_elsewhere", CALENDAR)),
    (0, burn("recovering_elsewhere", "p1")),
    (0, just_mended("just_mended", PROFILE)),
    (0, just_mended("just_mended", SETTINGS)),
    (0, all_just_mended("just_mended")),
    (0, burn("just_mended", "p0")),
    (0, probe_failing("just_mended", SETTINGS)),
    (0, shipped("ApiProbeFailing", "just_mended", scope="service")),
    (0, just_mended("mended_then_broken", PROFILE)),
    (0, burn("mended_then_broken", "p0")),
    (0, provider_down("mended_then_broken")),
    (0, just_mended("just_mended_elsewhere", CALENDAR)),
    (0, probe_failing("just_mended_elsewhere")),
    (0, just_mended("just_mended_one_route", PROFILE)),
    (0, burn("just_mended_one_route", "p0", SETTINGS)),
    (0, shipped("ApiProbeFailing", "just_mended_one_route", scope="service")),
    (0, just_mended("fails_in_another_way", PROFILE)),
    (0, burn("fails_in_another_way", "p0")),
    (0, shipped("DbPoolExhausted", "root")),
    (0, shipped("DbQueriesTimingOut", "root")),
    (0, shipped("ServiceOverloaded", "root")),
    (CAUSE_LAG_SECONDS, shipped("PostgresDown", "root")),
    (0, shipped("DbPoolExhausted", "full")),
    (0, shipped("PostgresConnectionsHigh", "full")),
    (CAUSE_LAG_SECONDS, shipped("PostgresConnectionsExhausted", "full")),
    (0, burn("tiers", "p0")),
    (0, burn("tiers", "p1")),
    (0, burn("tiers", "t1")),
    (0, burn("tiers", "t1", SETTINGS)),
    (0, burn("slow_tiers", "p2")),
    (0, burn("slow_tiers", "t2")),
    (0, shipped("AlertDeliveryFailing", "delivery", service="monitoring")),
    (0, doctor("first")),
    (AFTER_GROUP_WAIT_SECONDS, doctor("second")),
    (0, shipped("DbPoolExhausted", "mended")),
]
MENDED = shipped("DbPoolExhausted", "mended")
LIFTED = just_mended("fails_in_another_way", PROFILE)
FENCE = shipped("SchemaDriftDetected", "fence")


@dataclass(frozen=True)
class Record:
    """What arrived, oldest first, and what Alertmanager said it muted, by env."""

    first: list[Notification]
    second: list[Notification]
    beats: list[float]
    inhibited: dict[str, set[str]] = field(default_factory=dict)

    def of(self, env: str, receiver: str = "pager") -> list[Notification]:
        return [
            one
            for one in [*self.first, *self.second]
            if one["receiver"] == receiver and one["alerts"][0]["labels"]["env"] == env
        ]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    directory = tmp_path_factory.mktemp("alertmanager")
    with (
        running_pager(directory / "pager.db") as pager,
        running_pager(directory / "second.db", name="second-channel") as second,
    ):
        config = write_config(
            directory,
            pager_url=pager.url,
            second_channel_url=second.url,
            divided_by=DIVIDED_BY,
        )
        with running_alertmanager(config) as alertmanager:
            yield play(alertmanager, pager, second)


def play(alertmanager: RunningAlertmanager, pager: RunningPager, second: RunningPager) -> Record:
    started = time.monotonic()
    played = threading.Event()
    beats: list[float] = []
    prometheus = threading.Thread(target=beat_until, args=(played, alertmanager, pager, beats))
    prometheus.start()
    try:
        for due in sorted({due for due, _ in TIMELINE}):
            wait_until(started + due)
            alertmanager.post(*(alert for when, alert in TIMELINE if when == due))
        wait_until(started + MENDED_SECONDS)
        alertmanager.end(MENDED, LIFTED)
        wait_for(pager, "fails_in_another_way", "pager")
        alertmanager.post(FENCE)
        wait_for(pager, "fence", "ticket")
        inhibited = {
            env: alertmanager.inhibited(env)
            for env in {alert["labels"]["env"] for _, alert in TIMELINE}
        }
    finally:
        played.set()
        prometheus.join()
    return Record(pager.pages()[::-1], second.pages()[::-1], beats, inhibited)


def wait_until(moment: float) -> None:
    """The timeline is the input: nothing is awaited here that a condition could tell."""
    time.sleep(max(moment - time.monotonic(), 0))


def wait_for(pager: RunningPager, env: str, receiver: str) -> None:
    for attempt in stamina.retry_context(
        on=AssertionError, attempts=None, timeout=120, wait_initial=0.2, wait_max=0.2
    ):
        with attempt:
            found = pager.pages(receiver=receiver)
            assert any(one["alerts"][0]["labels"]["env"] == env for one in found)


def beat_until(
    played: threading.Event,
    alertmanager: RunningAlertmanager,
    pager: RunningPager,
    beats: list[float],
) -> None:
    """Send Watchdog as Prometheus does, and note each stamp that the dead-man has heard."""
    watchdog = shipped("Watchdog", "watchdog", service="monitoring")
    sent = 0.0
    while not played.wait(timeout=0.2):
        if time.monotonic() - sent >= RESEND_SECONDS:
            watchdog["annotations"]["beat"] = f"{time.time():.3f}"
            alertmanager.post(watchdog)
            sent = time.monotonic()
        heard = pager.http.get("/deadman").json()
        if heard["last_beat"] is not None and heard["last_beat"] not in beats:
            beats.append(heard["last_beat"])


def names(notification: Notification) -> list[str]:
    return sorted(alert["labels"]["alertname"] for alert in notification["alerts"])


def test_a_cause_that_comes_after_its_symptom_is_the_only_page(record: Record) -> None:
    (page,) = record.of("cause_after_symptom")

    assert names(page) == ["DbSchemaMismatchErrors"]
    assert record.inhibited["cause_after_symptom"] == {"ApiErrorBudgetBurn"}


def test_a_service_wide_cause_is_one_page_for_all_routes(record: Record) -> None:
    (page,) = record.of("service_wide_cause")

    assert names(page) == ["DbPoolExhausted"]
    assert record.inhibited["service_wide_cause"] == {"ApiErrorBudgetBurn"}


def test_a_cause_that_loses_the_race_updates_the_same_incident(record: Record) -> None:
    symptom, cause = record.of("cause_too_late")

    assert (names(symptom), names(cause)) == (["ApiErrorBudgetBurn"], ["DbSchemaMismatchErrors"])
    assert symptom["group_key"] == cause["group_key"]
    assert (symptom["opened"], cause["opened"]) == (True, False)


def test_the_second_of_two_faults_rings_too(record: Record) -> None:
    first, second = record.of("two_causes")

    assert (names(first), names(second)) == (["CalendarProviderDown"], ["DbPoolExhausted"])
    assert first["group_key"] != second["group_key"]
    assert (first["opened"], second["opened"]) == (True, True)


def test_a_cause_in_one_scope_hides_no_symptom_in_another(record: Record) -> None:
    found = record.of("cause_elsewhere")

    assert sorted(map(names, found)) == [["ApiErrorBudgetBurn"], ["CalendarProviderDown"]]
    assert record.inhibited["cause_elsewhere"] == set()


def test_a_paged_cause_mutes_the_tickets_of_its_domain_only(record: Record) -> None:
    (ticket,) = record.of("tickets", "ticket")

    assert names(ticket) == ["ApiRestartLoop"]
    assert record.inhibited["tickets"] == {"DbPoolSaturationHigh"}
    assert len(record.of("tickets")) == 1


def test_the_tail_of_a_fault_does_not_page_but_a_new_one_does(record: Record) -> None:
    (page,) = record.of("recovering")

    assert [alert["labels"]["burn_tier"] for alert in page["alerts"]] == ["p0"]


def test_recovery_of_one_route_holds_back_that_route_only(record: Record) -> None:
    (page,) = record.of("recovering_elsewhere")

    assert [alert["labels"]["burn_tier"] for alert in page["alerts"]] == ["p1"]


def test_no_symptom_pages_right_after_the_mend(record: Record) -> None:
    assert record.of("just_mended") == []
    assert record.inhibited["just_mended"] == {"ApiErrorBudgetBurn", "ApiProbeFailing"}


def test_a_symptom_of_another_route_or_of_the_whole_service_pages_right_after_the_mend(
    record: Record,
) -> None:
    found = record.of("just_mended_one_route")

    assert sorted(map(names, found)) == [["ApiErrorBudgetBurn"], ["ApiProbeFailing"]]
    assert record.inhibited["just_mended_one_route"] == set()


def test_a_route_that_fails_in_another_way_pages_once_the_hold_is_lifted(record: Record) -> None:
    (page,) = record.of("fails_in_another_way")

    assert names(page) == ["ApiErrorBudgetBurn"]


def test_another_cause_pages_right_after_the_mend(record: Record) -> None:
    (page,) = record.of("mended_then_broken")

    assert names(page) == ["CalendarProviderDown"]


def test_a_mend_on_one_route_hides_no_symptom_of_another(record: Record) -> None:
    (page,) = record.of("just_mended_elsewhere")

    assert names(page) == ["ApiProbeFailing"]
    assert record.inhibited["just_mended_elsewhere"] == set()


def test_a_database_that_is_down_explains_its_victims(record: Record) -> None:
    (page,) = record.of("root")

    assert names(page) == ["PostgresDown"]
    assert record.inhibited["root"] == {
        "DbPoolExhausted",
        "DbQueriesTimingOut",
        "ServiceOverloaded",
    }


def test_a_server_that_is_full_explains_its_victims(record: Record) -> None:
    (page,) = record.of("full")

    assert names(page) == ["PostgresConnectionsExhausted"]
    assert record.inhibited["full"] == {"DbPoolExhausted", "PostgresConnectionsHigh"}
    assert record.of("full", "ticket") == []


def test_one_budget_speaks_with_one_tier(record: Record) -> None:
    (page,) = record.of("tiers")
    (ticket,) = record.of("tiers", "ticket")

    assert [alert["labels"]["burn_tier"] for alert in page["alerts"]] == ["p0"]
    assert [alert["labels"]["http_route"] for alert in ticket["alerts"]] == [SETTINGS]
    assert len(record.of("slow_tiers")) == 1
    assert record.of("slow_tiers", "ticket") == []


def test_a_broken_delivery_is_told_on_the_second_channel_only(record: Record) -> None:
    (page,) = record.of("delivery", "second_channel")

    assert names(page) == ["AlertDeliveryFailing"]
    assert page in record.second
    assert record.of("delivery") == record.of("delivery", "ticket") == []


def test_the_doctors_alert_arrives_each_time_and_pages_nobody(record: Record) -> None:
    checks = record.of("doctor", "doctor")

    assert [one["alerts"][0]["labels"]["check"] for one in checks] == ["first", "second"]
    assert [one["opened"] for one in checks] == [True, True]
    assert record.of("doctor") == []


def test_what_has_no_severity_reaches_nobody(record: Record) -> None:
    everything = [alert for one in [*record.first, *record.second] for alert in one["alerts"]]

    assert "FaultRecovering" not in {alert["labels"]["alertname"] for alert in everything}


def test_a_mended_fault_is_told_once_as_such(record: Record) -> None:
    fired, resolved = record.of("mended")

    assert (fired["status"], resolved["status"]) == ("firing", "resolved")
    assert fired["group_key"] == resolved["group_key"]
    assert resolved["alerts"][0]["ends_at"] is not None


def test_beats_arrive_as_fast_as_prometheus_sends_them(record: Record) -> None:
    """repeat_interval is rounded up to group_interval: just below it, every stamp gets through."""
    assert len(record.beats) >= 3
    assert "Watchdog" not in {names(one)[0] for one in record.first}
