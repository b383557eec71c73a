"""`/metrics` answers whatever a scraper puts into `Accept`."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from firedrill_kit.telemetry.exposition import compressed, exposition

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def registry() -> CollectorRegistry:
    own = CollectorRegistry()
    Counter("things", "Things.", registry=own).inc()
    return own


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        (PROMETHEUS_3, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
        ('application/openmetrics-text; version="1.0.0"', OPENMETRICS),
        ('Application/OpenMetrics-Text;VERSION="1.0.0" ; q="0.7"', OPENMETRICS),
        ("application/openmetrics-text; version=abc", TEXT),
        ("application/openmetrics-text; version=", TEXT),
        ("application/openmetrics-text; version=2.0.0", TEXT),
        ("application/openmetrics-text; version=0.0.1", TEXT),
        ("application/openmetrics-text; version=1.0.0; q=0", TEXT),
        ("application/openmetrics-text; q=0.2, text/plain; q=0.9", TEXT),
        ("application/openmetrics-text; q=high", TEXT),
        ("text/plain; version=abc", TEXT),
        (';;=,,"', TEXT),
    ],
)
def test_what_is_asked_for_is_answered(accept: str, content_type: str) -> None:
    body, said = exposition(registry(), accept)

    assert said == content_type
    assert body.endswith(b"# EOF\n") is (content_type == OPENMETRICS)
    assert b"things_total 1.0" in body


PIECES = ["application/openmetrics-text", "text/plain", "*/*", ";", ",", "=", '"', "version", "q"]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12))
def test_no_header_keeps_a_scraper_out(pieces: list[str]) -> None:
    body, _ = exposition(registry(), "".join(pieces))

    assert b"things_total 1.0" in body


@pytest.mark.parametrize(
    ("asked", "is_zipped"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
    ],
)
def test_it_is_compressed_for_a_scraper_that_asks(asked: str, is_zipped: bool) -> None:
    body, headers = compressed(b"up 1.0\n" * 100, asked)

    assert headers == ({"Content-Encoding": "gzip"} if is_zipped else {})
    assert (gzip.decompress(body) if is_zipped else body) == b"up 1.0\n" * 100
