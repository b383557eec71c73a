"""What the OpenAPI document says, against what the service answers to generated requests."""

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from firedrill_kit.resilience import deadline
from service import problems
from service.app import Service
from tests.integration.conftest import NewAccount, Someone
from tests.integration.public_server import served

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

CASES = 15
"""Of each kind for each operation. All of them: `HYPOTHESIS_PROFILE=thorough` has its own number."""
CASES_OF_SIGN_IN = 3
"""Each costs 0.2 s of argon2, whatever is sent."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    async with served(service.asgi, service.config) as opened:
        yield opened


# The service's own chores make ids at random while a case is made up in the other thread.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_generated_requests_get_documented_answers(
    port: int, service: Service, new_account: NewAccount, mode: GenerationMode
) -> None:
    someone = await new_account()
    document = without_deadline(service.app.openapi())

    # In a thread: schemathesis is synchronous, and the loop has to serve.
    asked = await asyncio.to_thread(ask_everything, document, port, someone, mode)

    assert asked.keys() == {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith("/api/") and can_be_asked(operation, mode)
    }
    assert min(asked.values()) >= 1


def without_deadline(document: dict[str, Any]) -> dict[str, Any]:
    """A caller that gives itself a millisecond gets no other answer: tested where it belongs."""
    document = copy.deepcopy(document)
    for item in document["paths"].values():
        for operation in item.values():
            operation["parameters"].remove(deadline.PARAMETER)
            if not operation["parameters"]:
                del operation["parameters"]
    return document


def can_be_asked(operation: dict[str, Any], mode: GenerationMode) -> bool:
    """Where nothing is sent, nothing can be sent wrongly."""
    return mode.is_positive or bool({"parameters", "requestBody"} & operation.keys())


def ask_everything(
    document: dict[str, Any], port: int, someone: Someone, mode: GenerationMode
) -> dict[str, int]:
    """Return how many requests were sent to each operation. Raises what a check finds."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{port}")
    # Who asks is the test's business: made-up cookies would win over its token.
    schema.config.generation.update(with_security_parameters=False)
    asked: dict[str, int] = {}
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation: Operation = found.ok()
        raw = operation.definition.raw
        if operation.path.startswith("/api/") and can_be_asked(raw, mode):
            codes = set(problems.documented_codes(raw))
            asked[operation.label] = ask(operation, codes, someone, mode)
    return asked


def ask(operation: Operation, codes: set[str], someone: Someone, mode: GenerationMode) -> int:
    sent = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=CASES_OF_SIGN_IN if operation.path.endswith("/auth/token") else CASES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Case[Any]) -> None:
        nonlocal sent
        if isinstance(case.body, dict):
            case.body.pop("email", None)  # the caller's token would end with it
        answer = case.call(headers=someone.headers)
        sent += 1
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]
            problem = answer.json()
            assert problem["code"] in codes
            assert problem["status"] == answer.status_code

    check()
    return sent
