"""The telemetry canary: writes one signal of each kind and reads all three back as a user would.

What it proves: a span sent by OTLP can be opened by its id, a log line can be found by its trace,
a metric can be queried. Its own metrics are on a path of their own (job `canary`).
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from prometheus_client import CollectorRegistry, Gauge

EVERY_SECONDS = 15.0
READ_BACK_SECONDS = 12.0
"""A scrape every 5 s, a log read every 0.5 s: 12 s miss no healthy signal before the next round."""
SIGNALS = ("span", "log", "metric")
_log = structlog.get_logger("canary")


class Canary:
    """clock: seconds since the epoch."""

    def __init__(
        self,
        registry: CollectorRegistry,
        client: httpx.AsyncClient,
        *,
        otlp_url: str,
        viewer_url: str,
        prometheus_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._otlp_url = otlp_url
        self._viewer_url = viewer_url
        self._prometheus_url = prometheus_url
        self._clock = clock
        self._beat = Gauge(
            "telemetry_canary_beat_timestamp_seconds",
            "The metric that is read back: when this round was written.",
            registry=registry,
        )
        self._last_success = Gauge(
            "telemetry_canary_last_success_timestamp_seconds",
            "When the signal was last read back; the start of the canary before the first time.",
            ["signal"],
            registry=registry,
        )
        for signal in SIGNALS:
            self._last_success.labels(signal).set(clock())

    async def run(self) -> None:
        """One round after the other until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.round()
            due = max(due + EVERY_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())

    async def round(self) -> dict[str, bool]:
        """Write the three signals and wait for each to come back; returns which did."""
        written_at = self._clock()
        trace_id = secrets.token_hex(16)
        self._beat.set(written_at)
        _log.info("canary_written", trace_id=trace_id)
        try:
            await self._client.post(
                f"{self._otlp_url}/v1/traces",
                content=canary_span(trace_id, written_at),
                headers={"content-type": "application/x-protobuf"},
            )
        except httpx.HTTPError as error:
            _log.warning("canary_span_not_sent", error_type=type(error).__name__)

        async def metric() -> bool:
            query = 'max(telemetry_canary_beat_timestamp_seconds{job="canary"})'
            answer = await self._json(
                f"{self._prometheus_url}/api/v1/query", params={"query": query}
            )
            results = answer["data"]["result"]
            return bool(results) and float(results[0]["value"][1]) >= written_at

        async def part_of_trace(part: str) -> bool:
            trace = await self._json(f"{self._viewer_url}/api/traces/{trace_id}")
            return bool(trace[part])

        came_back = await asyncio.gather(
            self._await("span", lambda: part_of_trace("spans")),
            self._await("log", lambda: part_of_trace("logs")),
            self._await("metric", metric),
        )
        return dict(zip(SIGNALS, came_back, strict=True))

    async def _await(self, signal: str, is_back: Callable[[], Awaitable[bool]]) -> bool:
        try:
            async with asyncio.timeout(READ_BACK_SECONDS):
                while not await self._is_back(is_back):  # noqa: ASYNC110 - over HTTP, no event
                    await asyncio.sleep(0.5)
        except TimeoutError:
            _log.warning("canary_lost", signal=signal)
            return False
        self._last_success.labels(signal).set(self._clock())
        return True

    async def _is_back(self, is_back: Callable[[], Awaitable[bool]]) -> bool:
        """An answer that is no such answer means the same as none."""
        try:
            return await is_back()
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return False

    async def _json(self, url: str, params: dict[str, str] | None = None) -> Any:
        answer = await self._client.get(url, params=params)
        answer.raise_for_status()
        return answer.json()


def canary_span(trace_id: str, written_at: float) -> bytes:
    """An OTLP request with one root span that asks to be kept. written_at: seconds, epoch."""
    nano = int(written_at * 1e9)
    span = Span(
        trace_id=bytes.fromhex(trace_id),
        span_id=secrets.token_bytes(8),
        name="canary",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=nano,
        end_time_unix_nano=nano + 1_000_000,
        attributes=[KeyValue(key="firedrill.trace.keep", value=AnyValue(bool_value=True))],
    )
    name = KeyValue(key="service.name", value=AnyValue(string_value="canary"))
    spans = ResourceSpans(
        resource=Resource(attributes=[name]), scope_spans=[ScopeSpans(spans=[span])]
    )
    content: bytes = ExportTraceServiceRequest(resource_spans=[spans]).SerializeToString()
    return content
