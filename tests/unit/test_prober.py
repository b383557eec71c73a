"""What the prober counts, and when the canary believes that a signal came back."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from firedrill_kit.telemetry.labels import PROBER, client_version_of
from stack.prober import canary as canary_module
from stack.prober import probes as probes_module
from stack.prober.canary import Canary
from stack.prober.probes import HEADERS, PROBES, RESULTS, SIGN_IN, Probe, Prober, probing_client

PROFILE = PROBES[1]
ONE, TWO = "http://one:8000", "http://two:8000"
Handler = Callable[[httpx.Request], httpx.Response]


def prober(handler: Handler) -> tuple[Prober, CollectorRegistry]:
    registry = CollectorRegistry()
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    made = Prober(
        registry,
        client,
        service_urls=[ONE, TWO],
        username="user01@example.com",
        password="secret",
    )
    return made, registry


def counted(
    registry: CollectorRegistry, probe: Probe, result: str, replica: str = "one:8000"
) -> float | None:
    labels = {"replica": replica, "http_route": probe.http_route, "result": result}
    return registry.get_sample_value("probe_requests_total", labels)


def test_every_series_is_there_before_the_first_probe() -> None:
    _, registry = prober(lambda _: httpx.Response(200))

    assert all(
        counted(registry, probe, result, replica) == 0
        for replica in ("one:8000", "two:8000")
        for probe in PROBES
        for result in RESULTS
    )


def failing_with(error: Exception) -> Handler:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (lambda _: httpx.Response(200), "ok"),
        (lambda _: httpx.Response(503), "status"),
        (lambda _: httpx.Response(302), "status"),
        (failing_with(httpx.ConnectError("refused")), "network"),
        (failing_with(TimeoutError()), "timeout"),
    ],
)
async def test_a_probe_is_counted_by_what_came_back(handler: Handler, result: str) -> None:
    probing, registry = prober(handler)

    assert await probing.probe(PROFILE, ONE) == result

    assert {name: counted(registry, PROFILE, name) for name in RESULTS} == {
        name: float(name == result) for name in RESULTS
    }
    labels = {"replica": "one:8000", "http_route": PROFILE.http_route}
    assert registry.get_sample_value("probe_duration_seconds_count", labels) == 1


async def test_an_answer_that_never_comes_is_a_timeout() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    client = httpx.AsyncClient(transport=httpx.MockTransport(never))
    probing = Prober(CollectorRegistry(), client, service_urls=[ONE], username="u", password="p")

    assert await probing.probe(Probe("GET", PROFILE.http_route, 0.01), ONE) == "timeout"


async def test_probes_carry_the_token_of_the_last_sign_in_whichever_replica_gave_it() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"access_token": f"token-{len(seen)}"})

    probing, _ = prober(handler)
    for probe, url in ((SIGN_IN, ONE), (PROFILE, TWO), (SIGN_IN, TWO), (PROFILE, ONE)):
        await probing.probe(probe, url)

    assert [request.url.host for request in seen] == ["one", "two", "two", "one"]
    authorizations = [request.headers.get("authorization") for request in seen]
    assert authorizations == [None, "Bearer token-1", None, "Bearer token-3"]


async def test_every_replica_is_asked_on_every_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes_module, "EVERY_SECONDS", 0.01)
    left = {(url, probe.method, probe.http_route) for url in (ONE, TWO) for probe in PROBES}
    all_came = asyncio.Event()

    def handler(request: httpx.Request) -> httpx.Response:
        url = f"{request.url.scheme}://{request.url.netloc.decode()}"
        left.discard((url, request.method, request.url.path))
        if not left:
            all_came.set()
        return httpx.Response(200, json={"access_token": "token"})

    probing, _ = prober(handler)
    running = asyncio.create_task(probing.run())
    async with asyncio.timeout(10):
        await all_came.wait()

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def up(registry: CollectorRegistry, replica: str) -> float | None:
    return registry.get_sample_value("probe_replica_up", {"replica": replica})


async def test_a_replica_that_hangs_is_down_after_three_probes_and_the_other_is_not() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "two":
            raise TimeoutError
        return httpx.Response(200)

    probing, registry = prober(handler)
    for _ in range(2):
        await probing.probe(PROFILE, TWO)
    was_up = up(registry, "two:8000")
    await probing.probe(PROFILE, TWO)
    await probing.probe(PROFILE, ONE)

    assert was_up == 1
    assert up(registry, "two:8000") == 0
    assert up(registry, "one:8000") == 1


@pytest.mark.parametrize("status", [200, 401, 503])
async def test_any_answer_makes_a_replica_up_again(status: int) -> None:
    errors = [httpx.ConnectError("refused")] * 4

    def handler(_: httpx.Request) -> httpx.Response:
        if errors:
            raise errors.pop()
        return httpx.Response(status)

    probing, registry = prober(handler)
    for _ in range(4):
        await probing.probe(PROFILE, ONE)
    was_up = up(registry, "one:8000")
    await probing.probe(PROFILE, ONE)

    assert was_up == 0
    assert up(registry, "one:8000") == 1


async def test_a_sign_in_without_a_token_is_not_a_success() -> None:
    probing, _ = prober(lambda _: httpx.Response(200, json={}))

    assert await probing.probe(SIGN_IN, ONE) == "status"


async def test_the_session_cookie_of_the_sign_in_is_not_sent_back() -> None:
    client = probing_client()
    answer = httpx.Response(
        200,
        headers={"set-cookie": "session=secret; Path=/"},
        request=httpx.Request("POST", "http://127.0.0.1:8000/api/v1/auth/token"),
    )

    client.cookies.extract_cookies(answer)

    assert len(client.cookies) == 0
    await client.aclose()


def test_the_service_tells_probes_by_their_client_version() -> None:
    assert client_version_of(HEADERS["X-Client-Version"]) == PROBER


class Backends:
    """Viewer and Prometheus as the canary asks them; what was sent comes back unless broken."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.trace_id = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "otlp":
            sent = ExportTraceServiceRequest.FromString(request.content)
            self.trace_id = sent.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
            return httpx.Response(200)
        if request.url.host == "prometheus":
            value = "999" if self.broken == "metric" else "1000.5"
            result = [] if self.broken == "no metric" else [{"value": [0, value]}]
            return httpx.Response(200, json={"data": {"result": result}})
        if request.url.path != f"/api/traces/{self.trace_id}":
            return httpx.Response(404, json={"error": "not kept"})
        return httpx.Response(
            200,
            json={
                "spans": [] if self.broken == "span" else [{}],
                "logs": [] if self.broken == "log" else [{}],
            },
        )


@pytest.mark.parametrize(
    ("broken", "lost"),
    [("", None), ("span", "span"), ("log", "log"), ("metric", "metric"), ("no metric", "metric")],
)
async def test_the_canary_tells_which_signal_did_not_come_back(
    broken: str, lost: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary_module, "READ_BACK_SECONDS", 0.05)
    registry, times = CollectorRegistry(), iter([1.0, 1.0, 1.0, *[1000.5] * 10])
    client = httpx.AsyncClient(transport=httpx.MockTransport(Backends(broken)))
    bird = Canary(
        registry,
        client,
        otlp_url="http://otlp",
        viewer_url="http://viewer",
        prometheus_url="http://prometheus",
        clock=lambda: next(times),
    )

    came_back = await bird.round()

    assert came_back == {signal: signal != lost for signal in ("span", "log", "metric")}
    metric = "telemetry_canary_last_success_timestamp_seconds"
    values = {
        signal: registry.get_sample_value(metric, {"signal": signal}) for signal in came_back
    }
    assert values == {signal: 1.0 if signal == lost else 1000.5 for signal in came_back}
