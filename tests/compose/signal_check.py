"""What containers add to the signal matrix (tests/stack/test_signal_matrix.py): two replicas behind a
proxy, targets found by their names, an alert's way to the pager, a stop under load. Each check returns
what it measured. Addresses are those that docker-compose.yml publishes.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from stack.prometheus import Prometheus

USER = {"username": "user03@example.com", "password": "firedrill-demo-03"}
ARRIVAL_SECONDS = 90
"""Two scrapes, two evaluations, Alertmanager's group_wait: the slowest of the signals here."""
STOP_SECONDS = 5.0
"""The contract's, from SIGTERM to the exit."""


class Missing(Exception):
    """A signal that did not arrive, or an answer that is wrong."""


@dataclass(frozen=True)
class Addresses:
    service: str
    prometheus: str
    pager: str


def until(what: str, read: Callable[[], str], seconds: float = ARRIVAL_SECONDS) -> str:
    """Repeat until `read` returns something. Raises Missing."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := read():
                return found
        except (httpx.HTTPError, LookupError, ValueError):
            pass
        time.sleep(0.5)
    raise Missing(f"{what}: not within {seconds:.0f} s")


@dataclass(frozen=True)
class Stop:
    """seconds: from SIGTERM to the exit. lost: answers other than 200, by status; 0: none came."""

    seconds: float
    requests: int
    lost: dict[str, int]

    def judged(self) -> str:
        """Raises Missing when a request was lost or the stop took too long."""
        said = f"stopped in {self.seconds} s, {sum(self.lost.values())} of {self.requests} requests lost"
        if self.lost or self.seconds > STOP_SECONDS:
            raise Missing(f"{said} {json.dumps(self.lost) if self.lost else ''}".strip())
        return said


class Seen:
    """The stack as a user of it sees it."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self._client = httpx.Client(timeout=10)
        self.prometheus = Prometheus(addresses.prometheus, timeout_seconds=10)
        self._token = ""

    def profile(self) -> httpx.Response:
        """Read through the proxy, as a demo user."""
        service = self.addresses.service
        if not self._token:
            answer = self._client.post(f"{service}/api/v1/auth/token", data=USER)
            self._token = answer.raise_for_status().json()["access_token"]
            self._client.cookies.clear()  # one caller, one way to be known
        headers = {"authorization": f"Bearer {self._token}"}
        return self._client.get(f"{service}/api/v1/profile", headers=headers)

    def both_replicas_answer(self) -> str:
        def read() -> str:
            self.profile().raise_for_status()
            rates = self.prometheus.query(
                "sum by (instance) (http_server_request_duration_seconds_count"
                '{job="service",http_route="/api/v1/profile"}) > 0'
            )
            return (
                ", ".join(sorted(labels["instance"] for labels, _ in rates))
                if len(rates) == 2
                else ""
            )

        return until("requests on both replicas", read)

    def targets_up(self, left_out: frozenset[str]) -> str:
        def read() -> str:
            up = {
                (labels["job"], labels["instance"]): value == 1
                for labels, value in self.prometheus.query("up")
            }
            down = {key for key, is_up in up.items() if not is_up and key[0] not in left_out}
            return f"{sum(up.values())} of {len(up)}" if up and not down else ""

        return until("all targets up", read)

    def rules_loaded(self) -> str:
        rules = self.prometheus.rules()
        bad = [rule["name"] for rule in rules if rule["health"] == "err"]
        if bad or not rules:
            raise Missing(f"rules with errors: {bad}")
        return f"{len(rules)} rules"

    def runbooks_are_served(self) -> str:
        """Every link of every alert, as a page has it."""
        links = {
            rule["annotations"]["runbook_url"]
            for rule in self.prometheus.rules()
            if rule["type"] == "alerting"
        }
        dead = [url for url in sorted(links) if "Meaning" not in self._client.get(url).text]
        if dead or not links:
            raise Missing(f"no runbook at {dead[:3]}")
        return f"{len(links)} links of alerts, each to its runbook"

    def probes_succeed(self) -> str:
        def read() -> str:
            good = self.prometheus.query(
                'sum by (http_route) (probe_requests_total{result="ok"}) > 0'
            )
            return f"{len(good)} routes" if len(good) == 5 else ""

        return until("every probed route has answered 2xx", read)

    def dead_man_beats(self) -> str:
        def read() -> str:
            text = self._client.get(f"{self.addresses.pager}/metrics").text
            received = [
                line
                for line in text.splitlines()
                if "deadman" in line and not line.startswith("#")
            ]
            return received[0] if any(not line.endswith(" 0.0") for line in received) else ""

        return until("Watchdog through Alertmanager to the pager", read)

    def stop_under_load(self, restart: Callable[[], float]) -> Stop:
        """Call all the time from four threads while one replica is stopped by SIGTERM."""
        self.profile().raise_for_status()
        headers = {"authorization": f"Bearer {self._token}"}
        url = f"{self.addresses.service}/api/v1/profile"
        codes: list[int] = []
        ended = threading.Event()

        def caller() -> None:
            with httpx.Client(timeout=10, headers=headers) as client:
                while not ended.is_set():
                    try:
                        codes.append(client.get(url).status_code)
                    except httpx.HTTPError:
                        codes.append(0)

        threads = [threading.Thread(target=caller) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            until("requests flow", lambda: "yes" if len(codes) > 50 else "")
            seconds = restart()
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        lost = {str(code): codes.count(code) for code in set(codes) - {200}}
        return Stop(round(seconds, 1), len(codes), lost)
