"""What the OpenAPI document promises holds for every operation, and for every method of every path."""

import itertools
import re
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import jsonschema_rs
import pytest

from service.app import Service
from service.problems import PROBLEM_TYPE
from tests.contracts.test_app_contract import operations, service

__all__ = ["service"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
WITHOUT_A_SCHEMA = {"/docs", "/docs/{asset}", "/openapi.json"}
DEADLINE = "X-Request-Deadline-Ms"
FORMATS = {"email": "email", "time_zone": "iana-time-zone", "locale": "bcp47"}


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as opened:
        yield opened


def filled(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "validation_failed", template)


def examples(service: Service) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (operation, status, example) of every problem in the document."""
    for method, path, operation in operations(service):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get(PROBLEM_TYPE, {})
            for example in content.get("examples", {}).values():
                yield f"{method} {path}", status, example["value"]


def test_every_example_of_a_problem_is_one(service: Service) -> None:
    document = service.app.openapi()
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    seen = list(examples(service))

    wrong = {
        (operation, example["code"]): [error.message for error in validator.iter_errors(example)]
        for operation, _, example in seen
        if not validator.is_valid(example)
    }

    assert len(seen) > 100
    assert wrong == {}
    assert [item for item in seen if str(item[2]["status"]) != item[1]] == []


def test_every_response_with_a_body_has_a_schema_and_every_422_is_ours(service: Service) -> None:
    for method, path, operation in operations(service):
        for status, response in operation["responses"].items():
            contents = response.get("content", {})
            assert all(content.get("schema") for content in contents.values()), (method, path)
            if status.startswith(("4", "5")):
                assert set(contents) == {PROBLEM_TYPE}, (method, path, status)
        # A path that nothing has is a 404, and the deadline of a caller is no part of a route.
        parameters = operation.get("parameters", ())
        named = {item["name"] for item in parameters if item["in"] != "path"} - {DEADLINE}
        can_be_wrong = "requestBody" in operation or bool(named)
        assert ("422" in operation["responses"]) is can_be_wrong, (method, path)


def test_fields_with_a_standard_name_it(service: Service) -> None:
    def properties(node: object) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, dict):
            yield from node.get("properties", {}).items()
            for child in node.values():
                yield from properties(child)

    document = service.app.openapi()
    named = list(properties(document["components"]["schemas"]))
    for name, expected in FORMATS.items():
        of_name = [str(schema) for found, schema in named if found == name]
        assert of_name
        if name != "email":
            of_name = [text for text in of_name if "format" in text]
        assert all(f"'format': '{expected}'" in text for text in of_name), name
    (cursor,) = [
        parameter
        for parameter in document["paths"]["/api/v1/calendar/events"]["get"]["parameters"]
        if parameter["name"] == "cursor"
    ]
    assert "'format': 'cursor'" in str(cursor["schema"])


async def test_each_path_takes_its_methods_and_names_them_all_where_it_does_not(
    service: Service, client: httpx.AsyncClient
) -> None:
    document = service.app.openapi()["paths"]
    for spec in service.routes.specs():
        declared = {method.upper() for method in document.get(spec.template, {"get": {}})}
        if spec.template not in document:
            assert spec.template in WITHOUT_A_SCHEMA
        allowed = declared | ({"HEAD"} if "GET" in declared else set())
        for method in METHODS:
            answer = await client.request(method, filled(spec.template))

            assert (answer.status_code == 405) is (method not in allowed), (method, spec.template)
            if answer.status_code == 405:
                assert answer.headers["allow"] == ", ".join(sorted(allowed))
                assert method == "HEAD" or answer.json()["code"] == "method_not_allowed"


async def test_head_is_answered_as_get_is(service: Service, client: httpx.AsyncClient) -> None:
    for spec in service.routes.specs():
        if "GET" in spec.policies:
            path = filled(spec.template)
            got, head = [await client.request(method, path) for method in ("GET", "HEAD")]

            assert head.status_code == got.status_code, path
            assert head.headers.get("content-type") == got.headers.get("content-type")
    assert (await client.head("/docs")).status_code == 200


@pytest.mark.parametrize("query", ["", "?cursor=a%20b&limit=3"])
async def test_a_slash_at_the_end_leads_to_a_relative_address(
    service: Service, client: httpx.AsyncClient, query: str
) -> None:
    paths = [filled(spec.template) for spec in service.routes.specs()]
    for path, method in itertools.product(paths, ("GET", "PUT")):
        answer = await client.request(
            method, f"{path}/{query}", headers={"Host": "evil.test", "X-Forwarded-Host": "evil"}
        )

        assert answer.status_code == 307
        assert answer.headers["location"] == path + query


@pytest.mark.parametrize(
    "path", ["//evil.test/", "/%2Fevil.test/", "/nowhere/", "/", "//", "/api/v1/", "/.//docs/"]
)
async def test_a_slash_behind_nothing_leads_nowhere(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(httpx.URL("http://api.test").copy_with(raw_path=path.encode()))

    assert (answer.status_code, answer.headers.get("location")) == (404, None)


class Loaded(HTMLParser):
    """The addresses of what a page loads, and whether it has a script of its own in it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in {"script", "link", "img", "iframe"}:
            self.addresses.append(named.get("src") or named.get("href") or f"inline {tag}")


async def test_the_page_of_the_api_loads_nothing_from_another_host(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/docs")
    loaded = Loaded()
    loaded.feed(page.text)

    assert len(loaded.addresses) == 4
    assert all(address.startswith("/docs/") for address in loaded.addresses)
    for address in loaded.addresses:
        answer = await client.get(address)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "http" not in policy
    missing = await client.get("/docs/swagger-ui.js")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
