"""Which fault and which terms hold for a call, and that every mode does something."""

from typing import get_args

import pytest
from pydantic import ValidationError

from stack.provider import faults
from stack.provider.grants import Grant, Terms
from stack.provider.judge import Judge
from stack.provider.modes import CalendarMode, Control, Modes, TokenMode

DONE_BY_TRANSPORT = {
    *("hang", "close", "reset"),
    *("lost_response", "slow_drip", "huge", "cut_body", "truncated_json"),
}
"""Modes that need a connection; the integration tests provoke each of them."""


def modes(*controls: dict[str, object]) -> Modes:
    made = Modes(Terms())
    for control in controls:
        made.apply(Control.model_validate(control))
    return made


def token_faults(made: Modes, *grant_ids: str) -> list[str | None]:
    found = [made.take_token_fault(grant_id) for grant_id in grant_ids]
    return [fault.mode if fault else None for fault in found]


def test_a_fault_with_times_is_used_up_and_what_it_hid_holds_again() -> None:
    made = modes(
        {"token": {"mode": "error_500"}},
        {"grant": "g1", "token": {"mode": "invalid_grant", "times": 2}},
    )

    assert token_faults(made, "g1", "g2", "g1", "g1") == [
        "invalid_grant",
        "error_500",
        "invalid_grant",
        "error_500",
    ]


def test_normal_for_one_grant_excepts_it() -> None:
    made = modes({"token": {"mode": "close"}}, {"grant": "g1", "token": {"mode": "normal"}})

    assert token_faults(made, "g1", "g2") == [None, "close"]


def test_reset_goes_back_to_how_it_was_started() -> None:
    made = modes(
        {"token": {"mode": "close"}, "rotation": "strict", "expires_in": 1, "token_latency_ms": 9},
        {"grant": "g1", "calendar": {"mode": "html"}},
        {"reset": True, "grace_seconds": 7},
    )

    assert token_faults(made, "g1") == [None]
    assert made.take_calendar_fault("g1", incremental=True) is None
    assert made.terms("g1") == Terms(grace_seconds=7)
    assert made.latency_seconds("token", "g1") == 0


def test_reset_of_one_grant_leaves_the_others() -> None:
    made = modes({"rotation": "strict"}, {"grant": "g1", "rotation": "grace"})
    assert made.terms("g1").rotation == "grace"

    made.apply(Control(grant="g1", reset=True))

    assert made.terms("g1").rotation == made.terms("g2").rotation == "strict"


def test_gone_waits_for_a_call_that_brings_a_sync_token() -> None:
    made = modes({"calendar": {"mode": "gone", "times": 1}})

    assert made.take_calendar_fault("g1", incremental=False) is None
    assert made.take_calendar_fault("g1", incremental=True) is not None
    assert made.take_calendar_fault("g1", incremental=True) is None


@pytest.mark.parametrize(
    "control",
    [
        {"tokn": {"mode": "close"}},
        {"token": {"mode": "huge"}},
        {"calendar": {"mode": "lost_response"}},
        {"token": {"mode": "close", "seconds": 1}},
        {"token": {"mode": "close", "times": 0}},
        {"calendar": {"mode": "odd_events", "kinds": ["even"]}},
        {"calendar": {"mode": "odd_events", "fields": {"items": []}}},
        {"rotation": "sometimes"},
        {"expires_in": "1"},
    ],
    ids=str,
)
def test_a_control_that_cannot_be_meant_is_refused(control: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Control.model_validate(control)


def test_every_mode_does_something() -> None:
    behind_token = {"wrong_types", "no_access_token", "reduced_scope", "altered"}
    token = {"normal"} | DONE_BY_TRANSPORT | faults.IN_FRONT_OF_TOKEN.keys() | behind_token
    calendar = {"normal"} | DONE_BY_TRANSPORT | faults.IN_FRONT_OF_CALENDAR.keys()

    assert set(get_args(TokenMode)) <= token
    spoilt = faults._SPOILT_PAGES.keys() | {"odd_events", "altered"}
    assert set(get_args(CalendarMode)) <= calendar | spoilt


def test_the_judge_tells_calls_at_once_from_calls_in_turn() -> None:
    together, in_turn = (Grant(name, user="ann", scopes=[]) for name in ("g1", "g2"))
    seconds = [0.0]
    judge = Judge(monotonic=lambda: seconds[0])

    with judge.token_call(together), judge.token_call(together):
        with judge.token_call(in_turn):
            pass
        seconds[0] += 1.0
        with judge.token_call(in_turn) as call:
            call.outcome = "reuse"

    verdict = judge.verdict([together, in_turn])
    totals, by_grant = verdict["totals"], verdict["grants"]
    assert totals["token_calls"] == 4
    assert totals["most_concurrent_token_calls"] == 3
    assert totals["most_concurrent_token_calls_per_grant"] == 2
    assert totals["peak_token_calls_per_second"] == 3
    assert totals["token_calls_in_flight"] == 0
    assert by_grant["g1"]["most_concurrent_token_calls"] == 2
    assert by_grant["g2"]["most_concurrent_token_calls"] == 1
    assert by_grant["g2"]["reuse_seen"] == 1


def test_a_reset_of_the_judge_forgets_the_calls_in_flight() -> None:
    grant = Grant("g1", user="ann", scopes=[])
    judge = Judge(monotonic=lambda: 0.0)

    with judge.token_call(grant):
        judge.reset()

    assert judge.verdict([grant])["totals"]["token_calls_in_flight"] == 0
    assert judge.verdict([grant])["grants"]["g1"]["token_calls"] == 0
