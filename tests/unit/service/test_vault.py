import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from service.domains.calendar.vault import SealedTokenUnreadableError, Vault

OLD, NEW = SecretStr("o" * 32), SecretStr("n" * 40)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.integers(1, 2**63 - 1))
def test_what_was_sealed_can_be_opened(token: str, account_id: int) -> None:
    vault = Vault({"a": OLD})

    sealed = vault.seal(token, account_id=account_id)

    assert vault.open(sealed, account_id=account_id) == token


def test_the_same_token_is_never_sealed_to_the_same_bytes() -> None:
    vault = Vault({"a": OLD})

    assert vault.seal("rt-CANARY", account_id=1) != vault.seal("rt-CANARY", account_id=1)
    assert b"CANARY" not in vault.seal("rt-CANARY", account_id=1)


@pytest.mark.parametrize(
    ("vault", "account_id", "reason"),
    [
        (Vault({"a": OLD}), 2, "wrong_key"),
        (Vault({"a": OLD}, provider="other"), 1, "wrong_key"),
        (Vault({"a": NEW}), 1, "wrong_key"),
        (Vault({"b": OLD}), 1, "unknown_key"),
    ],
    ids=["another account", "another provider", "another key", "another key id"],
)
def test_a_token_opens_only_where_it_belongs(vault: Vault, account_id: int, reason: str) -> None:
    sealed = Vault({"a": OLD}).seal("token", account_id=1)

    with pytest.raises(SealedTokenUnreadableError) as caught:
        vault.open(sealed, account_id=account_id)

    assert caught.value.reason == reason


def test_a_rotated_key_still_opens_and_no_longer_seals() -> None:
    sealed_before = Vault({"old": OLD}).seal("token", account_id=1)
    both = Vault({"new": NEW, "old": OLD})

    assert both.open(sealed_before, account_id=1) == "token"
    assert Vault({"new": NEW}).open(both.seal("token", account_id=1), account_id=1) == "token"


@given(st.binary(max_size=100))
def test_no_bytes_are_too_odd(sealed: bytes) -> None:
    with pytest.raises(SealedTokenUnreadableError):
        Vault({"a": OLD}).open(sealed, account_id=1)


def test_a_flipped_bit_is_noticed() -> None:
    vault = Vault({"a": OLD})
    sealed = bytearray(vault.seal("token", account_id=1))
    sealed[-1] ^= 1

    with pytest.raises(SealedTokenUnreadableError):
        vault.open(bytes(sealed), account_id=1)


def test_without_a_key_there_is_no_vault() -> None:
    with pytest.raises(ValueError, match="GRANT_KEYS"):
        Vault({})
