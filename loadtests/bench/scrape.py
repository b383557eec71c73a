"""What a scrape of many series takes of the process that is scraped."""

from collections.abc import Mapping

import httpx

from loadtests.bench.laboratory import Laboratory, Row
from loadtests.bench.modes import BEFORE, MODES, OURS
from stack.serving import LOOPBACK

SERIES = 10_000
SCRAPES = 20
STOCK = "prometheus_fastapi_instrumentator"
ACCEPTED: Mapping[str, Mapping[str, str]] = {
    "text": {"accept": "text/plain", "accept-encoding": "identity"},
    "openmetrics": {
        "accept": "application/openmetrics-text;version=1.0.0",
        "accept-encoding": "identity",
    },
    "gzip": {"accept": "text/plain", "accept-encoding": "gzip"},
}


def measured(lab: Laboratory) -> list[Row]:
    """A row for each format, and for prometheus_client's own renderer beside ours."""
    rows = []
    for name in (OURS, *([BEFORE] if lab.kit_before is not None else []), STOCK):
        mode = MODES[OURS if name == BEFORE else name]
        ports, context = lab.mode(
            mode, kit=lab.kit_before if name == BEFORE else None, BENCH_SERIES=str(SERIES)
        )
        port = ports.metrics if mode.metrics == "own" else ports.app
        with context as server, httpx.Client(timeout=30, trust_env=False) as http:
            for format_, headers in ACCEPTED.items():
                url = f"http://{LOOPBACK}:{port}/metrics"
                _scraped(http, url, headers)  # what is made at the first scrape only
                before = server.cpu_seconds()
                answers = [_scraped(http, url, headers) for _ in range(SCRAPES)]
                cpu = server.cpu_seconds() - before
                rows.append(
                    {
                        "mode": name,
                        "format": format_,
                        "cpu_ms": round(cpu / SCRAPES * 1000, 2),
                        "wire_bytes": int(answers[-1].headers.get("content-length", 0)),
                        "encoding": answers[-1].headers.get("content-encoding", "identity"),
                    }
                )
                lab.say(f"  {rows[-1]}")
    return rows


def _scraped(http: httpx.Client, url: str, headers: Mapping[str, str]) -> httpx.Response:
    answer = http.get(url, headers=dict(headers))
    answer.raise_for_status()
    return answer
