"""Synthetic traffic: one request per critical route and replica every five seconds, judged from outside.

It signs in as a client would, and calls the other routes with the token it got, so a hang, a blocked loop
or an unreachable port shows although nobody else is calling. Each replica is counted for itself: in the sum
of all, one that hangs looks like a few slow requests.
"""

import asyncio
from collections.abc import Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stack.prober.asked import Asked, Probe

EVERY_SECONDS = 5.0
RESULTS = ("ok", "status", "timeout", "network")
"""2xx; any other status; no answer in time; no connection, or one that broke."""
UNANSWERED = frozenset({"timeout", "network"})
MISSES_TO_DOWN = 3
"""Probes in a row without an answer: one alone is a lost packet or a restart that is over."""


HEADERS = {
    "X-Client-Version": "prober",
    # "alwayson" is how the OpenTelemetry instrumentation tells user_agent.synthetic.type=test.
    "User-Agent": "firedrill-prober/1.0 (alwayson)",
}


class Prober:
    """Probes every replica, each time on a new connection, as a balancer's clients would.

    service_urls: one per replica.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        client: httpx.AsyncClient,
        *,
        service_urls: Sequence[str],
        asked: Asked,
    ) -> None:
        self._client = client
        self._urls = service_urls
        self._asked = asked
        self._token = ""
        self._signed_in = asyncio.Event()
        self._sign_in_is_probed = any(probe.is_sign_in for probe in asked.probes)
        self._misses = dict.fromkeys(service_urls, 0)
        self._requests = Counter(
            "probe_requests",
            "Probes sent.",
            ["replica", "http_route", "result"],
            registry=registry,
        )
        self._durations = Histogram(
            "probe_duration_seconds",
            "From sending a probe to its whole answer, or to giving up.",
            ["replica", "http_route"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
            registry=registry,
        )
        self._up = Gauge(
            "probe_replica_up",
            "Whether the replica answers probes, whatever the answer; 0 after three in a row without one.",
            ["replica"],
            registry=registry,
        )
        for url in service_urls:
            self._up.labels(replica_of(url)).set(1)
            for probe in asked.probes:
                self._durations.labels(replica_of(url), probe.http_route)
                for result in RESULTS:
                    self._requests.labels(replica_of(url), probe.http_route, result)

    async def run(self) -> None:
        """Probe until cancelled. What is signed in waits for the first sign-in that is probed."""
        all_probes = [(probe, url) for probe in self._asked.probes for url in self._urls]
        async with asyncio.TaskGroup() as tasks:
            for index, (probe, url) in enumerate(all_probes):
                # One after the other: together they would measure each other.
                offset_seconds = index * EVERY_SECONDS / len(all_probes)
                tasks.create_task(self._repeat(probe, url, offset_seconds))

    async def _repeat(self, probe: Probe, url: str, offset_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + offset_seconds
        if probe.is_signed_in and self._sign_in_is_probed:
            await self._signed_in.wait()
        await asyncio.sleep(due - loop.time())
        while True:
            await self.probe(probe, url)
            # A probe that took longer than the interval is followed by the next at once.
            due = max(due + EVERY_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())

    async def probe(self, probe: Probe, url: str) -> str:
        """Send one request to a replica, count it, and return its result."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(probe.timeout_seconds):
                answer = await self._send(probe, url)
            result = "ok" if answer.is_success else "status"
        except TimeoutError:
            result = "timeout"
        except httpx.HTTPError:
            result = "network"
        except (ValueError, LookupError, TypeError):  # 200 without a token in it
            result = "status"
        replica = replica_of(url)
        self._durations.labels(replica, probe.http_route).observe(loop.time() - began)
        self._requests.labels(replica, probe.http_route, result).inc()
        self._misses[url] = self._misses[url] + 1 if result in UNANSWERED else 0
        self._up.labels(replica).set(self._misses[url] < MISSES_TO_DOWN)
        return result

    async def _send(self, probe: Probe, url: str) -> httpx.Response:
        if not probe.is_signed_in:
            return await self._request(probe, url, HEADERS)
        sign_in = None if self._sign_in_is_probed else self._asked.sign_in
        if sign_in and not self._token:
            await self._request(sign_in, url, HEADERS)
        answer = await self._request(probe, url, self._headers())
        if sign_in and answer.status_code == httpx.codes.UNAUTHORIZED:
            # The token has run out: nobody else signs in for it.
            await self._request(sign_in, url, HEADERS)
            answer = await self._request(probe, url, self._headers())
        return answer

    async def _request(self, probe: Probe, url: str, headers: Mapping[str, str]) -> httpx.Response:
        answer = await self._client.request(
            probe.method, f"{url}{probe.path}", headers=headers, **probe.content
        )
        if probe.is_sign_in and answer.is_success:
            self._token = self._asked.token_of(answer.json())
            self._signed_in.set()
        return answer

    def _headers(self) -> Mapping[str, str]:
        return {**HEADERS, **self._asked.headers(self._token)}


def replica_of(url: str) -> str:
    """Host and port, which is what a replica is called in the probes' metrics."""
    return url.partition("://")[2].partition("/")[0]


def probing_client() -> httpx.AsyncClient:
    """No kept connection, no cookie, no proxy of the environment.

    With the session cookie of the sign-in the service would ask for a CSRF token.
    """
    return httpx.AsyncClient(
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=20,
        trust_env=False,
    )
