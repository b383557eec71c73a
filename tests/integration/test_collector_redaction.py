"""Secrets of every kind, planted wherever a line of code could put one, do not leave the collector."""

import json
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from stack.waiting import until
from tests.integration.collector_process import (
    CONFIG,
    Collector,
    attributes,
    attributes_of,
    running_collector,
)

PATTERNS = yaml.safe_load(CONFIG.read_text())["processors"]["redaction"]["blocked_values"]

# kind: (a text with the secret in it, the secret)
SECRETS = {
    "json web token": (
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl",
        "eyJzdWIiOiI3In0",
    ),
    "authorization header": ("sent with Bearer mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
    "session cookie": ("cookie __Host-session=c2Vzc2lvbi1pZC00Mg; Path=/", "c2Vzc2lvbi1pZC00Mg"),
    "e-mail address": ("caller someone.else@mail.example.org refused", "someone.else@mail"),
    "database address": ("postgresql://app:hunter2@127.0.0.1:5432/app is gone", "hunter2"),
    "password": ("login failed: password=correct-horse", "correct-horse"),
    "quoted assignment": ('connect(password="correct-horse")', "correct-horse"),
    "setting": ("login failed, password: correct-horse", "correct-horse"),
    "cookie header": ("Cookie : theme=dark; id=c2Vzc2lvbi1pZC00Mg", "c2Vzc2lvbi1pZC00Mg"),
    "field of a body": ('{"user_password": "hunter2", "rows": 1}', "hunter2"),
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


def planted_request(text: str, *, events: int) -> ExportTraceServiceRequest:
    """One kept span with the text in each place that holds text, but the links: see the configuration."""
    now = time.time_ns()
    event = Span.Event(
        name=f"failed: {text}",
        attributes=attributes_of({"firedrill.validation.field": text, "exception.message": text}),
    )
    span = Span(
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
                f"firedrill.{text}": "as part of a key",
                "url.path": text,
                "http.route": text,
                "error.type": text,
                "db.query.text": f"SELECT 1 WHERE note = '{text}'",
                "enduser.id": text,
                "http.request.header.cookie": text,
                text: "as a key",
            }
        ),
        events=[event] * events,
    )
    listed = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text)]))
    span.attributes.append(KeyValue(key="firedrill.list", value=listed))
    scope = InstrumentationScope(
        name=text, version=text, attributes=attributes_of({"note": text, "firedrill.note": text})
    )
    resource = Resource(
        attributes=attributes_of({"service.name": text, "host.name": text, text: "as a key"})
    )
    spans = ScopeSpans(scope=scope, schema_url=f"https://example.com/?{text}", spans=[span])
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(resource=resource, schema_url=spans.schema_url, scope_spans=[spans])
        ]
    )


def only_span(request: ExportTraceServiceRequest) -> Span:
    ((span,),) = [scope.spans for one in request.resource_spans for scope in one.scope_spans]
    return span


def sent(collector: Collector, request: ExportTraceServiceRequest) -> Span:
    """The one span of the request, as it arrived."""
    trace_id = only_span(request).trace_id
    assert collector.post("/v1/traces", request.SerializeToString()) == 200
    (span,) = until(
        lambda: [one for one in collector.back_end.spans if one.trace_id == trace_id], "the span"
    )
    return span


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


@pytest.mark.parametrize("events", [0, 1, 3])
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_leaves_neither_in_spans_nor_in_lines_nor_in_metrics(
    collector: Collector, kind: str, events: int
) -> None:
    text, secret = SECRETS[kind]
    request = planted_request(text, events=events)
    last = secrets.token_hex(16)

    span = sent(collector, request)
    with (collector.logs / "service-1.jsonl").open("a") as log:
        for line in [*lines(text, span.trace_id.hex()), json.dumps({"event": "end", "id": last})]:
            log.write(line + "\n")
    until(
        lambda: any(last in one.body.string_value for one in collector.back_end.records),
        "the last line",
    )

    assert len(span.events) == events
    arrived = [*collector.back_end.resource_spans, *collector.back_end.resource_logs]
    assert [one for one in arrived if secret.encode() in one.SerializeToString()] == []
    assert secret not in collector.exposition("COLLECTOR_SPAN_METRICS")
    bodies = [
        one.body.string_value
        for one in collector.back_end.records
        if one.trace_id == span.trace_id
    ]
    assert [json.loads(body)["trace_id"] for body in bodies] == [span.trace_id.hex()]


@pytest.mark.parametrize("events", [0, 1])
def test_what_is_on_no_list_goes_though_it_looks_like_nothing(
    collector: Collector, events: int
) -> None:
    """A word that no pattern knows, in each place where nothing of the kind belongs."""
    request = planted_request("", events=events)
    span, word = only_span(request), "Hunter two"
    span.name = "GET /api/v1/profile"
    span.trace_state = f"vendor={word}"
    span.status.message = word
    keys = (
        *("enduser.id", "http.request.header.cookie", "http.request.body", "url.query", "code"),
        *("firedrill", "firedrill.Password", "firedrill.a b", "xfiredrill.note", "http.route.x"),
    )
    span.attributes.extend(attributes_of(dict.fromkeys(keys, word)))
    for event in span.events:
        event.attributes.extend(attributes_of({"exception.stacktrace": word, "body": word}))
    (resource,) = request.resource_spans
    resource.resource.attributes.extend(attributes_of({"process.command_args": word}))
    resource.scope_spans[0].scope.attributes.extend(attributes_of({"owner": word}))

    sent(collector, request)

    arrived = [*collector.back_end.resource_spans]
    assert [one for one in arrived if word.encode() in one.SerializeToString()] == []


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 'a', id FROM t WHERE b = $1", "SELECT ?, id FROM t WHERE b = $1"),
        ("WHERE name = 'it''s' AND x", "WHERE name = ? AND x"),
        (r"WHERE name = E'it\'s hunter2' AND x", "WHERE name = ? AND x"),
        ("WHERE name = 'cut off in the", "WHERE name = ?"),
        ("DO $body$ hunter2 $body$", "DO ?"),
        (
            "WHERE pin = 1234 AND rate > 0.5 AND id IN (1,2)",
            "WHERE pin = ? AND rate > ? AND id IN (?,?)",
        ),
        ("SELECT t1.x2 /* by hunter2 */ FROM t1 -- hunter2", "SELECT t1.x2 ? FROM t1 ?"),
    ],
)
@pytest.mark.parametrize("events", [0, 1])
def test_literals_of_a_statement_stay_behind(
    collector: Collector, sql: str, expected: str, events: int
) -> None:
    request = planted_request("", events=events)
    span = only_span(request)
    del span.attributes[:]
    values: dict[str, str | bool | int] = {"firedrill.trace.keep": True, "db.query.text": sql}
    span.attributes.extend(attributes_of(values))
    for event in span.events:
        event.attributes.extend(attributes_of({"db.query.text": sql}))

    arrived = sent(collector, request)

    holders: list[Span | Span.Event] = [arrived, *arrived.events]
    for holder in holders:
        assert attributes(holder.attributes)["db.query.text"] == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            {"user_password": 'pa"ss\\word', "refresh_token": "x", "rows": 3},
            {"user_password": "****", "refresh_token": "****", "rows": 3},
        ),
        (
            {"password": 1234, "cookie": ["a", "b"], "secret": {"a": "b"}, "end": 1},
            {"password": None, "cookie": None, "secret": None, "end": 1},
        ),
        (
            {"event": json.dumps({"Api-Key": "hunter2", "b": 1}), "end": 1},
            {"event": '{"Api-Key": "****', "end": 1},
        ),
        (
            {"event": str({"password": "it's hunter2"}), "end": 1},
            {"event": "{'password': \"****", "end": 1},
        ),
        ({"event": "{'password': 'hunter2'}"}, {"event": "{'password': '****'}"}),
    ],
)
def test_fields_named_like_secrets_are_masked_whatever_they_hold(
    collector: Collector, line: dict[str, Any], expected: dict[str, Any]
) -> None:
    trace_id = secrets.token_hex(16)
    with (collector.logs / "service-1.jsonl").open("a") as log:
        log.write(json.dumps(line | {"trace_id": trace_id}) + "\n")

    found = until(
        lambda: [one for one in collector.back_end.records if one.trace_id.hex() == trace_id],
        "the line",
    )

    assert json.loads(found[0].body.string_value) == expected | {"trace_id": trace_id}


def test_a_log_record_of_another_program_keeps_its_text_alone(collector: Collector) -> None:
    """Sent by OTLP, with what this project's own lines do not have."""
    word, end = "Hunter two", secrets.token_hex(8)
    fields = KeyValueList(values=attributes_of({"password": word, "event": end}))
    record = LogRecord(
        body=AnyValue(kvlist_value=fields),
        event_name=word,
        severity_text=f"{word}!",
        attributes=attributes_of({"enduser.id": word}),
    )
    raw = LogRecord(body=AnyValue(bytes_value=word.encode()))
    scope = InstrumentationScope(name="other", attributes=attributes_of({"owner": word}))
    resource = Resource(attributes=attributes_of({"service.name": "other", "host.name": word}))
    request = ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=resource,
                scope_logs=[ScopeLogs(scope=scope, log_records=[LogRecord(), raw, record])],
            )
        ]
    )

    assert collector.post("/v1/logs", request.SerializeToString()) == 200

    until(
        lambda: [one for one in collector.back_end.records if end in one.body.string_value],
        "the record",
    )
    arrived = [one.SerializeToString() for one in collector.back_end.resource_logs]
    assert [one for one in arrived if word.encode() in one] == []


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
    request = planted_request("", events=1)
    span = only_span(request)
    span.name = "GET /api/v1/calendar/events"
    span.events[0].name = "firedrill.validation_failed"
    del span.attributes[:]
    span.attributes.extend(attributes_of(values))
    span.status.message = "provider_timeout"

    arrived = sent(collector, request)

    expected = values | {
        "db.query.text": "SELECT id FROM accounts WHERE email = $1 AND status <> ?"
    }
    key = lambda item: item.key  # noqa: E731 - used twice, here
    assert sorted(arrived.attributes, key=key) == sorted(attributes_of(expected), key=key)
    assert arrived.status.message == "provider_timeout"
    assert arrived.name == span.name
    assert [(one.name, list(one.attributes)) for one in arrived.events] == [
        ("firedrill.validation_failed", attributes_of({"firedrill.validation.field": ""}))
    ]
