"""Metrics read from the processes themselves (`/metrics`), not from Prometheus."""

import contextlib
from collections.abc import Iterable, Iterator

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from loadtests.world.description import DEMO


def exposition(url: str) -> str:
    """The text of a process. url: without `/metrics`. Raises httpx.HTTPError."""
    answer = httpx.get(f"{url}/metrics", timeout=5, trust_env=False)
    answer.raise_for_status()
    return answer.text


def samples(text: str) -> Iterator[Sample]:
    """Every sample of an exposition."""
    return (one for family in text_string_to_metric_families(text) for one in family.samples)


def total(texts: Iterable[str], name: str, **labels: str) -> float:
    """The sum of the samples of this name (a counter's ends in `_total`) that have these labels."""
    return sum(
        sample.value
        for text in texts
        for sample in samples(text)
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def replicas(urls: Iterable[str]) -> dict[str, float]:
    """What the replicas that answer say in sum: resident_bytes, validation_errors, and `422 of VERSION`.

    Empty where none answers.
    """
    texts = []
    for url in urls:
        with contextlib.suppress(httpx.HTTPError):
            texts.append(exposition(url))
    if not texts:
        return {}
    refused = {"http_response_status_code": "422"}
    return {
        "resident_bytes": total(texts, "process_resident_memory_bytes"),
        "validation_errors": total(texts, "http_request_validation_errors_total"),
        **{
            f"422 of {version}": total(
                texts, "api_client_requests_total", client_version=version, **refused
            )
            for version in DEMO.versions
        },
    }
