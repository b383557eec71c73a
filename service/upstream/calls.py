"""One way to call a provider: breaker, retries, time limits, spans and counters around every attempt.

From the outside in: deadline > circuit breaker > retries > time limit of one attempt. The breaker hears
of every attempt, so a call that fails three times counts three times, and the one probe of a half-open
breaker is one attempt, never a series of them. There is one layer of retries, this one. No `traceparent`
is sent: the provider is a foreign party, and our trace ids are none of its business.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlencode

import httpx
import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from firedrill_kit.resilience.breaker import Breaker, CircuitOpenError, Outcome, State
from firedrill_kit.resilience.retry import RetryBudget, retry_after_seconds
from firedrill_kit.telemetry.record import current, enter_stage
from firedrill_kit.telemetry.traces import span
from service import failures, metrics
from service.cache import Cache
from service.upstream.errors import (
    CIRCUIT_OPEN,
    CUT_BODY,
    TOO_LARGE,
    CallFailed,
    Endpoint,
    Meaning,
    failure_of,
    refusal,
    transport_error,
    unreadable,
)
from service.upstream.messages import Message
from service.upstream.quota import QuotaGate

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A page of 2,500 events has about 1 MB."""
MAX_ATTEMPTS = 3
MAX_WAIT_SECONDS = 2.0
"""A longer Retry-After is the caller's to wait for: a request that sleeps here holds an admission slot."""
GATE_SECONDS = 5.0
"""How long the project's calls pause when Google names no time."""
MAX_GATE_SECONDS = 60.0
SHOWN_PARAMETERS = frozenset({"fields", "maxResults", "singleEvents", "timeMax", "timeMin"})
"""Query parameters that a span may show; the others lead to a user's calendar."""

M = TypeVar("M", bound=Message)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Call:
    """One logical call. attempt_seconds: limit of an attempt; total_seconds: of all, waits included."""

    operation: str
    endpoint: Endpoint
    method: str
    path: str
    attempt_seconds: float
    total_seconds: float
    form: Mapping[str, str] | None = field(default=None, repr=False)
    query: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    subject: str = field(default="", repr=False)
    """The token that says whose call it is: one user's trouble is not the provider's. Empty: anybody's."""
    unanswered_retries: int = MAX_ATTEMPTS
    """How often an attempt may be repeated that the provider may have acted on."""


class _AttemptFailed(Exception):
    """retry_after: seconds that the provider, or the breaker, asks to wait. status: 0 for none."""

    def __init__(
        self, meaning: Meaning, retry_after: float | None = None, *, status: int = 0
    ) -> None:
        super().__init__(meaning.cause)
        self.meaning = meaning
        self.retry_after = retry_after
        self.status = status

    @property
    def error_type(self) -> str:
        """The status where it is one that says no, else what went wrong."""
        return str(self.status) if self.status not in {0, 200} else self.meaning.cause


@dataclass(slots=True)
class _Answer:
    """What has arrived so far; status 0: nothing."""

    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytearray = field(default_factory=bytearray)


class _BodyTooLargeError(Exception):
    pass


class Calls:
    """One breaker, one retry budget and one connection pool per process."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        breaker: Breaker | None = None,
        budget: RetryBudget | None = None,
        quota: QuotaGate | None = None,
    ) -> None:
        """clock: seconds of any origin. jitter: 0-1, spreads the waits before retries. sleep: such a wait.
        quota: None: one of this process alone.
        """
        self._http = http
        base = http.base_url
        self._base_url = str(base.copy_with(userinfo=b"")).rstrip("/")
        self._server = (base.host, base.port or (443 if base.scheme == "https" else 80))
        self._clock = clock
        self._jitter = jitter
        self._sleep = sleep
        self._budget = budget or RetryBudget(clock=clock)
        self._quota = quota or QuotaGate(Cache(""), clock=clock)
        self.breaker = breaker or Breaker(clock=clock, on_transition=_report_transition)
        _show_state(self.breaker.state)

    async def make(self, call: Call, model: type[M]) -> M:
        """Return the answer of the call, checked against the model. Raises CallFailed."""
        await self._check_quota_gate(call.endpoint)
        self._budget.note_call()
        enter_stage("upstream")
        ends_at = self._clock() + call.total_seconds
        tries = unanswered = 0
        while True:
            tries += 1
            try:
                result = await self._attempt(call, model, number=tries, ends_at=ends_at)
            except _AttemptFailed as failed:
                unanswered += failed.meaning.is_unanswered
                pause = self._pause_before_next(call, failed, tries, unanswered, ends_at)
                if pause is None:
                    await self._close_quota_gate(failed)
                    raise failure_of(
                        failed.meaning,
                        call.endpoint,
                        retry_after_seconds=failed.retry_after,
                        is_unanswered=unanswered > 0,
                    ) from failed
            else:
                if tries > 1:
                    metrics.RETRY_ATTEMPTS.labels(call.operation, "succeeded").inc()
                return result
            await self._sleep(pause)

    def _pause_before_next(
        self, call: Call, failed: _AttemptFailed, tries: int, unanswered: int, ends_at: float
    ) -> float | None:
        """Return the seconds until the next attempt; None: there is none. Takes from the retry budget."""
        if not failed.meaning.is_retryable:
            return None
        pause = 0.1 * 2 ** (tries - 1) * (1 + self._jitter())
        pause = max(pause, (failed.retry_after or 0.0) * (1 + 0.1 * self._jitter()))
        if (
            tries >= MAX_ATTEMPTS
            or unanswered > call.unanswered_retries
            or pause > MAX_WAIT_SECONDS
            or self._clock() + pause >= ends_at
            or self.breaker.state is State.OPEN
        ):
            metrics.RETRY_ATTEMPTS.labels(call.operation, "exhausted").inc()
            return None
        # One user's limit is that user's alone: it takes no retry away from the others.
        granted = failed.meaning.limit_scope == "user" or self._budget.take()
        outcome = "retried" if granted else "no_budget"
        metrics.RETRY_ATTEMPTS.labels(call.operation, outcome).inc()
        return pause if granted else None

    async def _attempt(self, call: Call, model: type[M], *, number: int, ends_at: float) -> M:
        """Make one attempt: one permit of the breaker, one span, one observation."""
        seconds = ends_at - self._clock()
        try:
            # Hashed: what the breaker remembers is nobody's token.
            subject = hash(call.subject) if call.subject else None
            with self.breaker.attempt(subject) as verdict:
                result = await self._observed(
                    call, model, number, min(seconds, call.attempt_seconds)
                )
                if not isinstance(result, _AttemptFailed):
                    verdict.outcome = Outcome.OK
                    return result
                verdict.outcome = result.meaning.outcome
                if result.meaning.cause == "timeout" and seconds < call.attempt_seconds:
                    # The caller's deadline cut it short: that is no verdict on the provider.
                    verdict.outcome = Outcome.NEUTRAL
                raise result
        except CircuitOpenError as refused:
            trace.get_current_span().add_event("firedrill.breaker_open")
            raise _AttemptFailed(CIRCUIT_OPEN, max(1.0, refused.retry_after_seconds)) from None

    async def _observed(
        self, call: Call, model: type[M], number: int, limit_seconds: float
    ) -> M | _AttemptFailed:
        """Make the exchange in its span, and count it. Returns a failure: raising it through the span
        would overwrite error.type.
        """
        attributes: dict[str, str | int] = {
            "firedrill.operation": call.operation,
            "http.request.method": call.method,
            "server.address": self._server[0],
            "server.port": self._server[1],
            # Nothing in our paths varies, so each is its own template.
            "url.template": call.path,
            "url.full": self._url_of(call),
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        started = time.perf_counter()
        answer = _Answer()
        error_type = "cancelled"
        with span(f"{call.method} {call.path}", attributes, kind=SpanKind.CLIENT) as active:
            try:
                result = await self._exchange(call, model, answer, limit_seconds)
                error_type = ""
            except _AttemptFailed as failed:
                error_type = failed.error_type
                active.set_attribute("error.type", error_type)
                active.set_status(StatusCode.ERROR)
                _report(call, failed, answer)
                return failed
            else:
                return result
            finally:
                if answer.status:
                    active.set_attribute("http.response.status_code", answer.status)
                self._count(call, answer.status, error_type, time.perf_counter() - started)

    def _count(self, call: Call, status: int, error_type: str, elapsed: float) -> None:
        metrics.HTTP_CLIENT_SECONDS.labels(
            call.method, *self._server, str(status or ""), error_type
        ).observe(elapsed)
        record = current()
        if record is not None:
            record.upstream_seconds += elapsed

    async def _exchange(
        self, call: Call, model: type[M], answer: _Answer, limit_seconds: float
    ) -> M:
        """Send the request and read the whole answer. Raises _AttemptFailed."""
        try:
            async with asyncio.timeout(limit_seconds):
                await self._receive(call, answer)
        except _BodyTooLargeError as error:
            raise _AttemptFailed(TOO_LARGE, status=answer.status) from error
        except (TimeoutError, httpx.RequestError, httpx.InvalidURL) as error:
            meaning = transport_error(error)
            if meaning.cause == "disconnect" and answer.status == 200:
                meaning = CUT_BODY
            raise _AttemptFailed(meaning, status=answer.status) from error
        body = bytes(answer.body)
        if answer.status != 200:
            raise _AttemptFailed(
                refusal(call.endpoint, answer.status, body),
                retry_after_seconds(answer.headers.get("retry-after")),
                status=answer.status,
            )
        try:
            return model.read(body)
        except ValueError:
            # Not chained: pydantic's text says which field, but a chain would be printed with it.
            raise _AttemptFailed(unreadable(call.endpoint, body), status=200) from None

    async def _receive(self, call: Call, answer: _Answer) -> None:
        async with self._http.stream(
            call.method,
            call.path,
            data=call.form,
            params=call.query,
            headers=call.headers,
        ) as response:
            answer.status, answer.headers = response.status_code, response.headers
            async for chunk in response.aiter_raw():
                answer.body += chunk
                if len(answer.body) > MAX_BODY_BYTES:
                    raise _BodyTooLargeError

    def _url_of(self, call: Call) -> str:
        """Return the address of the call; of its query only what says nothing about a user's calendar."""
        query = {
            name: value if name in SHOWN_PARAMETERS else "REDACTED"
            for name, value in (call.query or {}).items()
        }
        # httpx takes a third of a millisecond for it.
        return f"{self._base_url}{call.path}" + (f"?{urlencode(query)}" if query else "")

    async def _check_quota_gate(self, endpoint: Endpoint) -> None:
        if endpoint is not Endpoint.CALENDAR:
            return
        if (seconds := await self._quota.seconds()) > 0:
            raise CallFailed(
                failures.PROVIDER_QUOTA_EXHAUSTED,
                cause="quota_gate",
                retry_after_seconds=max(1.0, seconds),
            )

    async def _close_quota_gate(self, failed: _AttemptFailed) -> None:
        """Make no call before the moment that the provider named for the whole project."""
        if failed.meaning.limit_scope == "project":
            await self._quota.close(min(failed.retry_after or GATE_SECONDS, MAX_GATE_SECONDS))


def _report(call: Call, failed: _AttemptFailed, answer: _Answer) -> None:
    """Count and log what one attempt tells about the provider."""
    meaning = failed.meaning
    if meaning.limit_scope:
        metrics.UPSTREAM_RATE_LIMITED.labels(metrics.PROVIDER, meaning.limit_scope).inc()
        _log.warning(
            "provider_rate_limited",
            operation=call.operation,
            scope=meaning.limit_scope,
            retry_after_seconds=failed.retry_after,
        )
    elif meaning.bad_because:
        metrics.UPSTREAM_BAD_RESPONSES.labels(metrics.PROVIDER, meaning.bad_because).inc()
        _log.warning(
            "sync_bad_payload" if call.endpoint is Endpoint.CALENDAR else "oauth_bad_payload",
            operation=call.operation,
            why=meaning.bad_because,
            body_bytes=len(answer.body),
            # Enough to tell whether two reports are about the same body; nothing can be read from it.
            body_sha256=hashlib.sha256(answer.body).hexdigest()[:16],
        )
    elif failed.status == 401 and call.endpoint is Endpoint.CALENDAR:
        _log.info("provider_unauthorized", operation=call.operation)


def _report_transition(old: State, new: State) -> None:
    metrics.BREAKER_TRANSITIONS.labels(metrics.PROVIDER, new.value).inc()
    _show_state(new)
    event = {State.OPEN: "breaker_opened", State.CLOSED: "breaker_closed"}.get(new)
    if event:
        _log.warning(event, breaker=metrics.PROVIDER, was=old.value)


def _show_state(state: State) -> None:
    for each in State:
        metrics.BREAKER_STATE.labels(metrics.PROVIDER, each.value).set(each is state)
