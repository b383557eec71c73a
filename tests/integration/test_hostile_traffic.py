"""Clients that are slow, oversized, broken, gone or malicious, against the port as it is shipped."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry.logs import render_json
from service import metrics
from service.app import Service
from service.bodies import FORM_BYTES_MAX
from stack.postgres import Postgres
from tests.integration.conftest import Owner, Someone, config_of
from tests.integration.public_server import connected, request, served
from tests.signals import Samples, watched_spans

CUT_SECONDS = 0.3
HEAD_BYTES = 16 * 1024
ANONYMOUS = request("GET /problems/not_found")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def port(service: Service, migrated: Postgres) -> AsyncIterator[int]:
    """The port of the service, with less patience than it ships with."""
    config = config_of(
        migrated, head_timeout_seconds=CUT_SECONDS, body_timeout_seconds=CUT_SECONDS
    )
    async with served(service.asgi, config) as opened:
        yield opened


async def until_idle(service: Service) -> None:
    """Wait until no request is under way and nothing is checked out."""
    while service.database.pool.checkedout() or in_flight():
        await asyncio.sleep(0.01)


def in_flight() -> float:
    return sum(
        sample.value
        for gauge in (core_metrics.HTTP_ACTIVE_REQUESTS, metrics.ADMITTED_REQUESTS)
        for family in gauge.collect()
        for sample in family.samples
    )


@pytest.mark.parametrize("sent", [b"", b"GET /pro", ANONYMOUS[:-2]])
async def test_a_head_that_does_not_arrive_is_cut(port: int, sent: bytes) -> None:
    before = Samples()

    async with connected(port) as slow, connected(port) as normal:
        await slow.send(sent)
        await normal.send(ANONYMOUS)

        assert (await normal.answer()).status == 200
        assert await slow.is_closed()

    assert before.grown("connections_aborted_total", why="slow_header") == 1


async def test_a_head_sent_byte_by_byte_is_cut(port: int) -> None:
    """The limit is for the whole head: bytes that drip in do not extend it."""
    before = Samples()

    async with connected(port) as slow:

        async def drip() -> None:
            for byte in ANONYMOUS * 100:
                await slow.send(bytes([byte]))
                await asyncio.sleep(CUT_SECONDS / 10)

        dripping = asyncio.create_task(drip())
        assert await slow.is_closed()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)

    assert before.grown("connections_aborted_total", why="slow_header") == 1


async def test_a_body_that_does_not_arrive_is_cut_and_no_fault_of_ours(
    port: int, service: Service
) -> None:
    before = Samples()

    async with connected(port) as slow:
        await slow.send(request("POST /api/v1/auth/token", FORM, b"username=", length=100))

        assert await slow.is_closed()
    await until_idle(service)

    assert before.grown("connections_aborted_total", why="slow_body") == 1
    assert before.grown("app_failures_total", code="internal_error") == 0
    assert before.grown("unhandled_exceptions_total") == 0
    assert before.grown("http_client_disconnects_total") == 0, "it is we who left"


async def test_an_answer_that_takes_its_time_is_not_cut(
    port: int, owner: Owner, someone: Someone
) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        async with connected(port) as wire:
            await wire.send(request("GET /api/v1/profile", someone.headers))
            answer = await wire.answer()

    assert answer.problem["code"] == "db_lock_timeout"


async def test_an_idle_connection_is_used_again(port: int) -> None:
    async with connected(port) as wire:
        for _ in range(3):
            await wire.send(ANONYMOUS)
            assert (await wire.answer()).status == 200
            # Longer than a head may take: between requests no head is expected.
            await asyncio.sleep(CUT_SECONDS * 1.5)


@pytest.mark.parametrize(
    "head",
    [
        request("GET /", {"X-Large": "x" * HEAD_BYTES}),
        request("GET /", {f"X-{number}": "x" * 200 for number in range(100)}),
        request("GET /" + "x" * HEAD_BYTES),
        b"GET / HTTP/1.1\r\nX-Endless: " + b"x" * (HEAD_BYTES + 1024),
    ],
    ids=["header", "headers", "path", "endless"],
)
async def test_a_head_that_is_too_large_is_refused(port: int, head: bytes) -> None:
    before = Samples()

    async with connected(port) as wire:
        await wire.send(head)
        answer = await wire.answer()
        assert await wire.is_closed()

    assert (answer.status, answer.problem["code"]) == (431, "header_too_large")
    assert answer.problem["instance"].endswith(answer.headers["x-request-id"])
    assert before.grown("connections_aborted_total", why="header_too_large") == 1
    assert before.grown("app_failures_total", code="header_too_large") == 1


async def test_a_head_just_within_the_limit_is_answered(port: int) -> None:
    async with connected(port) as wire:
        await wire.send(request("GET /problems/not_found", {"X-Large": "x" * (HEAD_BYTES - 100)}))

        assert (await wire.answer()).status == 200


async def test_a_body_beside_the_end_of_its_head_is_not_taken_for_head(port: int) -> None:
    whole = request("POST /api/v1/auth/token", FORM, b"x" * FORM_BYTES_MAX)
    end_of_head = whole.index(b"\r\n\r\n") + 3

    async with connected(port) as wire:
        await wire.send(whole[:end_of_head])
        await asyncio.sleep(0.05)  # so that they are two reads
        await wire.send(whole[end_of_head:])

        assert (await wire.answer()).problem["code"] == "validation_failed"


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", request("GET /%zz\xff"), b"{}\r\n\r\n"]
)
async def test_what_is_not_http_is_a_problem(port: int, sent: bytes) -> None:
    async with connected(port) as wire:
        await wire.send(sent)
        answer = await wire.answer()
        assert await wire.is_closed()

    assert (answer.status, answer.problem["status"]) == (400, 400)


LINE = b"GET /problems/not_found HTTP/1.1\r\n"
OLD_LINE = LINE.replace(b"1.1", b"1.0")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (LINE + b"Host: api.test\r\n", 200),
        (LINE + b"host: api.test:8000\r\n", 200),
        (LINE + b"Host: [::1]:8000\r\n", 200),
        (LINE + b"Host:\r\n", 200),
        (OLD_LINE, 200),
        (LINE, 400),
        (LINE + b"X-Host: api.test\r\n", 400),
        (LINE + b"Host: api.test\r\nHost: api.test\r\n", 400),
        (LINE + b"Host: api.test\r\nhOsT: evil.test\r\n", 400),
        (OLD_LINE + b"Host: a\r\nHost: b\r\n", 400),
        (LINE + b"Host: a b\r\n", 400),
        (LINE + b"Host: a/b\r\n", 400),
        (LINE + b"Host: user@a\r\n", 400),
        (LINE + b"Host: a:b\r\n", 400),
        (LINE + b"Host: <b>\r\n", 400),
        (LINE + b"Host: \xff\r\n", 400),
    ],
)
async def test_a_request_says_once_for_whom_it_is(port: int, head: bytes, status: int) -> None:
    async with connected(port) as wire:
        await wire.send(head + b"\r\n")
        answer = await wire.answer()

        assert answer.status == status
        if status == 400:
            assert answer.problem["status"] == 400
            assert await wire.is_closed()


async def test_requests_behind_one_that_fails_get_their_own_answers(
    port: int, someone: Someone
) -> None:
    async with connected(port) as wire:
        await wire.send(
            request("GET /api/v1/profile", {"Authorization": "Bearer x"})
            + request("PUT /api/v1/profile", {"Content-Type": "application/json"}, b"{bad")
            + request("GET /nowhere")
            + request("GET /api/v1/settings", someone.headers)
        )
        answers = [await wire.answer() for _ in range(4)]

    assert [answer.status for answer in answers] == [401, 401, 404, 200]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


async def test_what_is_not_http_does_not_take_the_answer_of_the_request_before(
    port: int, someone: Someone
) -> None:
    async with connected(port) as wire:
        await wire.send(request("GET /api/v1/settings", someone.headers) + b"\x00garbage\r\n\r\n")

        assert (await wire.answer()).status == 200
        assert await wire.is_closed()


@pytest.mark.parametrize("length", [2 * 1024 * 1024, None], ids=["declared", "chunked"])
async def test_a_body_that_is_too_large_is_refused_before_it_has_arrived(
    port: int, someone: Someone, length: int | None
) -> None:
    headers = {"Content-Type": "application/json", **someone.headers}
    async with connected(port) as wire:
        if length is None:
            chunked = {**headers, "Transfer-Encoding": "chunked"}
            await wire.send(request("PUT /api/v1/profile", chunked))
            await wire.send(b"%x\r\n" % 1_100_000 + b"x" * 1_100_000)
        else:
            await wire.send(request("PUT /api/v1/profile", headers, b"{", length=length))
        answer = await wire.answer()

    assert (answer.status, answer.problem["code"]) == (413, "body_too_large")


async def test_a_form_of_many_empty_fields_is_refused_unread(port: int) -> None:
    async with connected(port) as wire:
        await wire.send(request("POST /api/v1/auth/token", FORM, b"&", length=1024 * 1024))
        answer = await wire.answer()

    assert (answer.status, answer.problem["code"]) == (413, "body_too_large")


async def test_a_caller_who_leaves_before_the_answer_is_counted(
    port: int, service: Service, owner: Owner, someone: Someone
) -> None:
    before = Samples()

    with capture_logs() as lines:
        async with owner.transaction():
            await owner.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
            async with connected(port) as wire:
                await wire.send(request("GET /api/v1/profile", someone.headers))
                while not service.database.pool.checkedout():
                    await asyncio.sleep(0.01)
        await until_idle(service)

    assert before.grown("http_client_disconnects_total") == 1
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert line["disconnected"] is True


async def test_callers_who_leave_at_any_moment_leave_nothing_behind(
    port: int, service: Service, owner: Owner, someone: Someone
) -> None:
    chance = random.Random(20)  # noqa: S311 - moments, not secrets
    body = b'{"display_name": "Somebody"}'
    json = {"Content-Type": "application/json", **someone.headers}
    requests = [
        request("GET /api/v1/profile", someone.headers),
        request("PUT /api/v1/profile", json, body),
        request("PUT /api/v1/profile", json, body[:5], length=len(body)),
        request("GET /api/v1/settings", someone.headers) * 3,
    ]

    async def leave_early(number: int) -> None:
        async with connected(port) as wire:
            await wire.send(requests[number % len(requests)])
            await asyncio.sleep(chance.uniform(0, 0.05))

    for _ in range(5):
        await asyncio.gather(*map(leave_early, range(20)))
    await until_idle(service)

    assert service.database.pool.checkedout() == 0
    assert not await owner.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'firedrill-api' AND state LIKE 'idle in transaction%'"
    )
    async with connected(port) as wire:
        await wire.send(request("GET /api/v1/settings", someone.headers))
        assert (await wire.answer()).status == 200


def hostile_request(chance: random.Random) -> bytes:
    """Return a well-formed request in which everything a caller chooses is new."""
    noise = f"{chance.getrandbits(64):016x}"
    return request(
        f"{chance.choice(['GET', 'PURGE', 'DELETE', 'PROPFIND'])} /{noise}?token={noise}",
        {
            "Host": f"{noise}.test",
            "User-Agent": f"{noise}\xff",
            "traceparent": f"00-{noise}{noise}-{noise}-01",
            "tracestate": f"x={noise}",
            "baggage": f"x={noise}",
            "X-Request-Id": noise,
            "X-Client-Version": f"{noise}/1.0",
            "X-Forwarded-For": noise,
        },
    )


def series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in core_metrics.REGISTRY.collect()
        for sample in family.samples
    }


async def test_nothing_that_callers_choose_becomes_a_series_or_a_span_name(
    port: int, service: Service
) -> None:
    chance = random.Random(21)  # noqa: S311 - noise, not secrets
    async with connected(port) as wire:

        async def ask(count: int) -> None:
            for _ in range(count):
                await wire.send(hostile_request(chance))
                assert (await wire.answer()).status == 404

        await ask(40)
        warm, before = series(), Samples()
        with watched_spans(service.tracing) as spans:
            await ask(200)

    assert series() == warm
    assert before.grown("telemetry_errors_total") == 0
    servers = [span for span in spans.ended if span.kind.name == "SERVER"]
    assert len(servers) == 200
    assert len({span.name for span in servers}) <= 4
    assert "token" not in str([span.attributes for span in servers])


async def test_a_line_break_in_whatever_a_caller_sends_does_not_break_the_line(
    port: int,
) -> None:
    forged = "\u0085%0d%0a%E2%80%A8{%22event%22:%22forged%22}"
    with capture_logs() as lines:
        async with connected(port) as wire:
            await wire.send(
                request(
                    f"GET /{forged[1:]}",
                    {
                        "User-Agent": forged,
                        "X-Request-Id": forged,
                        "X-Client-Version": forged,
                        "X-Load-Run": forged,
                        "Authorization": f"Bearer {forged}",
                    },
                )
            )
            await wire.answer()
            await wire.send(request("GET /api/v1/profile", {"Authorization": f"Bearer {forged}"}))
            await wire.answer()

    assert {line["event"] for line in lines} >= {"request_finished", "token_rejected"}
    for line in lines:
        written = render_json(line).decode("ascii").removesuffix("\n")
        assert written.splitlines() == [written]
        assert "forged" not in written
