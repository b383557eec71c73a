"""Secrets of every kind, planted wherever a line of code could put one, do not leave the collector."""

import json
import re
import secrets
import time
from collections.abc import Iterator

import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.integration.collector_process import (
    CONFIG,
    Collector,
    attributes_of,
    running_collector,
)
from tests.stack.waiting import until

PATTERNS = yaml.safe_load(CONFIG.read_text())["processors"]["redaction"]["blocked_values"]

# kind: (a text with the secret in it, the secret)
SECRETS = {
    "json web token": (
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl",
        "eyJzdWIiOiI3In0",
    ),
    "authorization header": ("Authorization: Bearer mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
    "session cookie": ("cookie __Host-session=c2Vzc2lvbi1pZC00Mg; Path=/", "c2Vzc2lvbi1pZC00Mg"),
    "e-mail address": ("caller someone.else@mail.example.org refused", "someone.else@mail"),
    "database address": ("postgresql://app:hunter2@127.0.0.1:5432/app is gone", "hunter2"),
    "password": ("login failed: password=correct-horse", "correct-horse"),
    "google access token": ("sent ya29.a0AfH6SMBx-1234567890", "a0AfH6SMBx"),
    "google refresh token": ("grant 1//0gAbCdEfGhIjKlMnOpQrSt", "0gAbCdEfGhIjKlMnOpQrSt"),
    "client secret": ("client GOCSPX-AbCdEfGhIjKl", "AbCdEfGhIjKl"),
    "query string": ("GET /calendar/connected?code=4-0AX4XfWh&state=9", "4-0AX4XfWh"),
    "key of an ai model": ("model key sk-proj-Ab12Cd34Ef56Gh78", "Ab12Cd34Ef56Gh78"),
    "private key": ("-----BEGIN PRIVATE KEY----- MIIEvQIBADANBg", "MIIEvQIBADANBg"),
    "aws access key": ("denied to AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    "password hash": (
        "hash $argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub",
        "RdescudvJCsgt3ub",
    ),
}


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with running_collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


def planted_span(text: str) -> Span:
    """A kept span with the text in each place that holds text."""
    now = time.time_ns()
    return Span(
        trace_id=secrets.token_bytes(16),
        span_id=secrets.token_bytes(8),
        name=f"GET {text}",
        trace_state=f"vendor={text}",
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=now,
        end_time_unix_nano=now,
        status=Status(code=Status.STATUS_CODE_ERROR, message=text),
        attributes=attributes_of(
            {
                "firedrill.trace.keep": True,
                "firedrill.note": text,
                "url.path": text,
                "http.route": text,
                "error.type": text,
                "db.query.text": f"SELECT 1 WHERE note = '{text}'",
                "http.request.header.cookie": text,
                text: "as a key",
            }
        ),
        events=[
            Span.Event(
                name=f"failed: {text}",
                attributes=attributes_of(
                    {"firedrill.validation.field": text, "exception.message": text}
                ),
            )
        ],
    )


def lines(text: str, trace_id: str) -> list[str]:
    """The text in a line's message, as a value, nested, and in a line that is no JSON."""
    line = {"event": text, "trace_id": trace_id, "caller": text, "nested": {"detail": [text]}}
    read = {"service.name": text, "level": text, "timestamp": text, "span_id": text}
    return [json.dumps(line), json.dumps(read), f"Traceback: {text}"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_has_a_secret_that_it_alone_masks(pattern: str) -> None:
    def finding(text: str) -> list[str]:
        return [one for one in PATTERNS if re.search(one, text)]

    assert [pattern] in [finding(text) for text, _ in SECRETS.values()]


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_leaves_neither_in_spans_nor_in_lines_nor_in_metrics(
    collector: Collector, kind: str
) -> None:
    text, secret = SECRETS[kind]
    span = planted_span(text)
    last = secrets.token_hex(16)

    collector.send([span])
    with (collector.logs / "service-1.jsonl").open("a") as log:
        for line in [*lines(text, span.trace_id.hex()), json.dumps({"event": "end", "id": last})]:
            log.write(line + "\n")
    until(lambda: span.trace_id in {one.trace_id for one in collector.back_end.spans}, "the span")
    until(
        lambda: any(last in one.body.string_value for one in collector.back_end.records),
        "the last line",
    )

    sent = [*collector.back_end.resource_spans, *collector.back_end.resource_logs]
    assert [one for one in sent if secret.encode() in one.SerializeToString()] == []
    assert secret not in collector.exposition("COLLECTOR_SPAN_METRICS")
    bodies = [
        one.body.string_value
        for one in collector.back_end.records
        if one.trace_id == span.trace_id
    ]
    assert [json.loads(body)["trace_id"] for body in bodies] == [span.trace_id.hex()]


def test_fields_named_like_secrets_are_masked_whatever_they_hold(collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    fields = {
        "user_password": 'pa"ss\\word',
        "refresh_token": "x",
        "rows": 3,
        "trace_id": trace_id,
    }
    with (collector.logs / "service-1.jsonl").open("a") as log:
        log.write(json.dumps(fields) + "\n")

    found = until(
        lambda: [one for one in collector.back_end.records if one.trace_id.hex() == trace_id],
        "the line",
    )

    assert json.loads(found[0].body.string_value) == {
        "user_password": "****",
        "refresh_token": "****",
        "rows": 3,
        "trace_id": trace_id,
    }


def test_what_is_no_secret_stays_as_it_is(collector: Collector) -> None:
    values: dict[str, str | bool | int] = {
        "firedrill.trace.keep": True,
        "firedrill.failure.code": "provider_timeout",
        "url.path": "/api/v1/calendar/sync/auto",
        "http.route": "/api/v1/calendar/sync/auto",
        "db.query.text": "SELECT id FROM accounts WHERE email = $1 AND status <> 'x'",
        "exception.type": "TimeoutError",
        "firedrill.rows": 4_111_111_111_111_111,
    }
    span = planted_span("")
    span.name = "GET /api/v1/calendar/events"
    span.events[0].name = "firedrill.validation_failed"
    del span.attributes[:]
    span.attributes.extend(attributes_of(values))
    span.status.message = "provider_timeout"

    collector.send([span])

    found = until(
        lambda: [one for one in collector.back_end.spans if one.trace_id == span.trace_id],
        "the span",
    )
    expected = values | {
        "db.query.text": "SELECT id FROM accounts WHERE email = $1 AND status <> ?"
    }
    key = lambda item: item.key  # noqa: E731 - used twice, here
    assert sorted(found[0].attributes, key=key) == sorted(attributes_of(expected), key=key)
    assert found[0].status.message == "provider_timeout"
    assert found[0].name == span.name
    assert [(one.name, list(one.attributes)) for one in found[0].events] == [
        ("firedrill.validation_failed", attributes_of({"firedrill.validation.field": ""}))
    ]
