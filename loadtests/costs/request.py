"""`python -m loadtests.costs.request`: one request, in every signal of the running stack: request.md.

Exit codes: 0, 1 a signal did not arrive, 2 the stack does not run.
"""

import asyncio
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from loadtests.observe import traces
from loadtests.record import record
from loadtests.record.markdown import made, table
from loadtests.world.command import run
from service.config import Config
from stack import demo, lifecycle
from stack.command_line import Parser
from stack.credentials import load_credentials
from stack.environment import service_environment
from stack.prometheus import Prometheus
from stack.settings import Settings, read_settings
from stack.waiting import until

ROUTE = "/api/v1/calendar/sync/auto"
"""It touches most: token, database, a grant that may have to be refreshed, the provider."""
ARRIVAL_SECONDS = 30.0
"""For the spans (exported every 5 s) and the line."""
EXEMPLAR_SECONDS = 8.0
"""For the scrape, every 5 s."""
SCRAPE_SECONDS = 5.0
"""The interval in alerting/prometheus.yml."""
BEFORE_SCRAPE_SECONDS = (0.4, 0.8, 0.2, 1.5, 0.4, 0.8, 0.2, 1.5)
"""How long before a scrape each try is sent. A bucket keeps its last exemplar only, and the prober asks
this route as often as it is scraped: sent at any other time, its probe may take the place each time."""


def write_page(settings: Settings, token: str, page: Path) -> None:
    """Send the request and replace the page. Raises TimeoutError, httpx.HTTPError."""
    with Prometheus(settings.url("prometheus")) as prometheus, httpx.Client(timeout=5) as client:
        for ahead in BEFORE_SCRAPE_SECONDS:
            _wait_for_scrape(prometheus, ahead)
            # Its low half is below any base ratio, so the service decides to keep this trace.
            trace_id = f"{secrets.token_hex(8)}{1:016x}"
            sent_at = time.time()
            answer = _send(client, settings, token, trace_id)
            trace = until(
                partial(_trace, client, settings, trace_id),
                f"trace {trace_id} with its line",
                seconds=ARRIVAL_SECONDS,
            )
            with contextlib.suppress(TimeoutError):
                samples = until(
                    partial(_samples, prometheus, trace_id, sent_at), "", seconds=EXEMPLAR_SECONDS
                )
                break
        else:
            raise TimeoutError(
                f"no exemplar of {len(BEFORE_SCRAPE_SECONDS)} requests in Prometheus"
            )
    record.replace(page, _page(answer, trace, samples))


def _wait_for_scrape(prometheus: Prometheus, ahead_seconds: float) -> None:
    """Until so long before the service is scraped again. Raises httpx.HTTPError."""
    for _, at in prometheus.query('max(timestamp(up{job="service"}))'):  # none: not scraped yet
        time.sleep((at + SCRAPE_SECONDS - ahead_seconds - time.time()) % SCRAPE_SECONDS)


def _send(client: httpx.Client, settings: Settings, token: str, trace_id: str) -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {token}",
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "X-Client-Version": "walkthrough/1.0",
    }
    return client.post(settings.url("service", ROUTE), headers=headers, timeout=20)


def _trace(client: httpx.Client, settings: Settings, trace_id: str) -> dict[str, Any]:
    """The whole trace; empty: it is not there yet."""
    found = traces.trace(client, settings.url("viewer"), trace_id)
    return found if found and traces.is_whole(found) else {}


def _samples(prometheus: Prometheus, trace_id: str, sent_at: float) -> list[dict[str, Any]]:
    """Series and value of each sample that names the trace."""
    selector = f'{{job="service",http_route="{ROUTE}"}}'
    return [
        {"series": labels, "seconds": float(exemplar["value"])}
        for labels, exemplar in prometheus.exemplars(
            selector, start=sent_at - 1, end=time.time() + 1
        )
        if exemplar["labels"].get("trace_id") == trace_id
    ]


def _page(answer: httpx.Response, trace: dict[str, Any], samples: list[dict[str, Any]]) -> str:
    line = next(line for line in trace["logs"] if line["event"] == "request_finished")
    return f"""# One request, in every signal

Written by `make record` from a request to a running stack, as `make request` does:
{made(record.about("fastapi", "sqlalchemy"))}.

`POST {ROUTE}` as a demo user with a Google grant, answered {answer.status_code}:

```json
{json.dumps(answer.json(), indent=1)}
```

## The trace

`GET /api/traces/{trace["trace_id"]}` of the viewer. One SERVER span, one CLIENT span for each
statement and each call of the provider; times in milliseconds from the first span's start.

{_waterfall(trace["spans"])}

What the SERVER span says:

```json
{json.dumps(_server(trace["spans"])["attributes"], indent=1, sort_keys=True)}
```

## The log line

One line for each request, found by the same trace id:

```json
{json.dumps(line, indent=1, sort_keys=True)}
```

## The metrics

Samples whose exemplar names this trace; a click on one in a dashboard leads to it.

{chr(10).join(table(("series", "seconds"), map(_sample, samples)))}
"""


def _server(spans: list[dict[str, Any]]) -> dict[str, Any]:
    return next(span for span in spans if span["kind"] == "SERVER")


def _waterfall(spans: list[dict[str, Any]]) -> str:
    begun = min(datetime.fromisoformat(span["start"]) for span in spans)
    by_parent: dict[str, list[dict[str, Any]]] = {}
    known = {span["span_id"] for span in spans}
    for span in sorted(spans, key=lambda span: span["start"]):
        parent = span["parent_span_id"] if span["parent_span_id"] in known else ""
        by_parent.setdefault(parent or "", []).append(span)
    rows: list[tuple[str, ...]] = []

    def walk(parent: str, depth: int) -> None:
        for span in by_parent.get(parent, []):
            offset = (datetime.fromisoformat(span["start"]) - begun).total_seconds() * 1000
            indent = "&nbsp;&nbsp;" * depth
            times = f"{offset:.1f}", f"{span['duration_ms']:.1f}"
            rows.append((*times, f"{indent}`{span['name']}`", span["kind"]))
            walk(span["span_id"], depth + 1)

    walk("", 0)
    return "\n".join(table(("from", "took", "span", "kind"), rows))


def _sample(item: dict[str, Any]) -> list[str]:
    labels = dict(item["series"])
    name = labels.pop("__name__")
    shown = ", ".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return [f"`{name}{{{shown}}}`", f"{item['seconds']:.4f}"]


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="request", description=__doc__)
    record.add_into(parser)
    options = parser.parse_args(arguments)
    settings, _ = lifecycle.running(read_settings())
    config = Config.model_validate(
        {
            name.lower(): value
            for name, value in service_environment(
                settings, load_credentials(settings.local)
            ).items()
        }
    )
    token = asyncio.run(demo.mint_token(config, demo.email_of(1), legacy=False))
    try:
        page = record.place(options.into) / "request.md"
        write_page(settings, token, page)
    except TimeoutError as error:
        print(f"request: {error}: `make doctor`", file=sys.stderr)
        return 1
    print(f"written: {record.shown(page)}")
    return 0


if __name__ == "__main__":
    run("request", lambda: main(sys.argv[1:]))
