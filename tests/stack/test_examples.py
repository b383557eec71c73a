"""Each example with a stack around it, as its own firedrill.toml says: quiet, and no panel without data."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest

from dashboards import prove
from stack.prometheus import Prometheus
from stack.settings import OF_THE_DEMO
from stack.waiting import PATIENCE_SECONDS, until
from tests.examples.running import PASSWORD, USER, Example, prepared
from tests.stack.conftest import Stack, free_ports

QUIET_SECONDS = 120
EVALUATED_SECONDS = 'time() - min(min_over_time(timestamp(ALERTS{alertname="Watchdog"})[15m:5s]))'
REAL_FAILURES = (
    'probe_requests_total{result!="ok"} > 0',
    'http_server_request_duration_seconds_count{http_response_status_code=~"5.."} > 0',
    "min_over_time(up[15m]) == 0",
)
"""What an alert may fire for. A false page is one without any of them."""
FIRING = 'ALERTS{alertname!="Watchdog",severity!="none",alertstate="firing"}'


@dataclass(frozen=True)
class Around:
    """An example that its stack has started, with all of its workers."""

    example: Example
    stack: Stack


@pytest.fixture(scope="module", params=["shop", "notes"])
async def around(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Around]:
    folder = tmp_path_factory.mktemp(request.param)
    async with prepared(request.param, folder) as example:
        ports = {name: port for name, port in free_ports().items() if name not in OF_THE_DEMO}
        ports |= {"service": example.port, "service_internal": example.metrics_port}
        set_by_the_stack = {"FIREDRILL_METRICS_PORT", "OTEL_EXPORTER_OTLP_ENDPOINT"}
        variables = {
            **{
                name: text
                for name, text in example.environment.items()
                if name not in set_by_the_stack
            },
            "SERVICE": str(example.folder),
            "PROBE_USER": USER,
            "PROBE_PASSWORD": PASSWORD,
            "FIREDRILL_ADMIN_DSN": example.postgres.dsn("superuser"),
        }
        stack = Stack(folder / "local", ports, variables)
        try:
            stack.up()
            yield Around(example, stack)
        finally:
            stack.run("clean")
        assert stack.processes() == []


@pytest.fixture(scope="module")
def prometheus(around: Around) -> Iterator[Prometheus]:
    with Prometheus(around.stack.url("prometheus")) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def ask(around: Around) -> Iterator[Callable[[], None]]:
    """Sends the mix of the file; a request that is rejected has been sent."""
    description = around.example.description
    mix, client = description["load"]["mix"], description["client"]
    secrets = {"$PROBE_USER": USER, "$PROBE_PASSWORD": PASSWORD}
    given = client.get("form") or client["json"]
    body = {name: secrets[text] for name, text in given.items()}
    (written,) = (route for route in mix if route.startswith("POST "))
    # A connection for each request, so that every worker of several is reached.
    limits = httpx.Limits(max_keepalive_connections=0)

    with httpx.Client(
        base_url=around.example.url, timeout=PATIENCE_SECONDS, limits=limits
    ) as caller:
        sign_in = client["sign_in"].removeprefix("POST ")
        form, json = (body, None) if "form" in client else (None, body)
        signed_in = caller.post(sign_in, data=form, json=json)
        caller.headers["Authorization"] = f"Bearer {signed_in.json()[client['token']]}"
        assert caller.post(written.removeprefix("POST "), json={}).status_code == 422

        def send() -> None:
            for route, asked in mix.items():
                body = asked.get("json") if isinstance(asked, dict) else None
                answer = caller.request(*route.split(" "), json=body)
                assert answer.is_success, (route, answer.text)

        yield send


@pytest.mark.timeout(900)
def test_every_panel_that_is_shown_has_data_and_two_quiet_minutes_page_nobody(
    around: Around, prometheus: Prometheus, ask: Callable[[], None]
) -> None:
    """What only a failure fills is listed in dashboards/empty_when_healthy.yaml."""
    proofs: list[prove.Proof] = []
    boards = around.stack.local / "dashboards"

    with httpx.Client(base_url=around.stack.url("prometheus"), timeout=PATIENCE_SECONDS) as client:

        def proven() -> bool:
            ask()
            now = time.time()
            proofs.append(prove.prove(prove.client_get(client), now=now, folder=boards))
            return proofs[-1].holds

        until(proven, "data in every panel", seconds=5 * PATIENCE_SECONDS)

    def is_long_enough() -> bool:
        ask()
        (since,) = (value for _, value in prometheus.query(EVALUATED_SECONDS))
        return since >= QUIET_SECONDS

    until(is_long_enough, "two minutes of rules", seconds=5 * PATIENCE_SECONDS)
    shown = proofs[-1].figures()["panels"]
    assert (shown["shown"] >= 61, shown["empty"]) == (True, 0)
    fired = prometheus.query(f"count by (alertname) (max_over_time({FIRING}[15m]))")
    failed = [expr for expr in REAL_FAILURES if prometheus.query(expr)]
    if fired and failed:
        pytest.skip(f"not quiet: the machine was too busy to serve, {fired} are right: {failed}")
    assert fired == []
    assert httpx.get(around.stack.url("pager", "/pages")).json() == []
