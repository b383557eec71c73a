import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Receive, Scope, Send

from firedrill_kit.telemetry import server_spans
from firedrill_kit.telemetry.record import RequestRecord
from firedrill_kit.telemetry.traces import span
from tests.unit.telemetry.instruments import (
    answer,
    application,
    attributes_of,
    request,
    stack,
    telemetry,
)

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True, params=["fast", "contrib"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_INSTRUMENTATION", request.param)


async def fine(record: RequestRecord, send: Send) -> None:
    await answer(send)


async def test_one_request_leaves_one_server_span_named_by_the_template() -> None:
    with telemetry() as seen:
        await request(stack(seen, application(fine)))

        (server,) = seen.ended
        assert server.kind is SpanKind.SERVER
        assert server.name == "GET /things/{thing_id}"
        attributes = attributes_of(server)
        assert attributes["http.route"] == "/things/{thing_id}"
        assert attributes["http.response.status_code"] == 200
        assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", 8000)
        assert attributes["firedrill.trace.keep"] is False
        assert server.status.status_code is StatusCode.UNSET


async def test_a_5xx_is_an_error_named_by_its_code() -> None:
    with telemetry() as seen:

        async def failing(record: RequestRecord, send: Send) -> None:
            record.code, record.blame = "db_timeout", "dependency"
            await answer(send, 504)

        await request(stack(seen, application(failing)))

        (server,) = seen.ended
        attributes = attributes_of(server)
        assert server.status.status_code is StatusCode.ERROR
        assert attributes["error.type"] == attributes["firedrill.failure.code"] == "db_timeout"
        assert attributes["firedrill.trace.keep"] is True


async def test_a_422_is_no_error_but_says_which_fields() -> None:
    with telemetry() as seen:

        async def invalid(record: RequestRecord, send: Send) -> None:
            record.code, record.blame = "validation_failed", "caller"
            record.validation_errors = [{"loc": "body.name", "type": "missing", "msg": "secret"}]
            await answer(send, 422)

        await request(stack(seen, application(invalid)))

        (server,) = seen.ended
        (event,) = server.events
        assert server.status.status_code is StatusCode.UNSET
        assert attributes_of(server)["firedrill.failure.code"] == "validation_failed"
        assert event.name == "firedrill.validation_failed"
        assert dict(event.attributes or {}) == {
            "firedrill.validation.field": "body.name",
            "firedrill.validation.error_type": "missing",
        }


async def test_the_span_never_sees_query_address_or_credentials() -> None:
    with telemetry() as seen:
        received: list[Scope] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            received.append(scope)
            await answer(send)

        headers = [
            (b"authorization", b"Bearer s3cr3t-bearer"),
            (b"cookie", b"session=s3cr3t-cookie"),
            (b"host", b"s3cr3t-host"),
            (b"user-agent", b"agent " * 1000),
        ]
        await request(
            stack(seen, app),
            query=b"token=s3cr3t-query",
            headers=headers,
            client=("192.0.2.77", 4),
        )

        (server,) = seen.ended
        text = server.to_json()
        assert "s3cr3t" not in text
        assert "192.0.2.77" not in text
        assert len(attributes_of(server)["user_agent.original"]) == 256
        assert received[0]["query_string"] == b"token=s3cr3t-query"
        assert received[0]["headers"] == headers
        assert received[0]["client"] == ("192.0.2.77", 4)


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_a_trusted_traceparent_is_continued(host: str) -> None:
    with telemetry() as seen:
        headers = [(b"traceparent", PARENT)]
        await request(stack(seen, application(fine)), headers=headers, client=(host, 1))

        (server,) = seen.ended
        assert server.context is not None
        assert server.parent is not None
        assert f"{server.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize("client", [("192.0.2.1", 1), ("not-an-address", 1), None])
async def test_an_untrusted_traceparent_is_only_linked(client: tuple[str, int] | None) -> None:
    with telemetry() as seen:
        headers = [(b"traceparent", PARENT), (b"tracestate", b"v=s3cr3t"), (b"baggage", b"k=v")]
        await request(stack(seen, application(fine)), headers=headers, client=client)

        (server,) = seen.ended
        (link,) = server.links
        assert server.parent is None
        assert f"{link.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert "s3cr3t" not in server.to_json()


OTHER_PARENT = PARENT.replace(b"0af7", b"1bf8")


@pytest.mark.parametrize("client", [("127.0.0.1", 1), ("192.0.2.1", 1)])
@pytest.mark.parametrize(
    "parents",
    [
        [PARENT, OTHER_PARENT],
        [PARENT, PARENT],
        [PARENT, b""],
        [PARENT + b", " + OTHER_PARENT],
        [b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"],
        [b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01"],
        [b"ff" + PARENT[2:]],
        [PARENT + b"-extra"],
        [PARENT.upper()],
        [PARENT[:-1]],
        [b""],
    ],
)
async def test_a_parent_that_is_in_doubt_begins_a_new_trace(
    parents: list[bytes], client: tuple[str, int]
) -> None:
    with telemetry() as seen:
        headers = [(b"traceparent", parent) for parent in parents]
        await request(stack(seen, application(fine)), headers=headers, client=client)

        (server,) = seen.ended
        assert server.context is not None
        assert server.context.is_valid
        assert server.parent is None
        assert server.links == ()
        assert f"{server.context.trace_id:032x}" != "0af7651916cd43dd8448eb211c80319c"


async def test_an_unsampled_or_malformed_traceparent_does_not_hide_a_request() -> None:
    with telemetry() as seen:
        app = stack(seen, application(fine))
        for parent in (PARENT[:-2] + b"00", b"00-zz-zz-01", b"\xff\xfe", b""):
            await request(app, headers=[(b"traceparent", parent)])

        assert len(seen.ended) == 4


async def test_a_request_inside_the_context_of_another_is_its_own_server_span() -> None:
    """As with pipelined requests: the second starts in the context of the first."""
    with telemetry() as seen:
        with span("schema.check"):
            await request(stack(seen, application(fine)))

        server, _outer = seen.ended
        assert server.kind is SpanKind.SERVER
        assert server.parent is None


async def test_a_request_is_answered_when_the_tracing_middleware_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*arguments: object) -> tuple[str, dict[str, str]]:
        raise RuntimeError

    monkeypatch.setenv("TELEMETRY_INSTRUMENTATION", "fast")
    monkeypatch.setattr(server_spans.ServerSpans, "_start", broken)
    with telemetry() as seen:
        sent = await request(stack(seen, application(fine)))

        assert sent[0]["status"] == 200
        assert seen.ended == []
        assert not trace.get_current_span().get_span_context().is_valid


async def test_an_exception_of_the_application_is_not_answered_twice() -> None:
    with telemetry() as seen:
        calls: list[int] = []

        async def failing(record: RequestRecord, send: Send) -> None:
            calls.append(1)
            raise KeyError

        with pytest.raises(KeyError):
            await request(stack(seen, application(failing)))

        assert calls == [1]
