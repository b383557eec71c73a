import uuid
from typing import Any

import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from starlette.types import Receive, Scope, Send

from firedrill_kit.telemetry import guard
from firedrill_kit.telemetry.http import Edge, mark_disconnected
from firedrill_kit.telemetry.keep import Keep
from firedrill_kit.telemetry.record import RequestRecord, current
from tests.unit.telemetry.instruments import (
    Instruments,
    answer,
    application,
    request,
    stack,
    telemetry,
)


async def fine(record: RequestRecord, send: Send) -> None:
    await answer(send)


async def failing(record: RequestRecord, send: Send) -> None:
    record.code, record.blame, record.cause = "db_timeout", "dependency", "timeout"
    await answer(send, 504)


async def test_a_request_is_observed_once_by_method_template_and_status() -> None:
    with telemetry() as seen:
        await request(stack(seen, application(fine)))

        value = seen.instruments.value
        labels = {"method": "GET", "route": "/things/{thing_id}"}
        assert value("duration_seconds_count", **labels, status="200") == 1
        assert value("active", **labels) == 0


async def test_a_request_is_active_while_it_runs() -> None:
    with telemetry() as seen:
        active: list[float] = []

        async def looking(record: RequestRecord, send: Send) -> None:
            active.append(
                seen.instruments.value("active", method="GET", route="/things/{thing_id}")
            )
            await answer(send)

        await request(stack(seen, application(looking)))

        assert active == [1]


async def test_the_canonical_line_has_every_field() -> None:
    with telemetry() as seen:

        async def working(record: RequestRecord, send: Send) -> None:
            record.caller, record.token_format = "c4ll3r", "enhanced"
            record.pool_wait_seconds, record.db_seconds, record.db_statements = 0.001, 0.02, 3
            record.upstream_seconds, record.degraded = 0.5, ("ai_models",)
            record.fields["kid_known"] = True
            await answer(send)

        headers = [
            (b"x-client-version", b"web/1.8.3"),
            (b"x-load-run", b"steady-1"),
            (b"x-request-id", b"abc-1"),
        ]
        sent = await request(stack(seen, application(working)), headers=headers)

        line = seen.line("request_finished")
        (span,) = seen.ended
        assert span.context is not None
        request_id = dict(sent[0]["headers"])[b"x-request-id"].decode()
        expected = {
            "level": "info",
            "service.name": "api",
            "service.version": "1.2.3",
            "service.instance.id": "127.0.0.1:8000",
            "trace_id": f"{span.context.trace_id:032x}",
            "span_id": f"{span.context.span_id:016x}",
            "firedrill.request_id": request_id,
            "http.route": "/things/{thing_id}",
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "firedrill.failure.code": "",
            "firedrill.caller": "c4ll3r",
            "firedrill.token_format": "enhanced",
            "firedrill.client_version": "web/1.8",
            "firedrill.pool_wait_ms": 1.0,
            "firedrill.db_ms": 20.0,
            "firedrill.db_statements": 3,
            "firedrill.upstream_ms": 500.0,
            "firedrill.degraded": ["ai_models"],
            "firedrill.load_run": "steady-1",
            "firedrill.client_request_id": "abc-1",
            "firedrill.kid_known": True,
        }
        assert {key: line[key] for key in expected} == expected
        assert uuid.UUID(request_id).version == 7
        assert line["firedrill.duration_ms"] > 0


@pytest.mark.parametrize(
    ("blame", "level"),
    [("", "info"), ("caller", "info"), ("dependency", "warning"), ("us", "error")],
)
async def test_the_level_follows_the_blame(blame: str, level: str) -> None:
    with telemetry() as seen:

        async def blaming(record: RequestRecord, send: Send) -> None:
            record.blame = blame
            await answer(send)

        await request(stack(seen, application(blaming)))

        assert seen.line("request_finished")["level"] == level


async def test_a_request_that_dies_without_an_answer_is_a_500_everywhere() -> None:
    with telemetry() as seen:

        async def dying(record: RequestRecord, send: Send) -> None:
            raise KeyError

        with pytest.raises(KeyError):
            await request(stack(seen, application(dying)))

        labels = {"method": "GET", "route": "/things/{thing_id}"}
        assert seen.instruments.value("duration_seconds_count", **labels, status="500") == 1
        assert seen.instruments.value("active", **labels) == 0
        assert seen.line("request_finished")["http.response.status_code"] == 500


async def test_only_a_kept_trace_is_named_by_an_exemplar() -> None:
    with telemetry() as seen:
        await request(stack(seen, application(failing)))
        await request(stack(seen, application(fine)))

        text = generate_latest(seen.instruments.registry).decode()  # type: ignore[no-untyped-call]
        kept = [span for span in seen.ended if (span.attributes or {})["firedrill.trace.keep"]]
        assert len(seen.ended) == 2
        assert len(kept) == 1
        assert kept[0].context is not None
        assert text.count("trace_id=") == 1
        assert f'trace_id="{kept[0].context.trace_id:032x}"' in text


async def test_methods_and_ids_from_callers_are_bounded() -> None:
    with telemetry() as seen:
        app = stack(seen, application(fine))
        for number in range(50):
            headers = [
                (b"x-load-run", b"bad run\n"),
                (b"x-request-id", b'"\r\n'),
                (b"x-client-version", f"v{number}/1.{number}".encode()),
            ]
            await request(app, method=f"EVIL{number}", headers=headers)

        finished = seen.lines()
        assert {line["http.request.method"] for line in finished} == {"_OTHER"}
        assert not any({"load_run", "client_request_id"} & line.keys() for line in finished)
        assert {span.name for span in seen.ended} == {"HTTP /things/{thing_id}"}
        samples = [
            sample
            for metric in seen.instruments.registry.collect()
            for sample in metric.samples
            if sample.name in {"duration_seconds_count", "clients_total"}
        ]
        assert len(samples) == 1


async def test_only_authenticated_callers_and_the_prober_count_by_client_version() -> None:
    with telemetry() as seen:

        async def known(record: RequestRecord, send: Send) -> None:
            record.caller = "c4ll3r"
            await answer(send)

        version = (b"x-client-version", b"web/1.9")
        await request(stack(seen, application(fine)), headers=[version])
        await request(stack(seen, application(known)), headers=[version])
        await request(stack(seen, application(fine)), headers=[(b"x-client-version", b"prober")])

        labels = {"route": "/things/{thing_id}", "status": "200"}
        value = seen.instruments.value
        assert value("clients_total", **labels, version="web/1.9") == 1
        assert value("clients_total", **labels, version="prober") == 1


async def test_shed_requests_are_counted_and_sampled_in_the_log() -> None:
    with telemetry() as seen:

        async def shed(record: RequestRecord, send: Send) -> None:
            record.code, record.blame, record.shed = "overloaded", "us", True
            await answer(send, 503)

        app = stack(seen, application(shed))
        for _ in range(20):
            await request(app)

        count = seen.instruments.value(
            "duration_seconds_count", method="GET", route="/things/{thing_id}", status="503"
        )
        assert count == 20
        (sample,) = seen.lines()
        assert (sample["event"], sample["firedrill.shed"], sample["firedrill.failure.code"]) == (
            "shed_sample",
            1,
            "overloaded",
        )


async def test_a_caller_who_left_is_counted() -> None:
    with telemetry() as seen:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            mark_disconnected(scope)
            await answer(send)

        await request(stack(seen, app))

        assert seen.instruments.value("disconnects_total") == 1
        assert seen.line("request_finished")["firedrill.disconnected"] is True


async def test_the_record_is_current_inside_and_only_inside() -> None:
    with telemetry() as seen:
        inside: list[RequestRecord | None] = []

        async def looking(record: RequestRecord, send: Send) -> None:
            inside.append(current())
            assert record is current()
            await answer(send)

        await request(stack(seen, application(looking)))

        assert inside != [None]
        assert current() is None


async def test_a_bug_of_the_telemetry_is_counted_and_the_request_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[tuple[str, str]] = []
    monkeypatch.setattr(
        guard, "_report", lambda where, error: reported.append((where, type(error).__name__))
    )
    instruments = Instruments()

    def broken(*arguments: Any) -> Any:
        raise RuntimeError

    edge = Edge(
        application(fine),
        resolve=broken,
        scheme="http",
        duration=instruments.duration,
        active=instruments.active,
        client_requests=instruments.clients,
        callers=instruments.callers,
        disconnects=instruments.disconnects,
        keep=Keep(base_ratio=0),
    )
    monkeypatch.setattr(edge, "_finish", broken)

    sent = await request(edge)

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert reported == [("http", "RuntimeError"), ("http", "RuntimeError")]


async def test_other_scopes_pass_through() -> None:
    with telemetry() as seen:
        passed: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            passed.append(scope["type"])

        async def nothing(*arguments: Any) -> Any:
            return None

        await stack(seen, app)({"type": "lifespan"}, nothing, nothing)

        assert passed == ["lifespan"]
        assert seen.ended == []
