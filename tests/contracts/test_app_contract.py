"""What holds for every route: one name everywhere, and signals that exist before they are needed."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.trace import SpanKind

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry import scrape
from firedrill_kit.telemetry.labels import UNMATCHED
from service import failures, problems
from service.app import Service
from service.config import Config
from stack.settings import ROOT
from tests.signals import Samples, watched_spans

METHODS = {"get", "put", "post", "delete", "patch"}
# Answered for paths and requests that no route claims.
OUTSIDE_ROUTES = {"not_found", "method_not_allowed", "header_too_large"}


def config() -> Config:
    values: dict[str, Any] = {
        "token_keys": {"a": "k" * 32},
        "grant_keys": {"g": "g" * 32},
        "session_key": "s" * 32,
        "otlp_endpoint": "",
        "trace_base_ratio": 1.0,
    }
    return Config.model_validate(values)


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Service]:
    """A service that was never started: no socket is opened."""
    yield (built := Service(config()))
    await built.database.close()
    built.sign_in.close()
    built.tracing.stop()


def operations(service: Service) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in service.app.openapi()["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield method.upper(), path, operation


async def test_metric_label_template_and_span_say_the_same_route(service: Service) -> None:
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        for method, template, _ in operations(service):
            before = Samples()
            path = re.sub(r"\{[^}]*\}", "validation_failed", template)
            with watched_spans(service.tracing) as spans:
                answer = await client.request(method, path)

            counted = before.grown(
                "http_server_request_duration_seconds_count",
                http_route=template,
                http_request_method=method,
                http_response_status_code=str(answer.status_code),
            )
            # What the service does by itself at that moment ends spans too.
            (server,) = (span for span in spans.ended if span.kind is SpanKind.SERVER)
            assert counted == 1, (method, template)
            assert (server.attributes or {})["http.route"] == template
            assert server.name == f"{method} {template}"


async def test_paths_of_a_caller_are_neither_labels_nor_span_names(service: Service) -> None:
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        before = Samples()
        with watched_spans(service.tracing) as spans:
            for number in range(20):
                await client.request("BREW" if number % 2 else "GET", f"/pots/{number}")

    assert before.grown("http_server_request_duration_seconds_count", http_route=UNMATCHED) == 20
    of_requests = {span.name for span in spans.ended if span.kind is SpanKind.SERVER}
    assert of_requests
    assert of_requests <= {"GET", "HTTP", "_OTHER"} | {
        f"{method} {UNMATCHED}" for method in ("GET", "_OTHER", "HTTP")
    }


def test_every_declared_status_and_code_is_a_series_from_the_start(service: Service) -> None:
    samples = {
        (sample.name, frozenset(sample.labels.items()))
        for family in core_metrics.REGISTRY.collect()
        for sample in family.samples
    }
    scheme = service.config.public_scheme

    for method, path, operation in operations(service):
        for status in operation["responses"]:
            labels = {
                "http_request_method": method,
                "http_route": path,
                "http_response_status_code": status,
                "url_scheme": scheme,
                "error_type": status if status >= "500" else "",
            }
            assert (
                "http_server_request_duration_seconds_count",
                frozenset(labels.items()),
            ) in samples
        for code in problems.documented_codes(operation):
            labels = {"code": code, "http_route": path}
            assert ("app_failures_total", frozenset(labels.items())) in samples


def test_every_mode_that_a_request_can_end_with_is_documented_by_a_route(service: Service) -> None:
    documented = {
        code
        for _, _, operation in operations(service)
        for code in problems.documented_codes(operation)
    }

    assert set(failures.MODES) == documented | OUTSIDE_ROUTES


def series() -> int:
    page = scrape.plain(core_metrics.REGISTRY).decode()
    return sum(not line.startswith("#") for line in page.splitlines())


def test_the_service_has_no_more_than_three_thousand_series_at_its_start() -> None:
    """In a process of its own: in this one every test that ran before has left some."""
    script = f"from {__name__} import *; Service(config()); print(series())"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert 1000 < int(done.stdout) <= 3000


async def test_each_problem_type_is_a_page_that_says_what_to_do(service: Service) -> None:
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        for mode in failures.MODES.values():
            page = await client.get(f"/problems/{mode.code}")

            assert page.status_code == 200
            assert mode.detail in page.text
        unknown = await client.get("/problems/no_such_code")

    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_the_document_asks_for_what_the_service_asks_for(service: Service) -> None:
    """Without a caller's proof a route answers 401 exactly where the document names one."""
    schemes = service.app.openapi()["components"]["securitySchemes"]
    transport = httpx.ASGITransport(service.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        for method, template, operation in operations(service):
            path = re.sub(r"\{[^}]*\}", "validation_failed", template)
            asked = operation["security"]
            named = {name for way in asked for name in way}

            assert named <= schemes.keys()
            assert ((await client.request(method, path)).status_code == 401) is bool(asked)
            if asked:
                # A session alone changes nothing: its answer without a CSRF token is 403.
                cookie = {"Cookie": f"{schemes['session']['name']}={'s' * 43}"}
                if "csrf_header" in named:
                    answer = await client.request(method, path, headers=cookie)
                    assert answer.status_code == 403
