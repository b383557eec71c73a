import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from service.app import Service
from tests.integration.conftest import Owner, Someone
from tests.signals import Samples

PATH = "/api/v1/settings"
MODELS = {
    "default": "writer",
    "models": {
        "writer": {
            "provider": "acme",
            "model": "large-1",
            "temperature": 0.5,
            "max_output_tokens": 2048,
            "options": {"seed": 7},
        }
    },
}
SETTINGS = {"theme": "dark", "notifications": False, "ai_models": MODELS}


async def test_settings_nobody_has_stored_are_the_defaults(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    answer = await client.get(PATH, headers=someone.headers)

    assert answer.json() == {
        "theme": "system",
        "notifications": True,
        "ai_models": None,
        "degraded": [],
    }
    assert answer.headers["etag"] == '"s0"'


async def test_settings_that_were_put_are_read_back_with_the_same_etag(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    put = await client.put(PATH, json=SETTINGS, headers=someone.headers)
    read = await client.get(PATH, headers=someone.headers)

    assert put.status_code == 200, put.text
    assert read.json() == {**SETTINGS, "degraded": []}
    assert read.headers["etag"] == put.headers["etag"] == '"s1"'


async def test_an_unchanged_document_is_a_304_without_a_body(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    put = await client.put(PATH, json=SETTINGS, headers=someone.headers)
    headers = {**someone.headers, "If-None-Match": f'"other", {put.headers["etag"]}'}

    answer = await client.get(PATH, headers=headers)

    assert (answer.status_code, answer.content) == (304, b"")


async def test_a_change_of_an_older_version_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    first = await client.put(PATH, json=SETTINGS, headers=someone.headers)
    match = {**someone.headers, "If-Match": first.headers["etag"]}
    second = await client.put(PATH, json={"theme": "light"}, headers=match)

    late = await client.put(PATH, json={"theme": "dark"}, headers=match)

    assert second.status_code == 200
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await client.get(PATH, headers=someone.headers)).json()["theme"] == "light"


@pytest.mark.parametrize("tag", ["*", '"s1"', "garbage"])
async def test_a_precondition_on_settings_that_do_not_exist_fails(
    client: httpx.AsyncClient, someone: Someone, tag: str
) -> None:
    answer = await client.put(PATH, json=SETTINGS, headers={**someone.headers, "If-Match": tag})

    assert answer.status_code == 412


OLD, WEAK, DEGRADED = '"s1"', 'W/"s2"', '"s2d"'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("If-Match", '"s2"')], 200),
        ([("If-Match", f'"other", {OLD}, "s2"')], 200),
        ([("If-Match", '"a,b" ,, "s2",')], 200),
        ([("If-Match", '"other"'), ("If-Match", '"s2"')], 200),
        ([("If-Match", "*")], 200),
        ([("If-Match", OLD)], 412),
        ([("If-Match", WEAK)], 412),
        ([("If-Match", f"{WEAK}, {OLD}")], 412),
        ([("If-Match", DEGRADED)], 412),
        ([("If-Match", "s2")], 412),
        ([("If-Match", '"s2')], 412),
        ([("If-Match", '"s2" "s2"')], 412),
        ([("If-Match", '"s2", *')], 412),
        ([("If-Match", '"s02"')], 412),
        ([("If-Match", "")], 412),
        ([("If-None-Match", "*")], 412),
        ([("If-None-Match", WEAK)], 412),
        ([("If-None-Match", f'{OLD}, "s2"')], 412),
        ([("If-None-Match", OLD)], 200),
        ([("If-Match", '"s2"'), ("If-None-Match", OLD)], 200),
        ([("If-Match", '"s2"'), ("If-None-Match", "*")], 412),
    ],
)
async def test_preconditions_of_a_write_are_those_of_the_standard(
    client: httpx.AsyncClient, someone: Someone, headers: list[tuple[str, str]], status: int
) -> None:
    for theme in ("dark", "light"):
        await client.put(PATH, json={"theme": theme}, headers=someone.headers)

    answer = await client.put(
        PATH, json={"theme": "system"}, headers=[*someone.headers.items(), *headers]
    )
    read = await client.get(PATH, headers=someone.headers)

    assert answer.status_code == status, answer.text
    assert read.json()["theme"] == ("system" if status == 200 else "light")
    assert read.headers["etag"] == ('"s3"' if status == 200 else '"s2"')


@pytest.mark.parametrize(
    ("header", "value"), [("If-Match", '"s0"'), ("If-None-Match", "*"), ("If-None-Match", OLD)]
)
async def test_the_first_write_can_be_made_conditional(
    client: httpx.AsyncClient, someone: Someone, header: str, value: str
) -> None:
    """The tag of the defaults is one that a caller was given."""
    headers = {**someone.headers, header: value}

    first = await client.put(PATH, json=SETTINGS, headers=headers)
    second = await client.put(PATH, json=SETTINGS, headers=headers)

    assert (first.status_code, first.headers["etag"]) == (200, OLD)
    assert second.status_code == 412


async def test_of_ten_conditional_writes_at_once_one_is_made(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    for header in ({"If-None-Match": "*"}, {"If-Match": OLD}):
        headers = {**someone.headers, **header}
        answers = await asyncio.gather(
            *(client.put(PATH, json={"theme": "dark"}, headers=headers) for _ in range(10))
        )

        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) == 1
        # On a busy machine admission refuses some of ten at once: those have written nothing.
        assert set(statuses) - {429, 503} == {200, 412}


@pytest.mark.parametrize("tag", ["*", WEAK, '"s2"', f'{OLD}, W/"s2"', '"a,b", "s2"'])
async def test_a_reader_is_told_that_nothing_changed_by_any_form_of_the_tag(
    client: httpx.AsyncClient, someone: Someone, tag: str
) -> None:
    for theme in ("dark", "light"):
        await client.put(PATH, json={"theme": theme}, headers=someone.headers)

    answer = await client.get(PATH, headers={**someone.headers, "If-None-Match": tag})

    assert answer.status_code == 304


@pytest.mark.parametrize("models", [{}, {"Writer": MODELS["models"]["writer"]}])  # type: ignore[index]
async def test_the_default_model_is_one_of_the_models(
    client: httpx.AsyncClient, someone: Someone, owner: Owner, models: object
) -> None:
    body = {"ai_models": {"default": "writer", "models": models}}

    refused = await client.put(PATH, json=body, headers=someone.headers)
    # What was stored before that was asked for stays readable.
    await store(owner, someone, json.dumps(body["ai_models"]))
    read = await client.get(PATH, headers=someone.headers)

    assert refused.status_code == 422
    assert [error["loc"] for error in refused.json()["errors"]] == ["body.ai_models.default"]
    assert read.json()["ai_models"]["default"] == "writer"


@pytest.mark.parametrize(
    ("stored", "fields"),
    [
        ({"default": "x"}, "ai_models.models"),
        ([1, 2], "ai_models"),
        (
            {"default": "x", "models": {"x": {"provider": "p", "model": "m", "temperature": 9}}},
            "ai_models.models.[key].temperature",
        ),
    ],
)
async def test_a_stored_document_that_does_not_fit_is_our_mistake_and_names_the_field(
    client: httpx.AsyncClient,
    someone: Someone,
    owner: Owner,
    stored: object,
    fields: str,
) -> None:
    await store(owner, someone, json.dumps(stored))
    before = Samples()

    with capture_logs() as lines:
        answer = await client.get(PATH, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (500, "stored_data_invalid")
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert line["fields"] == fields
    assert before.grown("app_failures_total", code="stored_data_invalid", http_route=PATH) == 1


async def test_a_document_that_is_nested_too_deeply_is_refused(
    client: httpx.AsyncClient, someone: Someone, owner: Owner
) -> None:
    await store(owner, someone, "[" * 500 + "]" * 500)

    answer = await client.get(PATH, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (500, "stored_data_invalid")


async def test_a_document_of_20_mb_is_never_loaded(
    client: httpx.AsyncClient, someone: Someone, owner: Owner
) -> None:
    await store(owner, someone, json.dumps({"default": "x" * 20_000_000}))

    answer = await client.get(PATH, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (500, "response_too_large")


async def store(owner: Owner, someone: Someone, document: str) -> None:
    # As the owner of the table, who may write what the service would not.
    await owner.execute(
        "INSERT INTO settings (account_id, ai_models) VALUES ($1, $2::jsonb)", someone.id, document
    )


@pytest.fixture
async def column_gone(owner: Owner, service: Service) -> AsyncIterator[None]:
    await owner.execute("ALTER TABLE settings RENAME ai_models TO ai_models_hidden")
    yield
    await owner.execute("ALTER TABLE settings RENAME ai_models_hidden TO ai_models")
    await service.schema.check()


async def test_without_the_optional_column_the_rest_is_read_and_said_to_be_partial(
    client: httpx.AsyncClient, service: Service, someone: Someone, column_gone: None
) -> None:
    unnoticed = await client.get(PATH, headers=someone.headers)
    await service.schema.check()
    noticed = await client.get(PATH, headers=someone.headers)

    for answer in (unnoticed, noticed):
        assert answer.status_code == 200, answer.text
        assert answer.json()["degraded"] == ["ai_models"]
        assert answer.headers["etag"] == '"s0d"'
    assert service.health.reasons() == []


async def test_without_the_optional_column_a_write_of_it_is_refused_and_the_rest_is_written(
    client: httpx.AsyncClient, service: Service, someone: Someone, column_gone: None
) -> None:
    await service.schema.check()

    refused = await client.put(PATH, json=SETTINGS, headers=someone.headers)
    written = await client.put(PATH, json={"theme": "dark"}, headers=someone.headers)

    assert (refused.status_code, refused.json()["code"]) == (503, "schema_mismatch")
    assert "retry-after" in refused.headers
    assert written.json()["degraded"] == ["ai_models"]
    assert (await client.get(PATH, headers=someone.headers)).json()["theme"] == "dark"
