"""Tokens at rest: AES-256-GCM under a named key, bound to the account and the provider.

The account and the provider are authenticated with the ciphertext, so a token copied into another
account's row does not decrypt. A sealed token is: length of the key id (1 byte), key id, nonce (12
bytes), ciphertext and tag.
"""

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from service import metrics

_NONCE_BYTES = 12


class SealedTokenUnreadableError(Exception):
    """reason: unknown_key, wrong_key (or another row's token), malformed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Vault:
    """Seals with the first key and opens with any, so that keys can be rotated."""

    def __init__(self, keys: Mapping[str, SecretStr], *, provider: str = metrics.PROVIDER) -> None:
        """keys: `config.grant_keys`. Raises ValueError without any, or for a key id over 255 bytes."""
        if not keys:
            raise ValueError("set GRANT_KEYS")
        if any(len(key_id.encode()) > 255 for key_id in keys):
            raise ValueError("GRANT_KEYS: a key id is longer than 255 bytes")
        self._provider = provider
        self._ciphers = {
            key_id: AESGCM(_derived(secret.get_secret_value())) for key_id, secret in keys.items()
        }
        self._newest = next(iter(keys))

    def seal(self, token: str, *, account_id: int) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        key_id = self._newest.encode()
        ciphertext = self._ciphers[self._newest].encrypt(
            nonce, token.encode(), self._bound_to(account_id)
        )
        return bytes([len(key_id)]) + key_id + nonce + ciphertext

    def open(self, sealed: bytes, *, account_id: int) -> str:
        """Return the token. Raises SealedTokenUnreadableError."""
        length = sealed[0] if sealed else 0
        key_id, rest = sealed[1 : 1 + length], sealed[1 + length :]
        if len(rest) <= _NONCE_BYTES:
            raise SealedTokenUnreadableError("malformed")
        cipher = self._ciphers.get(key_id.decode("utf-8", "replace"))
        if cipher is None:
            raise SealedTokenUnreadableError("unknown_key")
        nonce, ciphertext = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, self._bound_to(account_id)).decode()
        except InvalidTag as error:
            raise SealedTokenUnreadableError("wrong_key") from error

    def _bound_to(self, account_id: int) -> bytes:
        return f"{self._provider}\x00{account_id}".encode()


def _derived(secret: str) -> bytes:
    """Return 32 bytes for AES-256: the secret is text of any length from 32 bytes on."""
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"firedrill oauth grants")
    return key.derive(secret.encode())
