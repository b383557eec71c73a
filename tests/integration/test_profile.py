import asyncio

import httpx
import pytest

from service.app import Service
from tests.integration.conftest import NewAccount, Owner, Someone
from tests.signals import Samples, watched_spans

PATH = "/api/v1/profile"
PROFILE = {"display_name": "Ada", "time_zone": "Europe/London", "locale": "en-GB", "bio": "counts"}


async def test_a_profile_that_was_put_is_read_back(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    missing = await client.get(PATH, headers=someone.headers)
    put = await client.put(PATH, json=PROFILE, headers=someone.headers)
    read = await client.get(PATH, headers=someone.headers)

    assert (missing.status_code, missing.json()["code"]) == (404, "profile_missing")
    assert put.status_code == 200, put.text
    assert read.json() == put.json()
    assert {key: read.json()[key] for key in PROFILE} == PROFILE


async def test_one_caller_never_sees_anothers_profile(
    client: httpx.AsyncClient, new_account: NewAccount
) -> None:
    one, other = await new_account(), await new_account()
    await client.put(PATH, json=PROFILE, headers=one.headers)

    assert (await client.get(PATH, headers=other.headers)).status_code == 404


async def test_rejected_callers_are_counted_and_not_their_requests(
    client: httpx.AsyncClient, service: Service, new_account: NewAccount
) -> None:
    noisy, other = await new_account(), await new_account()
    release = {"X-Client-Version": "rejected/1.0"}
    for _ in range(5):
        wrong = {"displayName": "Ada"}
        answer = await client.put(PATH, json=wrong, headers=noisy.headers | release)
        assert answer.status_code == 422
    await client.put(PATH, json=PROFILE, headers=other.headers | release)

    counts = service.callers.counts().items()
    assert {labels[3]: count for labels, count in counts if labels[2] == "rejected/1.0"} == {
        "rejected": 1,
        "served": 1,
    }


@pytest.mark.parametrize(
    ("change", "field", "error_type"),
    [
        ({"display_name": ""}, "body.display_name", "string_too_short"),
        ({"display_name": "x" * 121}, "body.display_name", "string_too_long"),
        ({"display_name": "a\x00b"}, "body.display_name", "value_error"),
        ({"display_name": 7}, "body.display_name", "string_type"),
        ({"time_zone": "Mars/Olympus"}, "body.time_zone", "value_error"),
        ({"displayName": "Ada"}, "body._unknown", "extra_forbidden"),
    ],
)
async def test_a_field_that_does_not_fit_is_named_and_counted_but_not_quoted(
    client: httpx.AsyncClient,
    service: Service,
    someone: Someone,
    change: dict[str, object],
    field: str,
    error_type: str,
) -> None:
    before = Samples()
    with watched_spans(service.tracing) as spans:
        answer = await client.put(PATH, json={**PROFILE, **change}, headers=someone.headers)

    problem = answer.json()
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    # In the answer by the caller's own name for it.
    sent_as = f"body.{next(iter(change))}"
    assert (problem["errors"][0]["loc"], problem["errors"][0]["type"]) == (sent_as, error_type)
    assert "Olympus" not in answer.text
    grown = before.grown(
        "http_request_validation_errors_total", http_route=PATH, field=field, error_type=error_type
    )
    assert grown == 1
    assert before.grown("app_failures_total", code="validation_failed", http_route=PATH) == 1
    (server,) = [
        span for span in spans.of_trace(problem["trace_id"]) if span.kind.name == "SERVER"
    ]
    assert server.status.status_code.name == "UNSET"
    assert [(event.name, dict(event.attributes or {})) for event in server.events] == [
        (
            "firedrill.validation_failed",
            {"firedrill.validation.field": field, "firedrill.validation.error_type": error_type},
        )
    ]


async def test_a_lone_surrogate_is_a_422_that_echoes_nothing(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    body = b'{"display_name": "\\ud800"}'

    answer = await client.put(
        PATH, content=body, headers={**someone.headers, "Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert "ud800" not in answer.text


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b'{"bad"', "application/json", 400, "body_malformed"),
        (b'{"display_name": NaN}', "application/json", 400, "body_malformed"),
        (b'{"display_name": ' + b"1" * 5000 + b"}", "application/json", 400, "body_malformed"),
        (b"[" * 100 + b"]" * 100, "application/json", 400, "body_malformed"),
        (b'"\xff"', "application/json", 400, "body_malformed"),
        (b"x" * (2 * 1024 * 1024), "application/json", 413, "body_too_large"),
        (b"display_name=Ada", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"<a/>", "text/xml", 415, "unsupported_media_type"),
    ],
    ids=["cut", "nan", "digits", "deep", "not-utf-8", "2-mib", "form", "xml"],
)
async def test_a_body_that_cannot_be_read_is_refused_with_its_reason(
    client: httpx.AsyncClient,
    someone: Someone,
    body: bytes,
    content_type: str,
    status: int,
    code: str,
) -> None:
    answer = await client.put(
        PATH, content=body, headers={**someone.headers, "Content-Type": content_type}
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_anonymous_body_is_a_401_before_anybody_reads_it(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.put(
        PATH, content=b'{"bad"', headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (401, "credentials_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_account_that_went_away_is_told(
    client: httpx.AsyncClient, someone: Someone, owner: Owner
) -> None:
    await owner.execute("DELETE FROM accounts WHERE id = $1", someone.id)

    answer = await client.get(PATH, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_subject_unknown")


async def test_a_read_leaves_one_server_span_and_one_client_span(
    client: httpx.AsyncClient, service: Service, someone: Someone
) -> None:
    await client.put(PATH, json=PROFILE, headers=someone.headers)
    with watched_spans(service.tracing) as spans:
        await client.get(PATH, headers=someone.headers)

    (server,) = [span for span in spans.ended if span.kind.name == "SERVER"]
    # Tasks of the service have traces of their own meanwhile.
    of_the_request = [
        span.kind.name for span in spans.ended if span.context.trace_id == server.context.trace_id
    ]
    assert of_the_request.count("CLIENT") == 1  # caller and profile are one statement
    assert server.name == f"GET {PATH}"
    assert (server.attributes or {})["http.route"] == PATH


async def test_a_request_checks_out_one_connection_and_gives_it_back(
    client: httpx.AsyncClient, service: Service, someone: Someone
) -> None:
    before = Samples()

    await client.get(PATH, headers=someone.headers)

    assert before.grown("db_client_connection_use_time_seconds_count", http_route=PATH) == 1
    # The service's own tasks hold connections of no route meanwhile.
    assert PATH not in {route for _, route in service.database.pool.meter.held.values()}


async def test_of_fifty_callers_who_want_one_address_one_gets_it(
    client: httpx.AsyncClient, new_account: NewAccount
) -> None:
    callers = [await new_account() for _ in range(50)]
    email = f"wanted-by-{callers[0].id}@example.com"

    # Fifty at once are more than may be in flight.
    admitted = asyncio.Semaphore(10)

    async def ask(caller: Someone) -> httpx.Response:
        body = {**PROFILE, "email": email}
        async with admitted:
            return await client.put(PATH, json=body, headers=caller.headers)

    answers = await asyncio.gather(*map(ask, callers))

    assert sorted({answer.status_code for answer in answers}) == [200, 409]
    assert [answer.status_code for answer in answers].count(200) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {
        "email_conflict"
    }


async def test_a_token_for_the_old_address_ends_with_a_change(
    client: httpx.AsyncClient, someone: Someone
) -> None:
    await client.put(
        PATH, json={**PROFILE, "email": f"new-{someone.email}"}, headers=someone.headers
    )

    answer = await client.get(PATH, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_claims_conflict")


async def test_a_stored_row_that_does_not_fit_is_our_mistake_and_names_the_field(
    client: httpx.AsyncClient, someone: Someone, owner: Owner
) -> None:
    await owner.execute("ALTER TABLE profiles ALTER display_name DROP NOT NULL")
    try:
        await owner.execute("INSERT INTO profiles (account_id) VALUES ($1)", someone.id)
        answer = await client.get(PATH, headers=someone.headers)
    finally:
        await owner.execute("DELETE FROM profiles WHERE display_name IS NULL")
        await owner.execute("ALTER TABLE profiles ALTER display_name SET NOT NULL")

    assert (answer.status_code, answer.json()["code"]) == (500, "stored_data_invalid")


@pytest.mark.parametrize("moment", ["20000-01-01", "0044-03-15 BC", "infinity", "-infinity"])
async def test_a_moment_that_cannot_be_answered_is_our_mistake(
    client: httpx.AsyncClient, someone: Someone, owner: Owner, moment: str
) -> None:
    await client.put(PATH, json=PROFILE, headers=someone.headers)
    await owner.execute(
        f"UPDATE profiles SET updated_at = '{moment}' WHERE account_id = $1", someone.id
    )

    answer = await client.get(PATH, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (500, "stored_data_invalid")


ZONES = ["UTC", "Europe/London", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "GB", "EST5EDT"]
NO_ZONES = [
    "localtime",
    "posixrules",
    "Factory",
    "posix/Europe/London",
    "right/UTC",
    "Europe/london",
    "europe/london",
    "../../etc/passwd",
    "zone.tab",
    "UTC+1",
    "+01:00",
    "Romance Standard Time",
    "",
]
LOCALES = [
    "en",
    "en-GB",
    "zh-Hant-TW",
    "es-419",
    "de-CH-1996",
    "sl-rozaj-biske-1994",
    "zh-cmn-Hans-CN",
    "ar-u-nu-latn",
    "de-DE-u-co-phonebk-x-own",
    "x-private",
    "i-klingon",
    "en-GB-oed",
    "EN-gb",
]
NO_LOCALES = [
    "<b>",
    "en_GB",
    "e",
    "en-",
    "-en",
    "en--GB",
    "en-GB-GB",
    "en GB",
    "en-x",
    "123",
    "en-u-",
    "de-1996-1996",
    "en-a-bbb-a-ccc",
    "..",
    "C.UTF-8",
    "abcdefghi",
    "en-" + "-".join(["aaaaa"] * 10),
]


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        *(("time_zone", zone, 200) for zone in ZONES),
        *(("time_zone", zone, 422) for zone in NO_ZONES),
        *(("locale", locale, 200) for locale in LOCALES),
        *(("locale", locale, 422) for locale in NO_LOCALES),
    ],
)
async def test_zones_and_locales_are_those_of_their_standards(
    client: httpx.AsyncClient, someone: Someone, field: str, value: str, status: int
) -> None:
    answer = await client.put(PATH, json={**PROFILE, field: value}, headers=someone.headers)

    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()[field] == value
    else:
        assert answer.json()["errors"][0]["loc"] == f"body.{field}"
