"""The modes, round after round: each once a round, every second round backwards, a fresh process each."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import httpx

from loadtests.bench.generator import Ask, GeneratorError, load
from loadtests.bench.laboratory import Laboratory, Ports, Row, counted
from loadtests.bench.modes import BEFORE, ENDPOINTS, MODES, OURS, RATES, Mode
from loadtests.bench.server import NotReadyError, Server
from stack.tools.building import BuildError

PROBE_SECONDS = 0.8
Spans = Mapping[str, int]
"""A request, by endpoint."""
NotMeasured = (NotReadyError, GeneratorError, BuildError, httpx.HTTPError)


def modes_of(lab: Laboratory) -> dict[str, Mode]:
    """All modes; where there is a commit to compare with, its kit right after this one's."""
    found = {}
    for name, mode in MODES.items():
        found[name] = mode
        if name == OURS and lab.kit_before is not None:
            found[BEFORE] = replace(mode, what=f"{mode.what}, the other commit")
    return found


def probe(lab: Laboratory, name: str, mode: Mode) -> Spans:
    """Spans that a request makes: a whole number, those of the first connects aside.

    Raises one of NotMeasured.
    """
    made = {}
    for endpoint, path in ENDPOINTS.items():
        before = lab.spans()
        ports, server = _start(lab, name, mode)
        with server:
            # At a rate at which no mode has to drop anything.
            found = load(ports.app, Ask(path), seconds=PROBE_SECONDS, clients=4, rate=80)
        if found.refused:
            raise GeneratorError(f"{path} answered {dict(found.statuses)}")
        made[endpoint] = round((lab.spans() - before) / found.sent)
    return made


def measured(lab: Laboratory) -> dict[str, Any]:
    """spans_per_request: by mode; reasons: why a mode was not measured; rows: of all rounds."""
    spans: dict[str, Spans] = {}
    reasons: dict[str, str] = {}
    for name, mode in modes_of(lab).items():
        try:
            spans[name] = probe(lab, name, mode)
        except NotMeasured as error:
            reasons[name] = _line(error)
        lab.say(f"  {name}: {reasons.get(name) or f'{dict(spans[name])} spans a request'}")
    rows: list[Row] = []
    for number in range(lab.lengths.rounds):
        lab.say(f"  round {number + 1} of {lab.lengths.rounds}")
        for name, mode in _order(lab, number):
            if name not in reasons:
                try:
                    rows += _round(lab, name, mode, spans[name], number)
                except NotMeasured as error:
                    rows.append({"mode": name, "round": number, "reason": _line(error)})
                    lab.say(f"    {name}: {_line(error)}")
    return {"spans_per_request": spans, "reasons": reasons, "rows": rows}


def _order(lab: Laboratory, number: int) -> Iterator[tuple[str, Mode]]:
    """The modes of a round: those whose figures are no claims are in the first, third, ... round only."""
    found = [
        (name, mode)
        for name, mode in modes_of(lab).items()
        if mode.in_every_round or number % 2 == 0
    ]
    yield from reversed(found) if number % 2 else found


def _start(lab: Laboratory, name: str, mode: Mode) -> tuple[Ports, AbstractContextManager[Server]]:
    return lab.mode(mode, kit=lab.kit_before if name == BEFORE else None)


def _round(lab: Laboratory, name: str, mode: Mode, spans: Spans, number: int) -> list[Row]:
    rows, sent, histogram = [], dict.fromkeys(ENDPOINTS, 0), 0.0
    before = lab.spans()
    ports, context = _start(lab, name, mode)
    with context as server:
        for endpoint, path in ENDPOINTS.items():
            ask = Ask(path)
            warm = load(ports.app, ask, seconds=lab.lengths.warm)
            row = lab.saturate(server, ports.app, ask)
            if row["refused"]:
                raise GeneratorError(f"{row['refused']} answers to {path} were none of 2xx")
            at_rate = load(ports.app, ask, seconds=lab.lengths.at_rate, rate=RATES[endpoint])
            sent[endpoint] = warm.sent + row["sent"] + at_rate.sent
            rows.append(
                {"mode": name, "round": number, "endpoint": endpoint}
                | row
                | {"p99_ms": at_rate.percentile(0.99), "p50_ms": at_rate.percentile(0.5)}
            )
        if mode.metrics:
            histogram = counted(ports, mode)
        memory = server.memory_bytes()
    total = sum(sent.values())
    delivered = {}
    if expected := sum(spans[endpoint] * count for endpoint, count in sent.items()):
        delivered["spans"] = _share(lab.spans() - before, expected)
    if mode.has_lines:
        delivered["lines"] = _share(server.lines, total)
    if mode.metrics:
        delivered["histogram"] = _share(histogram, total)
    of_process = {
        "delivered": delivered,
        "memory_mb": round(memory / 1e6, 1),
        "ready_seconds": round(server.ready_seconds, 2),
        "stop_seconds": round(server.stop_seconds, 2),
    }
    return [row | of_process for row in rows]


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _share(arrived: float, expected: float) -> float:
    """What arrived of what was expected; at most 1, as a line or two come from the start."""
    return round(min(1.0, arrived / expected), 4)
