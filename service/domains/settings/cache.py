"""Settings documents in the shared cache.

What is in the cache is never believed to be the newest: each read asks the database which row is stored, in
the statement that looks its caller up anyway, and takes from the cache only the document of exactly that row.
So no write, crash, eviction or replica that cannot reach the cache makes an answer stale, and nothing has to
be invalidated for it to be right; a write puts its document in, so that the next read finds it. Documents are
encrypted and bound to account and row: what somebody types into their settings may be a secret, and what
somebody else writes into the cache is not read.

A stamp names one stored row: its version and the transaction that wrote it, which also changes when a row is
changed by hand or restored from a backup.
"""

import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from firedrill_kit.resilience.single_flight import SingleFlight
from firedrill_kit.telemetry.traces import current_context, root_span
from service.cache import PREFIX, Cache, CacheAway, Client
from service.config import Config
from service.domains.settings.models import Theme
from service.domains.settings.operations import Document

LIFE_SECONDS = 300.0
LIFE_JITTER = 0.1
"""Share by which lives differ, so that what was stored together does not end together."""
DRAIN_SECONDS = 1.0
_NONCE_BYTES = 12


class SettingsCache:
    """Reads and stores documents. Without an answer of the cache it goes on as if it were empty."""

    def __init__(self, cache: Cache, *, secret: str, jitter: Callable[[], float]) -> None:
        """secret: the same for all replicas. jitter: 0-1."""
        self._cache = cache
        self._jitter = jitter
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"firedrill settings cache")
        self._cipher = AESGCM(key.derive(secret.encode()))
        self._reads: SingleFlight[tuple[int, str], Document] = SingleFlight()

    @classmethod
    def of(cls, config: Config, cache: Cache) -> Self | None:
        """Return None where settings are not read from the cache."""
        if not config.cache_settings:
            return None
        return cls(cache, secret=config.session_key.get_secret_value(), jitter=random.random)

    @property
    def is_open(self) -> bool:
        """Whether the cache would be asked; while it is not, one statement reads all."""
        return self._cache.is_open

    async def read(
        self, account_id: int, stamp: str, load: Callable[[], Awaitable[Document]]
    ) -> Document:
        """Return the document of the row: from the cache, else loaded, once for all who ask meanwhile.

        load: reads it from the database; it may find a newer row.
        """
        found = await self._get(account_id, stamp)
        if found is not None:
            return found

        async def fill() -> Document:
            with root_span("settings.load", links=[waiting]):
                document = await load()
                await self.put(account_id, document)
                return document

        waiting = current_context()
        return await self._reads.run((account_id, stamp), fill)

    async def close(self) -> None:
        await self._reads.drain(DRAIN_SECONDS)

    async def put(self, account_id: int, document: Document) -> None:
        """Store what was read or committed, if it is whole."""
        if document.degraded or not document.stamp:
            return
        nonce = os.urandom(_NONCE_BYTES)
        content = orjson.dumps(
            (document.theme, document.notifications, document.version, document.ai_models)
        )
        sealed = nonce + self._cipher.encrypt(nonce, content, _bound(account_id, document.stamp))
        life = LIFE_SECONDS * (1 + LIFE_JITTER * (2 * self._jitter() - 1))

        async def set_(client: Client) -> Any:
            return await client.set(_key(account_id), sealed, px=round(life * 1000))

        with suppress(CacheAway):
            await self._cache.call("settings", "SET", set_)

    async def _get(self, account_id: int, stamp: str) -> Document | None:
        async def get(client: Client) -> Document | None:
            sealed = await client.get(_key(account_id))
            return self._opened(sealed, account_id, stamp) if sealed else None

        try:
            return await self._cache.call("settings", "GET", get)
        except CacheAway:
            return None

    def _opened(self, sealed: Any, account_id: int, stamp: str) -> Document | None:
        """Return the document; None where it is another row's, forged, or of another release's format."""
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            content = self._cipher.decrypt(nonce, ciphertext, _bound(account_id, stamp))
            theme, notifications, version, ai_models = orjson.loads(content)
            return Document(Theme(theme), notifications, version, ai_models, stamp=stamp)
        except (InvalidTag, ValueError, TypeError):
            return None


def _key(account_id: int) -> str:
    return f"{PREFIX}settings:{account_id}"


def _bound(account_id: int, stamp: str) -> bytes:
    return f"{account_id}\x00{stamp}".encode()
