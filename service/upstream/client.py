"""The calendar provider's client: Google's token endpoint and Calendar v3.

What is asked lives here; how it is called, limited and repeated in `calls`, what an error means in
`errors`, what an answer must look like in `messages`. No other module knows httpx.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from urllib.parse import urlencode

import httpx

from firedrill_kit.resilience import deadline
from firedrill_kit.resilience.breaker import Breaker
from firedrill_kit.resilience.retry import RetryBudget
from service.cache import Cache
from service.config import Config
from service.upstream.calls import Call, Calls
from service.upstream.errors import Endpoint
from service.upstream.messages import EventsPage, Tokens
from service.upstream.quota import QuotaGate

CALENDAR_SCOPES = frozenset(
    f"https://www.googleapis.com/auth/calendar{suffix}"
    for suffix in (
        *("", ".readonly", ".events", ".events.readonly"),
        *(".events.owned", ".events.owned.readonly"),
    )
)
"""Each of them alone is enough to read the events of one's own calendar."""

REQUESTED_SCOPE = "https://www.googleapis.com/auth/calendar.readonly"
PAGE_EVENTS = (2500, 250, 25)
"""Google's largest page first: fewer calls, and what is asked for of an event is a few hundred bytes. The
others are for a calendar whose events are far larger than that."""
FIELDS = "items(id,etag,status,summary,start,end),nextPageToken,nextSyncToken"
"""All that is used. Without it 250 events with their guests are 9 MB."""
CONNECT_SECONDS = 1.0


class CalendarProvider:
    """One provider, one breaker, one retry budget per process. Every method raises Failure only."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        breaker: Breaker | None = None,
        budget: RetryBudget | None = None,
        cache: Cache | None = None,
    ) -> None:
        """http: as `open_http` makes it. clock: seconds of any origin. jitter: 0-1. sleep: before a retry.
        breaker, budget: of retries; None: those of `Calls`. cache: what other replicas learn of the project's
        quota; None: nothing.
        """
        self._config = config
        self._calls = Calls(
            http,
            clock=clock,
            jitter=jitter,
            sleep=sleep,
            breaker=breaker,
            budget=budget,
            quota=QuotaGate(cache, clock=clock) if cache else None,
        )

    @property
    def breaker(self) -> Breaker:
        return self._calls.breaker

    @property
    def consent_url(self) -> str:
        """Where the owner of a calendar says yes; Google sends them back with an authorization code."""
        query = {
            "client_id": self._config.provider_client_id,
            "redirect_uri": self._config.provider_redirect_uri,
            "response_type": "code",
            "scope": REQUESTED_SCOPE,
            "access_type": "offline",
            "prompt": "consent",  # without it Google gives no refresh token the second time
        }
        return f"{self._config.provider_url}/o/oauth2/v2/auth?{urlencode(query)}"

    async def refresh(self, refresh_token: str) -> Tokens:
        """Return new tokens.

        Takes `config.oauth_http_seconds` at most, whatever is tried. An attempt that may have reached
        the provider is repeated once, with the same token: if the answer was lost under strict rotation
        the grant is lost either way, everywhere else it is saved.
        Raises CallFailed.
        """
        call = Call(
            "oauth_refresh",
            Endpoint.TOKEN,
            "POST",
            "/token",
            attempt_seconds=self._config.oauth_http_seconds,
            total_seconds=self._config.oauth_http_seconds,
            form=self._client_form(grant_type="refresh_token", refresh_token=refresh_token),
            subject=refresh_token,
            unanswered_retries=1,
        )
        return await self._calls.make(call, Tokens)

    async def exchange_code(self, code: str) -> Tokens:
        """Return the first tokens of a consent.

        Raises Failure; CALENDAR_REAUTH_REQUIRED for a code that is wrong, used or too old.
        """
        call = Call(
            "oauth_exchange",
            Endpoint.TOKEN,
            "POST",
            "/token",
            attempt_seconds=self._config.provider_attempt_seconds,
            total_seconds=deadline.remaining(),
            form=self._client_form(
                grant_type="authorization_code",
                code=code,
                redirect_uri=self._config.provider_redirect_uri,
            ),
            unanswered_retries=0,  # a code works once
        )
        return await self._calls.make(call, Tokens)

    async def list_events(
        self,
        access_token: str,
        *,
        sync_token: str | None = None,
        page_token: str | None = None,
        window: tuple[datetime, datetime] | None = None,
        page_events: int = PAGE_EVENTS[0],
    ) -> EventsPage:
        """Return one page of the events changed since the sync token, or of all events.

        window: only what touches it; goes with no sync token, and with the same one on all its pages.
        Raises AccessTokenRefused, SyncTokenExpired, AnswerTooLarge and other Failures.
        """
        query = {"maxResults": str(page_events), "singleEvents": "true", "fields": FIELDS}
        if window is not None:
            starts_at, ends_at = (moment.isoformat(timespec="seconds") for moment in window)
            query |= {"timeMin": starts_at, "timeMax": ends_at}
        if sync_token is not None:
            query["syncToken"] = sync_token
        if page_token is not None:
            query["pageToken"] = page_token
        call = Call(
            "calendar_fetch",
            Endpoint.CALENDAR,
            "GET",
            "/calendar/v3/calendars/primary/events",
            attempt_seconds=self._config.provider_attempt_seconds,
            total_seconds=deadline.remaining(),
            query=query,
            headers={"Authorization": f"Bearer {access_token}"},
            subject=access_token,
        )
        return await self._calls.make(call, EventsPage)

    def _client_form(self, **more: str) -> dict[str, str]:
        return {
            "client_id": self._config.provider_client_id,
            "client_secret": self._config.provider_client_secret.get_secret_value(),
            **more,
        }


def open_http(
    config: Config, *, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Return the connections to the provider; the opener closes them.

    transport: in place of the network.
    """
    return httpx.AsyncClient(
        base_url=config.provider_url,
        transport=transport,
        # The total of an attempt is `asyncio.timeout`'s; httpx has none. Connecting is limited apart,
        # so that a network that swallows packets leaves time for another attempt.
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        follow_redirects=False,
        trust_env=False,  # a proxy from the environment would see every token
        # Unpacked bodies have no bound that can be checked while they arrive.
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )
