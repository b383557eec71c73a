"""`python -m loadtests.costs.collector`: what the collector takes, what it costs, what an outage loses.

The shipped configuration on one core, sender and back end on the others. Spans come as the service
sends them: requests of 256, four spans a trace, one trace in twenty marked to be kept. Writes
collector.json and collector.md. A machine that does something else is refused: exit 2, unless `--anyway`.
docs/scaling.md takes its figure from here.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from loadtests.record import markdown, record
from loadtests.world.collector_process import (
    PROTOBUF,
    Collector,
    attributes_of,
    request_of,
    running_collector,
)
from loadtests.world.command import run
from loadtests.world.cores import why_not
from stack.command_line import Parser
from stack.waiting import until

BATCH_SPANS = 256
TRACE_SPANS = 4
KEPT_ONE_IN = 20
FLOOD_SECONDS = 20.0
STEADY_SPANS_PER_SECOND = 20_000
OUTAGE_SECONDS = 60.0
OUTAGE_SPANS_PER_SECOND = 200
SENDERS = 4
TRACES_EXPORTER = "otlp_http/traces"


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="collector", description=__doc__)
    parser.add_argument("--anyway", action="store_true", help="measure on a busy machine")
    record.add_into(parser)
    options = parser.parse_args(arguments)
    core, *others = sorted(os.sched_getaffinity(0))
    if refusal := why_not(others, anyway=options.anyway):
        print(f"collector: {refusal}", file=sys.stderr)
        return 2
    # Before any other thread starts: each inherits it.
    os.sched_setaffinity(0, others)
    found = {
        "flood": flood(core, spans_per_second=None),
        "steady": flood(core, spans_per_second=STEADY_SPANS_PER_SECOND),
        "outage": outage(core),
    }
    found = {**record.about(), **found}
    record.publish(record.place(options.into), "collector", found, page(found))
    return 0


def flood(core: int, *, spans_per_second: int | None) -> dict[str, Any]:
    """Send for FLOOD_SECONDS, as fast as it takes them or at a pace; what was taken and used."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running_collector(Path(directory), core=core) as one,
    ):
        process = _process_of(one)
        cpu_before, started = sum(process.cpu_times()[:2]), time.monotonic()
        deadline = started + FLOOD_SECONDS
        peak = process.memory_info().rss
        statuses: dict[str, int] = {}
        sent = 0
        with ThreadPoolExecutor(SENDERS) as pool, httpx.Client(timeout=60) as client:
            while time.monotonic() < deadline:
                if spans_per_second is not None:
                    ahead = sent / spans_per_second - (time.monotonic() - started)
                    time.sleep(max(0.0, ahead))
                bodies = [_body() for _ in range(SENDERS)]
                for status in pool.map(lambda body: _post(client, one, body), bodies):
                    statuses[str(status)] = statuses.get(str(status), 0) + 1
                sent += SENDERS * BATCH_SPANS
                peak = max(peak, process.memory_info().rss)
        seconds = time.monotonic() - started
        cpu = sum(process.cpu_times()[:2]) - cpu_before
        accepted = one.metric("otelcol_receiver_accepted_spans_total")
        refused = one.metric("otelcol_receiver_refused_spans_total")
        return {
            "seconds": round(seconds, 1),
            "sent_per_second": round(sent / seconds),
            "accepted_per_second": round(accepted / seconds),
            "refused": int(refused),
            "answers": statuses,
            "cpu_cores": round(cpu / seconds, 2),
            "accepted_per_cpu_second": round(accepted / cpu),
            "memory_peak_mib": peak >> 20,
            "dropped_undecided_traces": int(
                one.metric(
                    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total"
                )
            ),
        }


def outage(core: int) -> dict[str, Any]:
    """A back end that is away for a minute under a load that its queue can hold."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running_collector(Path(directory), core=core) as one,
    ):
        one.back_end.stop()
        sent = 0
        started = time.monotonic()
        while time.monotonic() - started < OUTAGE_SECONDS:
            spans = list(_spans(OUTAGE_SPANS_PER_SECOND, kept_one_in=1))
            if one.send(spans) == httpx.codes.OK:
                sent += len(spans)
            time.sleep(max(0.0, sent / OUTAGE_SPANS_PER_SECOND - (time.monotonic() - started)))
        one.back_end.start()
        back = time.monotonic()
        until(lambda: len(one.back_end.spans) >= sent, "every span that was queued")
        return {
            "away_seconds": OUTAGE_SECONDS,
            "sent": sent,
            "arrived": len({span.span_id for span in one.back_end.spans}),
            "refused": int(
                one.metric("otelcol_exporter_enqueue_failed_spans_total", exporter=TRACES_EXPORTER)
            ),
            "drained_seconds": round(time.monotonic() - back, 1),
        }


def _process_of(collector: Collector) -> psutil.Process:
    if collector.process is None:
        raise RuntimeError("the collector does not run")
    return psutil.Process(collector.process.pid)


def _post(client: httpx.Client, collector: Collector, body: bytes) -> int:
    url = f"http://127.0.0.1:{collector.ports['OTLP']}/v1/traces"
    return client.post(url, content=body, headers=PROTOBUF).status_code


def _body() -> bytes:
    spans = _spans(BATCH_SPANS, kept_one_in=KEPT_ONE_IN)
    content: bytes = request_of(spans, service="api").SerializeToString()
    return content


def _spans(count: int, *, kept_one_in: int) -> Iterator[Span]:
    """Spans of whole traces: a SERVER span and its statements, attributes as the service's."""
    now = time.time_ns()
    for number in range(count // TRACE_SPANS):
        trace_id, root = secrets.token_bytes(16), secrets.token_bytes(8)
        for child in range(TRACE_SPANS):
            yield Span(
                trace_id=trace_id,
                span_id=secrets.token_bytes(8) if child else root,
                parent_span_id=root if child else b"",
                name="SELECT" if child else "GET /api/v1/profile",
                kind=Span.SPAN_KIND_CLIENT if child else Span.SPAN_KIND_SERVER,
                start_time_unix_nano=now - 5_000_000,
                end_time_unix_nano=now,
                attributes=_STATEMENT if child else _REQUEST[number % kept_one_in == 0],
            )


_STATEMENT = attributes_of(
    {
        "db.system.name": "postgresql",
        "db.namespace": "firedrill",
        "db.operation.name": "SELECT",
        "db.query.text": "SELECT id, email, display_name FROM accounts WHERE accounts.id = $1",
    }
)
_REQUEST = {
    keep: attributes_of(
        {
            "firedrill.trace.keep": keep,
            "http.request.method": "GET",
            "http.route": "/api/v1/profile",
            "http.response.status_code": 200,
            "url.path": "/api/v1/profile",
            "url.scheme": "http",
            "server.address": "127.0.0.1",
            "server.port": 8000,
            "network.protocol.version": "1.1",
        }
    )
    for keep in (True, False)
}


def page(content: Mapping[str, Any]) -> str:
    """The page, from the record alone."""
    outage = content["outage"]
    rows = [
        (
            *(name, f"{one['sent_per_second']:,}", f"{one['accepted_per_second']:,}"),
            *(f"{one['refused']:,}", one["cpu_cores"], f"{one['accepted_per_cpu_second']:,}"),
            *(f"{one['memory_peak_mib']} MiB", f"{one['dropped_undecided_traces']:,}"),
        )
        for name, one in (
            ("as fast as it goes", content["flood"]),
            (f"{STEADY_SPANS_PER_SECOND:,} spans/s asked for", content["steady"]),
        )
    ]
    load = f"load, {FLOOD_SECONDS:.0f} s"
    head = (load, "sent/s", "taken/s", "refused", "cores", "taken/CPU s", "memory", "let go")
    lines = [
        *markdown.heading("The collector, measured", "make record", "collector"),
        f"{markdown.made(content)}. The shipped",
        "`otel-collector.yaml` on one core, the sender and the back end on the others; requests of",
        f"{BATCH_SPANS} spans, {TRACE_SPANS} spans a trace, one trace in {KEPT_ONE_IN} kept.",
        "",
        *markdown.table(head, rows, right=True),
    ]
    return (
        "\n".join(lines)
        + f"""

Taken/CPU s is what one core does. Memory is the peak of the resident set; let go are traces that had
to leave before a mark could come. What is refused is answered 503 by the memory limiter, and counted:
the spans of traces without a mark wait 30 s, so memory, not the processor, is the limit of a flood.

A back end that was away for {outage["away_seconds"]:.0f} s: {outage["sent"]:,} spans sent,
{outage["arrived"]:,} arrived, {outage["refused"]:,} refused; the queue was empty
{outage["drained_seconds"]} s after it came back.
"""
    )


if __name__ == "__main__":
    run("collector", lambda: main(sys.argv[1:]))
