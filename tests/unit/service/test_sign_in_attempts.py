import pytest

from service import failures
from service.domains.auth.attempts import MAX_ADDRESSES, Attempts
from service.failures import Failure


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(attempts: Attempts, address: str, times: int) -> None:
    for _ in range(times):
        attempts.check(address)
        attempts.note_failure(address)


def refusal(attempts: Attempts, address: str) -> Failure | None:
    try:
        attempts.check(address)
    except Failure as failure:
        return failure
    return None


def test_the_failure_after_the_last_allowed_one_is_refused(clock: Clock) -> None:
    attempts = Attempts(3, clock=clock)
    fail(attempts, "127.0.0.1", 3)

    refused = refusal(attempts, "127.0.0.1")

    assert refused is not None
    assert refused.mode is failures.RATE_LIMITED


def test_retry_after_is_when_the_oldest_failure_leaves_the_window(clock: Clock) -> None:
    attempts = Attempts(2, clock=clock)
    fail(attempts, "127.0.0.1", 1)
    clock.now += 20
    fail(attempts, "127.0.0.1", 1)
    clock.now += 10

    refused = refusal(attempts, "127.0.0.1")

    assert refused is not None
    assert refused.retry_after_seconds == 30
    clock.now += 30
    fail(attempts, "127.0.0.1", 1)
    assert refusal(attempts, "127.0.0.1") is not None


def test_successes_do_not_count(clock: Clock) -> None:
    attempts = Attempts(1, clock=clock)

    for _ in range(10):
        attempts.check("127.0.0.1")


def test_addresses_are_counted_apart(clock: Clock) -> None:
    attempts = Attempts(1, clock=clock)
    fail(attempts, "127.0.0.1", 1)

    assert refusal(attempts, "127.0.0.2") is None


def test_an_ipv6_network_of_one_customer_is_one_address(clock: Clock) -> None:
    attempts = Attempts(1, clock=clock)
    fail(attempts, "2001:db8:0:1::1", 1)

    assert refusal(attempts, "2001:db8:0:1:ffff::2") is not None
    assert refusal(attempts, "2001:db8:0:2::1") is None


def test_memory_is_bounded_and_the_oldest_address_goes_first(clock: Clock) -> None:
    attempts = Attempts(1, clock=clock)
    fail(attempts, "first", 1)
    for number in range(MAX_ADDRESSES):
        attempts.note_failure(f"address-{number}")

    assert refusal(attempts, "first") is None
    assert refusal(attempts, f"address-{MAX_ADDRESSES - 1}") is not None
    assert len(attempts._failed_at) == MAX_ADDRESSES
