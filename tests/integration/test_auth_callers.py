"""From a genuine token to an account: what the database has to say about it."""

from uuid import uuid4

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from service.accounts import Role
from service.app import Service
from service.security import Caller, Identity, UnitOfWork
from service.security.claims import TokenFormat
from service.security.tokens import TokenIssuer
from tests.integration.conftest import NewAccount, Someone
from tests.signals import Samples, watched_spans, watched_transactions

PROFILE = "/api/v1/profile"
NEW_PROFILE = {"display_name": "Ada"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def issuer(service: Service) -> TokenIssuer:
    made: TokenIssuer = service.security.issuer
    return made


@pytest.mark.parametrize("token_format", ["enhanced", "legacy"])
async def test_a_token_of_either_format_works_and_is_counted_once(
    client: httpx.AsyncClient, someone: Someone, issuer: TokenIssuer, token_format: str
) -> None:
    token = getattr(issuer, token_format)(someone.id, someone.email, "user")
    before = Samples()

    answer = await client.put(PROFILE, json=NEW_PROFILE, headers=bearer(token))

    assert (answer.status_code, answer.json()["account_id"]) == (200, someone.id)
    assert before.grown("auth_tokens_accepted_total") == 1
    assert before.grown("auth_tokens_accepted_total", token_format=token_format) == 1


async def test_a_token_outlives_its_account_by_a_401(
    client: httpx.AsyncClient, someone: Someone, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await owner.execute("DELETE FROM accounts WHERE id = $1", someone.id)
    before = Samples()

    with capture_logs() as logs:
        answer = await client.get(PROFILE, headers=someone.headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "token_subject_unknown")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    labels = {"token_format": "enhanced", "reason": "unknown_subject"}
    assert before.grown("auth_tokens_rejected_total", **labels) == 1
    assert before.grown("auth_tokens_accepted_total") == 0
    events = [line for line in logs if line["event"] == "auth_subject_unknown"]
    assert len(events) == 1
    assert someone.email not in repr(logs)


@pytest.mark.parametrize("token_format", ["enhanced", "legacy"])
async def test_a_token_with_another_accounts_address_is_a_conflict(
    client: httpx.AsyncClient,
    new_account: NewAccount,
    issuer: TokenIssuer,
    token_format: str,
) -> None:
    one, other = await new_account(), await new_account()
    token = getattr(issuer, token_format)(one.id, other.email, "user")
    before = Samples()

    with capture_logs() as logs:
        answer = await client.get(PROFILE, headers=bearer(token))

    assert (answer.status_code, answer.json()["code"]) == (401, "token_claims_conflict")
    labels = {"token_format": token_format, "reason": "mismatch"}
    assert before.grown("auth_tokens_rejected_total", **labels) == 1
    assert [line["event"] for line in logs].count("auth_conflict") == 1
    assert other.email not in repr(logs)


async def test_the_address_may_be_written_otherwise_in_the_token(
    client: httpx.AsyncClient, someone: Someone, issuer: TokenIssuer
) -> None:
    token = issuer.enhanced(someone.id, someone.email.upper(), "user")

    answer = await client.put(PROFILE, json=NEW_PROFILE, headers=bearer(token))

    assert answer.status_code == 200


@pytest.mark.parametrize("stored", list(Role))
@pytest.mark.parametrize("claimed", ["user", "admin", "emperor"])
async def test_the_role_is_the_databases_whatever_the_token_says(
    service: Service,
    someone: Someone,
    owner: "asyncpg.Connection[asyncpg.Record]",
    stored: Role,
    claimed: str,
) -> None:
    await owner.execute("UPDATE accounts SET role = $2 WHERE id = $1", someone.id, stored.value)
    identity = Identity(TokenFormat.ENHANCED, someone.id, someone.email, claimed)

    caller = await UnitOfWork(service.database, service.security, identity).caller()

    assert caller == Caller(someone.id, someone.email, stored, TokenFormat.ENHANCED)


async def test_the_largest_id_a_token_may_have_is_looked_up_and_not_found(
    client: httpx.AsyncClient, issuer: TokenIssuer
) -> None:
    token = issuer.enhanced(2**63 - 1, "ada@example.com", "user")

    answer = await client.get(PROFILE, headers=bearer(token))

    assert (answer.status_code, answer.json()["code"]) == (401, "token_subject_unknown")


@pytest.mark.parametrize("body", [b"{bad", b"[" * 100_000, b'{"a": "' + b"x" * 2**21 + b'"}'])
async def test_an_anonymous_body_is_a_401_before_it_is_looked_at(
    client: httpx.AsyncClient, body: bytes
) -> None:
    answer = await client.put(PROFILE, content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (401, "credentials_missing")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_request_leaves_one_verification_span_with_its_format(
    service: Service, client: httpx.AsyncClient, someone: Someone
) -> None:
    with watched_spans(service.tracing) as spans:
        await client.get(PROFILE, headers=someone.headers)
        await client.get(PROFILE, headers=bearer("x" + uuid4().hex))

    verified = [span for span in spans.ended if span.name == "auth.verify"]
    assert [dict(span.attributes or {}) for span in verified] == [
        {"firedrill.token_format": "enhanced"},
        {"firedrill.token_format": "unknown", "firedrill.reason": "malformed"},
    ]


async def test_one_statement_finds_the_caller_and_what_is_read(
    service: Service, client: httpx.AsyncClient, someone: Someone
) -> None:
    await client.put(PROFILE, json=NEW_PROFILE, headers=someone.headers)

    with (
        watched_spans(service.tracing) as spans,
        watched_transactions(service.database.engine) as transactions,
    ):
        answer = await client.get(PROFILE, headers=someone.headers)

    assert answer.status_code == 200
    (trace_id,) = transactions
    statements = [span for span in spans.of_trace(trace_id) if span.kind.name == "CLIENT"]
    assert [span.name for span in statements] == ["SELECT accounts profiles"]
