"""The provider's own metrics, in a registry of their own; scraped as job `provider`."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "provider_requests",
            "Calls; status is `none` when the connection was ended without an answer.",
            ["endpoint", "status", "mode"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "provider_requests_in_flight",
            "Calls that have arrived and are not answered.",
            ["endpoint"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "provider_request_duration_seconds",
            "Arrival to the last byte of the answer, faults included.",
            ["endpoint"],
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.reuse = Counter(
            "provider_refresh_token_reuse",
            "Superseded refresh tokens that were presented and refused.",
            registry=self.registry,
        )
        for endpoint in ("token", "revoke", "events"):
            self.requests.labels(endpoint, "200", "normal")
            self.in_flight.labels(endpoint)
            self.duration.labels(endpoint)


class Measured:
    """ASGI wrapper of one endpoint. The endpoint says its mode in `scope["state"]["mode"]`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, endpoint: str) -> None:
        self._app = app
        self._metrics = metrics
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = "none"

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        start = perf_counter()
        state = scope.setdefault("state", {})
        with self._metrics.in_flight.labels(self._endpoint).track_inprogress():
            try:
                await self._app(scope, receive, observe)
            finally:
                mode = state.get("mode", "normal")
                self._metrics.requests.labels(self._endpoint, status, mode).inc()
                self._metrics.duration.labels(self._endpoint).observe(perf_counter() - start)
