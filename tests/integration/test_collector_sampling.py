"""Tail sampling keeps exactly the traces that are to be kept, whole."""

import random
import secrets
from collections import defaultdict
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from stack.waiting import until
from tests.integration.collector_process import Collector, attributes_of, running_collector

TRACES = 400


@pytest.fixture
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with running_collector(tmp_path_factory.mktemp("collector"), DECISION_WAIT="8s") as running:
        yield running


def span(trace_id: bytes, *, failed: bool, keep: bool | None = None) -> Span:
    return Span(
        trace_id=trace_id,
        span_id=secrets.token_bytes(8),
        name="work",
        attributes=attributes_of({} if keep is None else {"firedrill.trace.keep": keep}),
        status=Status(code=Status.STATUS_CODE_ERROR) if failed else None,
    )


def test_marked_traces_and_those_that_failed_elsewhere_are_kept_whole_and_no_other(
    collector: Collector,
) -> None:
    """Every mix of mark and failure, from two services, in batches that cut through the traces."""
    draw = random.Random(8)  # noqa: S311 - the same mix each time
    sent: list[tuple[str, Span]] = []
    wanted: dict[bytes, set[bytes]] = defaultdict(set)
    for _ in range(TRACES):
        trace_id = secrets.token_bytes(16)
        keep, failed_here, failed_elsewhere = (draw.random() < 0.3 for _ in range(3))
        spans = [
            ("api", span(trace_id, failed=failed_here, keep=keep)),
            ("api", span(trace_id, failed=failed_here)),
            ("provider", span(trace_id, failed=failed_elsewhere)),
            ("provider", span(trace_id, failed=False)),
        ]
        sent += spans
        if keep or failed_elsewhere:
            wanted[trace_id] = {one.span_id for _, one in spans}
    draw.shuffle(sent)

    for start in range(0, len(sent), 50):
        batch = sent[start : start + 50]
        for service in ("api", "provider"):
            collector.send([one for name, one in batch if name == service], service=service)

    def undecided() -> float:
        name = "otelcol_processor_tail_sampling_sampling_traces_on_memory"
        return collector.metric(name)

    until(lambda: undecided() == 0, "every trace decided")
    until(
        lambda: len(collector.back_end.spans) >= sum(map(len, wanted.values())),
        "every span of the kept traces",
    )
    arrived: dict[bytes, set[bytes]] = defaultdict(set)
    for one in collector.back_end.spans:
        arrived[one.trace_id].add(one.span_id)
    assert arrived == wanted
    assert 0 < len(wanted) < TRACES
