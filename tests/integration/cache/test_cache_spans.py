"""Our own spans beside those of opentelemetry-instrumentation-redis: the same call, described alike."""

import redis.asyncio
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# Chooses the conventions of today, which a process does once, for all instrumentations.
from firedrill_kit.telemetry import contrib  # noqa: F401
from service.app import Service
from service.cache import Cache
from stack.cache import CacheServer
from tests.integration.cache.server import value_of
from tests.signals import watched_spans


async def test_our_span_says_what_the_contributed_instrumentation_says(
    service: Service, cache: Cache, cache_server: CacheServer
) -> None:
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    client = redis.asyncio.Redis(port=cache_server.port, password=cache_server.password)
    RedisInstrumentor.instrument_client(client, tracer_provider=provider)

    with watched_spans(service.tracing) as spans:
        await value_of(cache, "a")
    await client.get("a")
    await client.aclose()

    (ours,) = [one for one in spans.ended if one.name == "GET settings"]
    theirs = exported.get_finished_spans()[-1]
    assert ours.kind == theirs.kind
    mine, of_contrib = dict(ours.attributes or {}), dict(theirs.attributes or {})
    assert mine["db.system.name"] == of_contrib["db.system.name"]
    assert {"server.address", "server.port"} <= mine.keys() & of_contrib.keys()
    assert mine["db.operation.name"] == theirs.name
