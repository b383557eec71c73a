"""What becomes of the application, and of its spans, when nobody takes them."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from loadtests.bench.generator import Ask, load
from loadtests.bench.laboratory import Laboratory, Ports, Row
from loadtests.bench.modes import BEFORE, ENDPOINTS, MODES, OURS
from loadtests.bench.rounds import probe
from loadtests.observe.exposition import exposition, total
from stack.serving import LOOPBACK, free_port

STATES = ("up", "refused", "503", "hanging")


class _Unavailable(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: one a second is what is expected."""


@contextmanager
def sink(lab: Laboratory, state: str) -> Iterator[str]:
    """The address of an OTLP receiver in this state, as long as the block runs."""
    if state == "up":
        yield lab.otlp
    elif state == "refused":
        yield f"http://{LOOPBACK}:{free_port()}"
    elif state == "503":
        with ThreadingHTTPServer((LOOPBACK, 0), _Unavailable) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield f"http://{LOOPBACK}:{server.server_port}"
            finally:
                server.shutdown()
    else:
        # The kernel takes the connections; nobody ever reads.
        with socket.create_server((LOOPBACK, 0), backlog=128) as listener:
            yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"


def measured(lab: Laboratory) -> list[Row]:
    """A row for each state, kit and round: throughput, memory, spans accounted for, seconds to stop."""
    rows = []
    names = [OURS, *([BEFORE] if lab.kit_before is not None else [])]
    spans = probe(lab, OURS, MODES[OURS])["items"]
    for number in range(min(2, lab.lengths.rounds)):
        for state in STATES:
            for name in names:
                row = _measure(lab, name, state, spans)
                rows.append({"mode": name, "sink": state, "round": number} | row)
                lab.say(f"  {name}, {state}: {row}")
    return rows


def _measure(lab: Laboratory, name: str, state: str, spans: float) -> Row:
    ask = Ask(ENDPOINTS["items"])
    with sink(lab, state) as url:
        ports, context = lab.mode(
            MODES[OURS],
            kit=lab.kit_before if name == BEFORE else None,
            OTEL_EXPORTER_OTLP_ENDPOINT=url,
        )
        with context as server:
            warm = load(ports.app, ask, seconds=lab.lengths.warm)
            found = load(ports.app, ask, seconds=lab.lengths.sink)
            accounted = _accounted(ports) / ((warm.sent + found.sent) * spans)
            memory = server.memory_bytes()
    return {
        "per_second": round(found.count / found.seconds, 1),
        "p99_saturated_ms": found.percentile(0.99),
        "memory_mb": round(memory / 1e6, 1),
        "spans_accounted": round(accounted, 4),
        "stop_seconds": round(server.stop_seconds, 2),
    }


def _accounted(ports: Ports) -> float:
    """Spans that the kit says were exported, failed, dropped or still wait."""
    text = exposition(f"http://{LOOPBACK}:{ports.metrics}")
    return total([text], "telemetry_spans_total") + total([text], "telemetry_queue_spans")
