"""What one caller sends must not take away what the metrics say of the others."""

import secrets

import httpx
from structlog.testing import capture_logs

from firedrill_kit import metrics as core_metrics
from service.app import Service
from tests.integration.conftest import NewAccount, Owner, Someone
from tests.signals import Samples, watched_spans

PROFILE = "/api/v1/profile"
SETTINGS = "/api/v1/settings"
ERRORS = "http_request_validation_errors_total"
HONEST_CALLERS = 20
MODEL = {"provider": "acme", "model": "large-1"}


def noise() -> str:
    """Return a name as callers make them up: random, a key of theirs, an address."""
    return secrets.choice(["", "sk-live-", "ada@example.com:"]) + secrets.token_hex(8)


def hostile_settings() -> dict[str, object]:
    """Return a body with a made-up name at every place that takes one."""
    model = {**MODEL, "options": {noise(): [noise()]}, noise(): noise()}
    models = {"default": noise(), "models": {noise(): model, noise(): noise()}, noise(): 1}
    return {"ai_models": models, **{noise(): noise() for _ in range(15)}}


def series() -> set[tuple[str, ...]]:
    return {
        tuple(sample.labels.values())
        for family in core_metrics.VALIDATION_ERRORS.collect()
        for sample in family.samples
    }


async def test_made_up_names_do_not_hide_a_field_that_honest_callers_got_wrong(
    client: httpx.AsyncClient, new_account: NewAccount
) -> None:
    hostile = await new_account()
    honest = [await new_account() for _ in range(HONEST_CALLERS)]
    await client.put(SETTINGS, json=hostile_settings(), headers=hostile.headers)
    await client.put(PROFILE, json={noise(): 1}, headers=hostile.headers)
    warm = series()

    for _ in range(30):
        for path, body in (
            (SETTINGS, hostile_settings()),
            (PROFILE, {"display_name": "x", **{noise(): noise() for _ in range(20)}}),
        ):
            answer = await client.put(path, json=body, headers=hostile.headers)
            assert answer.status_code == 422

    assert series() == warm, "one caller makes no series"
    before = Samples()
    for caller in honest:
        await client.put(PROFILE, json={"displayName": "Ada"}, headers=caller.headers)

    def counted(field: str, error_type: str) -> float:
        return before.grown(ERRORS, http_route=PROFILE, field=field, error_type=error_type)

    assert counted("body.display_name", "missing") == HONEST_CALLERS
    assert counted("body._unknown", "extra_forbidden") == HONEST_CALLERS


async def test_what_a_caller_makes_up_is_in_no_metric_line_or_span(
    client: httpx.AsyncClient, service: Service, someone: Someone
) -> None:
    with capture_logs() as lines, watched_spans(service.tracing) as spans:
        body = {
            "ai_models": {
                "default": "sk-live-51H",
                "models": {"ada@example.com": {**MODEL, "options": {"sk-live-52H": []}}},
                "sk-live-53H": 1,
            },
            "sk-live-54H": "x",
        }
        answer = await client.put(SETTINGS, json=body, headers=someone.headers)

    assert answer.status_code == 422
    told = [
        *map(str, lines),
        *(span.to_json() for span in spans.ended),
        *(str(labels) for labels in series()),
    ]
    assert not [text for text in told if "sk-live" in text or "example.com" in text]
    fields = {field for _, field, _ in series() if field.startswith("body.ai_models")}
    assert "body.ai_models.models.[key].options.[key]" in fields


async def test_keys_of_a_stored_document_are_in_no_line(
    client: httpx.AsyncClient, someone: Someone, owner: Owner
) -> None:
    await client.put(SETTINGS, json={}, headers=someone.headers)
    await owner.execute(
        "UPDATE settings SET ai_models = $2::jsonb WHERE account_id = $1",
        someone.id,
        '{"default": "x", "models": {"sk-live-51H": {"provider": "p"}}, "ada@example.com": 1}',
    )

    with capture_logs() as lines:
        answer = await client.get(SETTINGS, headers=someone.headers)

    assert answer.json()["code"] == "stored_data_invalid"
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert line["fields"] == "ai_models._unknown,ai_models.models.[key].model"


async def test_a_field_is_counted_once_a_request(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    before = Samples()

    await client.put(
        PROFILE, json={f"x{number}": 1 for number in range(30)}, headers=someone.headers
    )

    assert before.grown(ERRORS, field="body._unknown") == 1
    assert before.grown(ERRORS, field="body.display_name") == 1
