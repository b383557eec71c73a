"""A registry as its scraper asks for it, whatever the `Accept` header looks like."""

import gzip
from collections.abc import Iterator

from prometheus_client import CollectorRegistry

from firedrill_kit.telemetry import scrape

PLAIN_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text"
OPENMETRICS_VERSION = "1.0.0"
GZIP_LEVEL = 1
"""6 halves the rest once more and takes four times as long."""


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return body and content type: OpenMetrics for a scraper that takes it, else plain text.

    accept: of all `Accept` headers, joined by commas. Plain text also answers what nobody can read:
    `prometheus_client.choose_encoder` raises there, and a scrape that fails is a target that is down.
    """
    weights = dict.fromkeys(("openmetrics", "text"), 0.0)
    for media_type, parameters in _ranges(accept):
        if media_type == OPENMETRICS_TYPE:
            # Without a version any will do.
            fits = parameters.get("version", OPENMETRICS_VERSION) == OPENMETRICS_VERSION
            kind = "openmetrics" if fits else ""
        else:
            kind = "text" if media_type in {"text/plain", "text/*", "*/*"} else ""
        if kind:
            weights[kind] = max(weights[kind], _weight(parameters.get("q", "1")))
    if weights["openmetrics"] > 0 and weights["openmetrics"] >= weights["text"]:
        content_type = f"{OPENMETRICS_TYPE}; version={OPENMETRICS_VERSION}; charset=utf-8"
        return scrape.with_exemplars(registry), content_type
    return scrape.plain(registry), PLAIN_TYPE


def compressed(body: bytes, accept_encoding: str) -> tuple[bytes, dict[str, str]]:
    """Return body and further headers: gzip for a scraper that asks for it.

    Ten times smaller; the interpreter is free meanwhile.
    """
    for coding, parameters in _ranges(accept_encoding):
        if coding == "gzip" and _weight(parameters.get("q", "1")) > 0:
            return gzip.compress(body, GZIP_LEVEL), {"Content-Encoding": "gzip"}
    return body, {}


def _ranges(accept: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in accept.lower().split(","):
        media_type, *rest = (piece.strip() for piece in part.split(";"))
        pairs = (piece.partition("=") for piece in rest)
        # A value may be quoted: `version="1.0.0"` (RFC 9110 §5.6.6).
        yield media_type, {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _weight(quality: str) -> float:
    try:
        return min(max(float(quality), 0.0), 1.0)
    except ValueError:
        return 0.0
