"""Bodies that do not arrive: what waits for them is their caller's, never a place at admission."""

import asyncio

import pytest
from structlog.testing import capture_logs

from firedrill_kit.resilience.arrivals import OPEN_REQUEST_BYTES
from service.app import Service
from tests.integration.conftest import Someone
from tests.integration.fairness.conftest import (
    FORM,
    JSON,
    PROFILE,
    SIGN_IN,
    Crowd,
    Misbehave,
    Quiet,
    all_of,
    signs_in,
    writes,
)
from tests.integration.public_server import Wire, connected, request
from tests.signals import Samples


async def silent(wire: Wire) -> None:
    await wire.send(request(f"POST {SIGN_IN}", FORM, b"username=", length=100))


async def expectant(wire: Wire) -> None:
    await wire.send(request(f"POST {SIGN_IN}", {**FORM, "Expect": "100-continue"}, length=100))
    assert (await wire.answer()).status == 100


async def endless(wire: Wire) -> None:
    await wire.send(request(f"POST {SIGN_IN}", {**FORM, "Transfer-Encoding": "chunked"}))
    await wire.send(b"1\r\nu\r\n")


async def dripping(wire: Wire) -> None:
    await silent(wire)
    for _ in range(90):
        await wire.send(b"x")
        await asyncio.sleep(0.1)


async def impatient(wire: Wire) -> None:
    """Leaves in the middle of its body, and comes again."""
    await silent(wire)
    await asyncio.sleep(0.1)
    wire.abort()


@pytest.mark.parametrize("size", [4, 40])
@pytest.mark.parametrize("misbehave", [silent, expectant, endless, dripping, impatient])
async def test_sign_ins_pass_those_whose_bodies_do_not_arrive(
    port: int,
    service: Service,
    honest: list[Someone],
    quiet: Quiet,
    misbehave: Misbehave,
    size: int,
) -> None:
    async with Crowd(port, misbehave, size) as crowd:
        while service.arrivals.held_bytes < size / 2 * OPEN_REQUEST_BYTES:
            await asyncio.sleep(0.01)
        statuses = await all_of(signs_in(port, someone) for someone in honest)

    assert statuses == {200}
    assert crowd.statuses <= {408}
    quiet.check()
    print(f"{len(honest)} of {len(honest)} sign-ins served beside {size} {misbehave.__name__}")  # noqa: T201 - what `-s` is for


async def test_writes_pass_the_slow_ones_of_one_account(
    port: int, service: Service, honest: list[Someone], greedy: Someone, quiet: Quiet
) -> None:
    async def slow(wire: Wire) -> None:
        await wire.send(request(f"PUT {PROFILE}", {**JSON, **greedy.headers}, b"{", length=50))

    async with Crowd(port, slow, 40):
        while service.arrivals.held_bytes < 40 * OPEN_REQUEST_BYTES:
            await asyncio.sleep(0.01)
        statuses = await all_of(writes(port, someone) for someone in honest)

    assert statuses == {200}
    quiet.check()


async def test_large_bodies_that_do_not_end_hold_no_more_than_one_caller_may(
    port: int, service: Service, honest: list[Someone], greedy: Someone, quiet: Quiet
) -> None:
    config = service.config
    nearly = config.body_bytes_max - 1024
    most = 0

    async def large(wire: Wire) -> None:
        head = request(f"PUT {PROFILE}", {**JSON, **greedy.headers}, length=config.body_bytes_max)
        await wire.send(head)
        for _ in range(nearly // 65536):
            await wire.send(b"x" * 65536)

    before = Samples()
    async with Crowd(port, large, 20):
        while not before.grown("app_failures_total", code="slow_body"):
            most = max(most, service.arrivals.held_bytes)
            await asyncio.sleep(0.001)
        assert await all_of(writes(port, someone) for someone in honest) == {200}

    assert nearly < most <= config.arriving_bytes_of_caller_max
    quiet.check()


async def test_a_body_that_drips_is_its_callers_doing(
    port: int, service: Service, greedy: Someone, quiet: Quiet
) -> None:
    """Spread over longer than the deadline of a write, whatever that is beside the body's own time."""
    body = b'{"display_name": "' + b"x" * 64 + b'"}'
    head = request(f"PUT {PROFILE}", {**JSON, **greedy.headers}, length=len(body))
    with capture_logs() as lines:
        async with connected(port) as wire:
            await wire.send(head)

            async def drip() -> None:
                for byte in body[:-1]:
                    await wire.send(bytes([byte]))
                    await asyncio.sleep(4 / len(body))

            sending = asyncio.create_task(drip())
            answer = await wire.answer()
            assert await wire.is_closed()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    assert (answer.status, answer.problem["code"]) == (408, "slow_body")
    (line,) = [line for line in lines if line["event"] == "request_finished"]
    assert (line["log_level"], line["code"]) == ("info", "slow_body")
    assert line["body_ms"] > service.config.body_timeout_seconds * 900
    assert line["duration_ms"] < line["body_ms"], "the caller's time is not ours"
    quiet.check()


async def test_a_body_that_takes_its_time_leaves_the_work_all_of_its_own(
    port: int, greedy: Someone, quiet: Quiet
) -> None:
    body = b'{"display_name": "Somebody"}'
    before = Samples()
    async with connected(port) as wire:
        head = request(f"PUT {PROFILE}", {**JSON, **greedy.headers}, body[:5], length=len(body))
        await wire.send(head)
        await asyncio.sleep(0.6)
        await wire.send(body[5:])
        assert (await wire.answer()).status == 200

    # A line that is slow is not a slow answer: the budget for those is about us.
    took = before.grown("http_server_request_duration_seconds_sum", http_route=PROFILE)
    assert took < 0.6 + 0.5
    quiet.check()
