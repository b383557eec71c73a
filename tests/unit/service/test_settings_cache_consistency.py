"""Two replicas, one cache: nobody reads a version older than one that was seen, whatever happens to it.

The database and the cache server are played here, so that a run takes thousands of steps; what is tested are
`SettingsCache` and the order of what the router does. Any step of a replica may be the one after which it, or
the cache, is gone; reads and writes are interleaved by Hypothesis at every point where they wait.
"""

import os
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.cache import Cache, CacheAway
from service.domains.settings.cache import SettingsCache
from service.domains.settings.models import Theme
from service.domains.settings.operations import Document

ACCOUNTS = (1, 2)
REPLICAS = (0, 1)
AT_ONCE = 4
TURNS_MAX = 20
"""More than any request takes."""
SECRET = "the-key-of-sessions-" * 2
TYPED = "sk-live-something-secret"


class Store:
    """The cache server: what is in it."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def set(self, key: str, value: bytes, *, px: int) -> bool:
        assert 0 < px <= 330_000
        self.values[key] = value
        return True


class Turn:
    """One wait: the task that waits here goes on when the machine says so."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Link:
    """A replica's way to the store; a `Cache` as its users see one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_open = True
        self.loses_answers = False

    async def call(
        self, _purpose: str, _command: str, run: Callable[[Any], Awaitable[object]]
    ) -> object:
        await Turn()
        if not self.is_open:
            raise CacheAway
        result = await run(self._store)
        await Turn()
        if self.loses_answers:
            raise CacheAway
        return result


class Running:
    """A request under way. floor: what its reader has seen before it."""

    def __init__(self, replica: int, account: int, floor: int, work: Any) -> None:
        self.replica = replica
        self.account = account
        self.floor = floor
        self.work = work


class Replicas(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.rows: dict[int, Document] = {}
        self.transactions = 0
        self.seen = dict.fromkeys(ACCOUNTS, 0)
        """The newest version that the reader of the account knows of."""
        self.running: list[Running] = []
        self.links = [Link(self.store) for _ in REPLICAS]
        self.caches = [self._cache_of(link) for link in self.links]
        self.stolen: list[tuple[str, bytes]] = []

    def _cache_of(self, link: Link) -> SettingsCache:
        cache = SettingsCache(cast("Cache", link), secret=SECRET, jitter=lambda: 0.5)
        # A flight is a task of an event loop, and there is none: each reads for itself, which is more to
        # go wrong, not less.
        cache._reads = Alone()  # type: ignore[assignment]
        return cache

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(replica=st.sampled_from(REPLICAS), account=st.sampled_from(ACCOUNTS))
    def begin_read(self, replica: int, account: int) -> None:
        self._begin(replica, account, self._read(replica, account))

    @precondition(lambda self: len(self.running) < AT_ONCE)
    @rule(replica=st.sampled_from(REPLICAS), account=st.sampled_from(ACCOUNTS))
    def begin_write(self, replica: int, account: int) -> None:
        self._begin(replica, account, self._write(replica, account))

    @rule(replica=st.sampled_from(REPLICAS), account=st.sampled_from(ACCOUNTS))
    def read(self, replica: int, account: int) -> None:
        """At once, from the first step to the last."""
        self.begin_read(replica, account)
        self._go_on(self.running[-1], TURNS_MAX)

    @rule(replica=st.sampled_from(REPLICAS), account=st.sampled_from(ACCOUNTS))
    def write(self, replica: int, account: int) -> None:
        self.begin_write(replica, account)
        self._go_on(self.running[-1], TURNS_MAX)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 63), turns=st.integers(1, TURNS_MAX))
    def go_on(self, which: int, turns: int) -> None:
        self._go_on(self.running[which % len(self.running)], turns)

    def _go_on(self, request: Running, turns: int) -> None:
        for _ in range(turns):
            try:
                request.work.send(None)
            except StopIteration as answered:
                self.running.remove(request)
                self._check(request, answered.value)
                return

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 63))
    def crash(self, which: int) -> None:
        """The replica of some request dies: all its requests end where they are, unanswered."""
        replica = self.running[which % len(self.running)].replica
        for request in [one for one in self.running if one.replica == replica]:
            request.work.close()
            self.running.remove(request)
        self.links[replica] = Link(self.store)
        self.caches[replica] = self._cache_of(self.links[replica])

    @rule(account=st.sampled_from(ACCOUNTS))
    def evict(self, account: int) -> None:
        self.store.values.pop(f"firedrill:settings:{account}", None)

    @rule()
    def flush(self) -> None:
        self.store.values.clear()

    @rule(replica=st.sampled_from(REPLICAS), is_open=st.booleans(), loses=st.booleans())
    def gate(self, replica: int, is_open: bool, loses: bool) -> None:
        self.links[replica].is_open = is_open
        self.links[replica].loses_answers = loses

    @rule()
    def remember(self) -> None:
        """A copy of the store, of which a failover may bring back some."""
        self.stolen = [*self.store.values.items()]

    @precondition(lambda self: self.stolen)
    @rule(which=st.integers(0, 63), account=st.sampled_from(ACCOUNTS))
    def fail_over(self, which: int, account: int) -> None:
        """Something older is back, perhaps under another name."""
        _, value = self.stolen[which % len(self.stolen)]
        self.store.values[f"firedrill:settings:{account}"] = value

    @rule(account=st.sampled_from(ACCOUNTS))
    def restore(self, account: int) -> None:
        """By hand, the content without the version."""
        if row := self.rows.get(account):
            self.rows[account] = self._stored(account, replace(row, theme=Theme.LIGHT))

    @rule()
    def migrate(self) -> None:
        """One transaction that writes the rows of all accounts."""
        version = max((row.version for row in self.rows.values()), default=0) + 1
        transactions = self.transactions
        for account in ACCOUNTS:
            self.transactions = transactions
            self.rows[account] = self._stored(account, replace(_none(), version=version))

    @invariant()
    def nothing_readable_is_in_the_cache(self) -> None:
        for value in self.store.values.values():
            assert TYPED.encode() not in value
            assert SECRET.encode() not in value

    def teardown(self) -> None:
        for request in self.running:
            request.work.close()

    def _begin(self, replica: int, account: int, work: Any) -> None:
        self.running.append(Running(replica, account, self.seen[account], work))

    async def _read(self, replica: int, account: int) -> Document:
        cache = self.caches[replica]
        await Turn()

        async def load() -> Document:
            await Turn()
            row = self.rows[account]
            await Turn()
            return row

        if not cache.is_open:
            return await load() if account in self.rows else _none()
        row = self.rows.get(account)
        await Turn()
        return _none() if row is None else await cache.read(account, row.stamp, load)

    async def _write(self, replica: int, account: int) -> Document:
        await Turn()
        before = self.rows.get(account, _none())
        # Written and committed at once; between this and the answer anything may happen.
        written = self._stored(account, replace(before, version=before.version + 1))
        self.rows[account] = written
        await Turn()
        await self.caches[replica].put(account, written)
        return written

    def _stored(self, account: int, document: Document) -> Document:
        self.transactions += 1
        models = {"default": TYPED, "of": account, "written_by": self.transactions}
        return replace(document, ai_models=models, stamp=f"{document.version}.{self.transactions}")

    def _check(self, request: Running, answer: Document) -> None:
        assert answer.version >= request.floor, "an older version than one that was seen"
        if answer.version:
            # The content is that of the row which account, version and transaction name.
            content = cast("dict[str, int]", answer.ai_models)
            assert content["of"] == request.account
            assert answer.stamp == f"{answer.version}.{content['written_by']}"
        self.seen[request.account] = max(self.seen[request.account], answer.version)


class Alone:
    async def run(self, _key: object, work: Callable[[], Awaitable[Document]]) -> Document:
        return await work()


def _none() -> Document:
    return Document(Theme.SYSTEM, notifications=True, version=0)


async def test_a_document_of_another_account_is_not_taken_although_one_transaction_wrote_both() -> (
    None
):
    store = Store()
    cache = SettingsCache(cast("Cache", Link(store)), secret=SECRET, jitter=lambda: 0.5)
    one, other = (
        replace(_none(), theme=theme, stamp="1.1") for theme in (Theme.DARK, Theme.LIGHT)
    )
    await cache.put(1, one)
    store.values["firedrill:settings:2"] = store.values["firedrill:settings:1"]

    async def load() -> Document:
        return other

    assert await cache.read(1, "1.1", load) == one
    assert await cache.read(2, "1.1", load) == other


async def test_a_document_in_the_format_of_another_release_is_a_miss() -> None:
    store = Store()
    cache = SettingsCache(cast("Cache", Link(store)), secret=SECRET, jitter=lambda: 0.5)
    stored = replace(_none(), stamp="1.1")

    async def load() -> Document:
        return stored

    for theme in ("a theme of the next release", None):
        await cache.put(1, replace(stored, theme=cast("Theme", theme)))
        assert await cache.read(1, "1.1", load) == stored


STEPS = int(os.environ.get("CACHE_STEPS", "100"))
EXAMPLES = int(os.environ.get("CACHE_EXAMPLES", "60"))

TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestReplicas = pytest.mark.slow(TestReplicas) if STEPS * EXAMPLES > 10_000 else TestReplicas
