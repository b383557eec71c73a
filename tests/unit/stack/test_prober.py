"""What the prober counts, and when the canary believes that a signal came back."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from firedrill_kit.config import FILE, MissingVariableError, parse, read
from firedrill_kit.telemetry.labels import PROBER, client_version_of
from stack.prober import canary as canary_module
from stack.prober import probes as probes_module
from stack.prober.asked import Asked, Probe, asked_of
from stack.prober.canary import Canary
from stack.prober.probes import HEADERS, RESULTS, Prober, probing_client
from stack.settings import ROOT

ACCOUNT = {"PROBE_USER": "user01@example.com", "PROBE_PASSWORD": "secret", "API_KEY": "k"}
DEMO = asked_of(read(ROOT / FILE), ACCOUNT)
PROBES = DEMO.probes
SIGN_IN, PROFILE = PROBES[:2]
ONE, TWO = "http://one:8000", "http://two:8000"
Handler = Callable[[httpx.Request], httpx.Response]


def prober(handler: Handler, asked: Asked = DEMO) -> tuple[Prober, CollectorRegistry]:
    registry = CollectorRegistry()
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return Prober(registry, client, service_urls=[ONE, TWO], asked=asked), registry


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
    probing = Prober(CollectorRegistry(), client, service_urls=[ONE], asked=DEMO)

    assert await probing.probe(replace(PROFILE, timeout_seconds=0.01), ONE) == "timeout"


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


def test_the_demo_is_probed_as_its_file_says() -> None:
    timeouts = {f"{one.method} {one.path}": one.timeout_seconds for one in PROBES}

    assert timeouts == {
        "POST /api/v1/auth/token": 5.5,
        "GET /api/v1/profile": 2.5,
        "GET /api/v1/settings": 2.5,
        "GET /api/v1/calendar/events": 2.5,
        "POST /api/v1/calendar/sync/auto": 15.5,
    }
    assert SIGN_IN.content == {"data": {"username": "user01@example.com", "password": "secret"}}


def asked(text: str) -> Asked:
    return asked_of(parse(f'[service]\nname = "shop"\n{text}'), ACCOUNT)


JSON_SIGN_IN = """
[client]
sign_in = "POST /login"
json = {user = {name = "$PROBE_USER"}, password = "$PROBE_PASSWORD"}
token = "data.token"
headers = {X-Token = "{token}"}
[probe]
routes = ["GET /me"]
"""


class Tokens:
    """A service that signs in by JSON; only the last token is good. seen: what it was asked for."""

    def __init__(self, *, nested: bool = True) -> None:
        self.seen: list[tuple[str, bytes, str | None]] = []
        self.token = "none"
        self._nested = nested

    def __call__(self, request: httpx.Request) -> httpx.Response:
        sent = request.headers.get("x-token")
        self.seen.append((request.url.path, request.content, sent))
        if request.url.path == "/login":
            self.token = f"token-{len(self.seen)}"
            return httpx.Response(200, json={"data": {"token": self.token} if self._nested else 3})
        return httpx.Response(200 if sent == self.token else 401)


async def test_a_sign_in_that_is_no_probe_happens_when_a_token_is_needed() -> None:
    service = Tokens()
    given = asked(JSON_SIGN_IN)
    probing, registry = prober(service, given)
    (me,) = given.probes

    results = [await probing.probe(me, ONE), await probing.probe(me, TWO)]
    service.token = "another"
    results.append(await probing.probe(me, ONE))

    assert results == ["ok", "ok", "ok"]
    paths = [path for path, *_ in service.seen]
    assert paths == ["/login", "/me", "/me", "/me", "/login", "/me"]
    body = b'{"user":{"name":"user01@example.com"},"password":"secret"}'
    assert service.seen[0] == ("/login", body, None)
    assert counted(registry, me, "ok") == 2
    labels = {"replica": "one:8000", "http_route": "/login", "result": "ok"}
    assert registry.get_sample_value("probe_requests_total", labels) is None


async def test_without_a_token_in_the_answer_the_probe_fails() -> None:
    given = asked(JSON_SIGN_IN)
    probing, _ = prober(Tokens(nested=False), given)

    assert await probing.probe(given.probes[0], ONE) == "status"


FIXED_KEY = '[client]\nheaders = {X-Api-Key = "$API_KEY"}\n'


@pytest.mark.parametrize(
    ("client", "caller", "key"),
    [("", "anybody", None), (FIXED_KEY, "account", "k"), (FIXED_KEY, "anybody", None)],
    ids=["nobody signs in", "a fixed key", "one that needs no key"],
)
async def test_a_probe_is_sent_as_the_file_says(client: str, caller: str, key: str | None) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    mix = f'[load.mix]\n"GET /items/{{id}}" = {{path = "/items/1", caller = "{caller}"}}\n'
    given = asked(f'{client}{mix}[probe]\nroutes = ["GET /items/{{id}}"]')
    probing, registry = prober(handler, given)

    assert await probing.probe(given.probes[0], ONE) == "ok"

    (request,) = seen
    assert request.url.path == "/items/1"
    assert (request.headers.get("x-api-key"), request.headers.get("authorization")) == (key, None)
    labels = {"replica": "one:8000", "http_route": "/items/{id}", "result": "ok"}
    assert registry.get_sample_value("probe_requests_total", labels) == 1


@pytest.mark.parametrize("missing", ["PROBE_USER", "PROBE_PASSWORD"])
def test_a_variable_that_is_missing_is_named_before_anything_is_sent(missing: str) -> None:
    environment = {name: value for name, value in ACCOUNT.items() if name != missing}

    with pytest.raises(MissingVariableError, match=f"{missing} is not set"):
        asked_of(read(ROOT / FILE), environment)


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
