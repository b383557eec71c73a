"""Text that PostgreSQL or JSON cannot hold, at every place of every request that takes text.

The places are read off the OpenAPI document, so a field that is added is tried too.
"""

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import quote_plus

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from firedrill_kit.contract import request_schema
from service.app import Service
from tests.contracts.test_app_contract import operations
from tests.integration.conftest import Someone

Path: TypeAlias = tuple[str, ...]
Schema: TypeAlias = Mapping[str, Any]

KEY = "aa"
"""Of every map, and every text without a form of its own: so the default model is one of the models."""
FORMED = {"email": "ada@example.com", "iana-time-zone": "Europe/London", "bcp47": "en"}

# A failing example is short as it is, and each try is a hundred requests.
QUICKLY = settings(
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

UNSTORABLE = st.sampled_from(["\x00", "\ud800", "\udfff", "\udc00\ud800"])
HOSTILE = st.builds("".join, st.tuples(st.text(max_size=3), UNSTORABLE, st.text(max_size=3)))
NUMBERS = ["1e999", "-1e999", "NaN", "Infinity", "9" * 401, "9" * 5000, "1" + "0" * 399]
NUMBERS += ["-" + "9" * 399, "1e-999", "0.1e308", str(2**31), str(2**63), str(2**64)]


class Contract:
    """The places of the bodies that the operations read."""

    def __init__(self, service: Service) -> None:
        self.document = service.app.openapi()
        self.bodies = {
            (method, path): self.sample(
                request_schema(self.document, path, method)["properties"]["body"]
            )
            for method, path, operation in operations(service)
            if "application/json" in operation.get("requestBody", {}).get("content", {})
        }
        self.places = [
            (method, path, place)
            for (method, path), body in self.bodies.items()
            for place in places_in(body)
        ]

    def sample(self, schema: Schema) -> Any:
        """Return a whole body: every field, one entry in every map."""
        match schema:
            case {"$ref": address}:
                return self.sample(self.document["components"]["schemas"][address.split("/")[-1]])
            case {"anyOf": [first, *_]}:
                return self.sample(first)
            case {"enum": [first, *_]}:
                return first
            case {"type": "object"}:
                named = dict(schema.get("properties", {}))
                if isinstance(of_keys := schema.get("additionalProperties"), dict):
                    named[KEY] = of_keys
                return {name: self.sample(of_name) for name, of_name in named.items()}
            case {"type": "string"}:
                return FORMED.get(schema.get("format", ""), KEY)
        return True if schema.get("type") == "boolean" else 1


def places_in(body: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path to every value in a body of objects."""
    for name, child in body.items():
        yield (*path, name)
        if isinstance(child, dict):
            yield from places_in(child, (*path, name))


def holder(body: Any, place: Path) -> Any:
    for name in place[:-1]:
        body = body[name]
    return body


@pytest.fixture
def contract(service: Service) -> Contract:
    return Contract(service)


async def send(
    client: httpx.AsyncClient, someone: Someone, method: str, path: str, raw: str
) -> httpx.Response:
    headers = {**someone.headers, "Content-Type": "application/json"}
    return await client.request(method, path, content=raw.encode(), headers=headers)


async def test_the_samples_are_what_the_routes_take(
    client: httpx.AsyncClient, someone: Someone, contract: Contract
) -> None:
    """Otherwise the tests below would prove nothing. A made-up authorization code is one of 5xx or 4xx."""
    for (method, path), body in contract.bodies.items():
        whole = {name: value for name, value in body.items() if name != "email"}

        answer = await send(client, someone, method, path, json.dumps(whole))

        assert answer.status_code != 422, answer.text
    deepest = ("ai_models", "models", KEY, "options", KEY)
    assert ("PUT", "/api/v1/settings", deepest) in contract.places
    assert {path for _, path in contract.bodies} >= {"/api/v1/profile", "/api/v1/settings"}


@given(hostile=HOSTILE)
@settings(QUICKLY, max_examples=10)
async def test_text_that_cannot_be_stored_is_a_422_as_a_value_and_as_a_key(
    client: httpx.AsyncClient, someone: Someone, contract: Contract, hostile: str
) -> None:
    for (method, path, place), is_key in itertools.product(contract.places, (False, True)):
        body = copy.deepcopy(contract.bodies[method, path])
        of_place = holder(body, place)
        if is_key:
            of_place[hostile] = of_place.pop(place[-1])
        else:
            of_place[place[-1]] = hostile

        answer = await send(client, someone, method, path, json.dumps(body))

        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), place


@pytest.mark.parametrize("number", NUMBERS)
async def test_numbers_without_measure_are_the_callers_mistake(
    client: httpx.AsyncClient, someone: Someone, contract: Contract, number: str
) -> None:
    taken: set[str] = set()
    for method, path, place in contract.places:
        body = copy.deepcopy(contract.bodies[method, path])
        body.pop("email", None)
        if place == ("email",):
            continue
        holder(body, place)[place[-1]] = "MARK"

        raw = json.dumps(body).replace('"MARK"', number)
        answer = await send(client, someone, method, path, raw)

        # Where any number may stand, some of these may; what is taken can be read again.
        assert answer.status_code in {200, 400, 422}, place
        if answer.status_code == 200:
            taken.add(place[-1])
            assert (await client.get(path, headers=someone.headers)).status_code == 200

    assert taken <= {KEY} | ({"temperature", "notifications"} if float(number) == 0 else set())


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [31, 40, 2000, 100_000])
async def test_depth_is_the_callers_mistake(
    client: httpx.AsyncClient, someone: Someone, contract: Contract, opening: str, depth: int
) -> None:
    closing = "]" if opening == "[" else "}"
    deep = opening * depth + "1" + closing * depth
    for method, path, place in contract.places:
        body = copy.deepcopy(contract.bodies[method, path])
        holder(body, place)[place[-1]] = "MARK"

        raw = json.dumps(body).replace('"MARK"', deep)
        answer = await send(client, someone, method, path, raw)

        assert answer.status_code in {400, 422}, place


@given(hostile=HOSTILE)
@settings(QUICKLY, max_examples=15)
async def test_text_in_a_query_a_path_or_a_header_is_no_mistake_of_ours(
    client: httpx.AsyncClient, someone: Someone, service: Service, hostile: str
) -> None:
    encoded = hostile.encode("utf-8", "surrogatepass")
    for method, template, operation in operations(service):
        for parameter in operation.get("parameters", ()):
            name, headers = parameter["name"], [*ascii_headers(someone)]
            path = template.replace(f"{{{name}}}", f"x{quote_plus(encoded)}")
            if parameter["in"] == "query":
                path = f"{template}?{name}={quote_plus(encoded)}"
            if parameter["in"] == "header":
                headers.append((name.encode(), encoded))

            answer = await client.request(method, path, headers=headers)

            expected = {"query": {422}, "path": {404}}
            assert answer.status_code in expected.get(parameter["in"], range(500)), (
                template,
                name,
            )


def ascii_headers(someone: Someone) -> Iterator[tuple[bytes, bytes]]:
    return ((name.encode(), value.encode()) for name, value in someone.headers.items())


@given(hostile=HOSTILE)
@settings(QUICKLY, max_examples=15)
@pytest.mark.parametrize("field", ["username", "password", "grant_type", "scope"])
async def test_text_in_the_form_of_sign_in_is_no_mistake_of_ours(
    client: httpx.AsyncClient, field: str, hostile: str
) -> None:
    form = {"username": b"a@b", "password": b"", field: hostile.encode("utf-8", "surrogatepass")}
    raw = "&".join(f"{name}={quote_plus(value)}" for name, value in form.items())

    answer = await client.post(
        "/api/v1/auth/token",
        content=raw,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    # Bytes that are no UTF-8 are read as U+FFFD, which can be stored: then the password is wrong.
    is_nul = "\x00" in hostile or field != "password"
    assert answer.status_code in ({422} if is_nul else {401, 422})
