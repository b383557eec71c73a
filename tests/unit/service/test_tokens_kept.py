"""A token that was accepted is not parsed again; nothing else about it is taken for granted."""

import pytest

from service.security import tokens
from service.security.tokens import LEEWAY_SECONDS, TokenRejected, TokenVerifier
from tests.unit.service.minting import ENHANCED, KEY, OTHER_KEY, enhanced, verifier


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(ENHANCED["iat"])


@pytest.fixture
def checked_by(clock: Clock) -> TokenVerifier:
    made = verifier()
    made._clock = clock
    return made


def refusal_of(token: bytes, checked_by: TokenVerifier) -> str:
    with pytest.raises(TokenRejected) as caught:
        checked_by.verify(token)
    return caught.value.reason


def test_a_token_is_parsed_once(
    checked_by: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = enhanced()
    first = checked_by.verify(token)
    monkeypatch.setattr(checked_by, "_keys", {})

    assert checked_by.verify(token) == first


def test_it_expires_all_the_same(checked_by: TokenVerifier, clock: Clock) -> None:
    token = enhanced()
    checked_by.verify(token)

    clock.now = ENHANCED["exp"] + LEEWAY_SECONDS - 1
    checked_by.verify(token)
    clock.now += 1
    assert refusal_of(token, checked_by) == "expired"


def test_one_that_is_not_valid_yet_is_not_refused_for_ever(
    checked_by: TokenVerifier, clock: Clock
) -> None:
    token = enhanced(nbf=ENHANCED["iat"] + 2 * LEEWAY_SECONDS)

    assert refusal_of(token, checked_by) == "not_yet_valid"
    clock.now += LEEWAY_SECONDS
    checked_by.verify(token)
    clock.now -= LEEWAY_SECONDS
    assert refusal_of(token, checked_by) == "not_yet_valid"


def test_other_bytes_are_another_token(checked_by: TokenVerifier) -> None:
    token = enhanced()
    checked_by.verify(token)
    head, payload, signature = token.split(b".")

    assert refusal_of(b".".join((head, payload, signature[::-1])), checked_by) == "signature"
    assert refusal_of(
        b".".join((head, enhanced(sub="43").split(b".")[1], signature)), checked_by
    ) == ("signature")


def test_a_key_that_is_no_longer_listed_ends_its_tokens() -> None:
    """A rotation is a verifier with other keys, and that one has accepted nothing yet."""
    token = enhanced()
    verifier().verify(token)

    assert refusal_of(token, verifier({"e2": KEY})) == "signature"
    assert refusal_of(token, verifier({"e1": OTHER_KEY})) == "signature"


def test_no_more_than_a_number_is_kept_and_no_refusal(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "KEPT_TOKENS", 2)
    checked_by = verifier()

    for number in range(1, 5):
        checked_by.verify(enhanced(sub=str(number)))
        for refused in (b"x", enhanced(key=OTHER_KEY), enhanced(exp=ENHANCED["iat"] + 1)):
            refusal_of(refused, checked_by)

    assert checked_by._accepted.cache_info().currsize == 2
