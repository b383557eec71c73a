"""The prober's HTTP: its own metrics, and those of the canary on a second path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stack.prober.asked import Asked
from stack.prober.canary import Canary
from stack.prober.probes import Prober, probing_client
from stack.serving import metrics_route


@dataclass(frozen=True)
class Addresses:
    """Where the others are. URLs without a slash at the end."""

    service_urls: Sequence[str]
    otlp_url: str
    viewer_url: str
    prometheus_url: str


def addresses_of(environment: Mapping[str, str]) -> Addresses:
    """Raises KeyError naming the variable that is missing."""
    return Addresses(
        service_urls=environment["SERVICE_URLS"].split(","),
        otlp_url=environment["OTLP_URL"],
        viewer_url=environment["VIEWER_URL"],
        prometheus_url=environment["PROMETHEUS_URL"],
    )


def create_app(addresses: Addresses, asked: Asked) -> Starlette:
    probes, canary = CollectorRegistry(), CollectorRegistry()
    tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with probing_client() as client:
            prober = Prober(
                probes,
                client,
                service_urls=addresses.service_urls,
                asked=asked,
            )
            bird = Canary(
                canary,
                client,
                otlp_url=addresses.otlp_url,
                viewer_url=addresses.viewer_url,
                prometheus_url=addresses.prometheus_url,
            )
            tasks.extend(asyncio.create_task(watcher.run()) for watcher in (prober, bird))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def healthy(_: Request) -> Response:
        """Unhealthy once a watcher has died of a bug: then nothing is watched any more."""
        dead = any(task.done() for task in tasks)
        return PlainTextResponse("dead\n" if dead else "ok\n", status_code=503 if dead else 200)

    return Starlette(
        routes=[
            metrics_route(probes),
            metrics_route(canary, "/canary/metrics"),
            Route("/healthz", healthy),
        ],
        lifespan=lifespan,
    )
