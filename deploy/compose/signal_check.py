"""What must be seen from outside once the containers are healthy. Each check returns what it measured.

Addresses are those that docker-compose.yml publishes; the pager's, Prometheus's and the proxy's.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

USER = {"username": "user03@example.com", "password": "firedrill-demo-03"}
ARRIVAL_SECONDS = 90
"""Two scrapes, two evaluations, Alertmanager's group_wait: the slowest of the signals here."""


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


class Seen:
    """The stack as a user of it sees it."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self._client = httpx.Client(timeout=10)
        self._token = ""
        self.trace_id = ""
        """Of the request that was refused with 422."""

    def query(self, promql: str) -> list[dict[str, Any]]:
        answer = self._client.get(
            f"{self.addresses.prometheus}/api/v1/query", params={"query": promql}
        )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        return self._client.request(
            method, f"{self.addresses.service}{path}", headers=headers, **more
        )

    def sign_in_and_use(self) -> str:
        answer = self.call("POST", "/api/v1/auth/token", data=USER)
        _expect(answer, 200)
        self._token = answer.json()["access_token"]
        # With the session's cookie each change would need a CSRF token.
        self._client.cookies.clear()
        _expect(self.call("GET", "/api/v1/profile"), 200)
        _expect(self.call("POST", "/api/v1/calendar/sync/auto"), 200)
        problem = self.call("PUT", "/api/v1/profile", json={"displayName": "x"})
        _expect(problem, 422)
        self.trace_id = problem.json()["trace_id"]
        return f"200, 200, 200 and a 422 with trace_id {self.trace_id}"

    def both_replicas_answer(self) -> str:
        def read() -> str:
            self.call("GET", "/api/v1/profile")
            rates = self.query(
                "sum by (instance) (http_server_request_duration_seconds_count"
                '{job="service",http_route="/api/v1/profile"}) > 0'
            )
            return (
                ", ".join(sorted(one["metric"]["instance"] for one in rates))
                if len(rates) == 2
                else ""
            )

        return until("requests on both replicas", read)

    def targets_up(self, left_out: frozenset[str]) -> str:
        def read() -> str:
            up = {
                (one["metric"]["job"], one["metric"]["instance"]): one["value"][1] == "1"
                for one in self.query("up")
            }
            down = {key for key, is_up in up.items() if not is_up and key[0] not in left_out}
            return f"{sum(up.values())} of {len(up)}" if up and not down else ""

        return until("all targets up", read)

    def rules_loaded(self) -> str:
        answer = self._client.get(f"{self.addresses.prometheus}/api/v1/rules")
        groups = answer.json()["data"]["groups"]
        bad = [
            rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"
        ]
        if bad or not groups:
            raise Missing(f"rules with errors: {bad}")
        return f"{sum(len(group['rules']) for group in groups)} rules in {len(groups)} groups"

    def validation_error_counted(self) -> str:
        return until(
            "the 422 by field",
            lambda: ", ".join(
                sorted(
                    {
                        one["metric"]["field"]
                        for one in self.query(
                            'http_request_validation_errors_total{http_route="/api/v1/profile"} > 0'
                        )
                    }
                )
            ),
        )

    def probes_succeed(self) -> str:
        def read() -> str:
            good = self.query('sum by (http_route) (probe_requests_total{result="ok"}) > 0')
            return f"{len(good)} routes" if len(good) == 5 else ""

        return until("every probed route has answered 2xx", read)

    def database_seen(self) -> str:
        return until(
            "pg_up and db_up",
            lambda: (
                "pg_up 1, db_up 1" if self.query("pg_up == 1 and on() (min(db_up) == 1)") else ""
            ),
        )

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

    def nothing_lost_while(self, restart: Callable[[], float]) -> str:
        """Call all the time from four threads while one replica is stopped by SIGTERM."""
        codes: list[int] = []
        ended = threading.Event()

        def caller() -> None:
            with httpx.Client(timeout=10) as client:
                while not ended.is_set():
                    try:
                        answer = client.get(
                            f"{self.addresses.service}/api/v1/profile",
                            headers={"authorization": f"Bearer {self._token}"},
                        )
                        codes.append(answer.status_code)
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
        lost = sum(code != 200 for code in codes)
        if lost:
            bad = {code: codes.count(code) for code in set(codes) - {200}}
            raise Missing(f"{lost} of {len(codes)} requests lost: {json.dumps(bad)}")
        if seconds > 5:
            raise Missing(f"the stop took {seconds:.1f} s")
        return f"stopped in {seconds:.1f} s, 0 of {len(codes)} requests lost"


def _expect(answer: httpx.Response, status: int) -> None:
    if answer.status_code != status:
        raise Missing(f"{answer.request.method} {answer.request.url.path}: {answer.text[:200]}")
