"""Asks a running Prometheus every query of every dashboard, and says which of them are answered.

`python -m dashboards.prove --prometheus URL` exits 0 when every query was answered without error or warning
and every one had data, but for those listed in empty_when_healthy.yaml with the drill that fills them.
After that drill, `--after DRILL` asks for data in those too. `--dashboards DIR` are those of another service.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from alerting.document import read_yaml
from dashboards.queries import EVERYTHING, FOLDER, Asked, asked, load, substituted
from stack.settings import read_settings

RANGE_SECONDS = 900
STEP_SECONDS = 15
EMPTY_FILE = FOLDER / "empty_when_healthy.yaml"
EVERY_DASHBOARD = "*"
OTHER_FILLERS = frozenset({"callers", "load_test", "collector", "any_drill", "day_of_history"})
"""What else fills a panel: callers besides the prober, a part that may be left out, time."""

Empty = dict[tuple[str, str, str], str]
"""(dashboard or `*`, title, ref) → the drill, or what else fills it."""
Get = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]
"""Path and parameters in, status and body out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prometheus said to one query. series: those with at least one number in the range."""

    asked: Asked
    series: int
    error: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """The answers, judged. unproven: no data although nothing excuses it."""

    answers: Sequence[Answer]
    excused: Empty
    after: frozenset[str] = field(default_factory=frozenset)

    @property
    def errors(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.error]

    @property
    def warned(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.warnings]

    @property
    def unproven(self) -> list[Answer]:
        return [
            answer
            for answer in self.answers
            if not answer.series and not answer.error and not self._is_excused(answer.asked)
        ]

    @property
    def excused_and_empty(self) -> list[Answer]:
        return [
            answer
            for answer in self.answers
            if not answer.series and not answer.error and self._is_excused(answer.asked)
        ]

    @property
    def holds(self) -> bool:
        return not (self.errors or self.warned or self.unproven)

    def _is_excused(self, query: Asked) -> bool:
        drill = self.excused.get(
            (query.dashboard, query.title, query.ref),
            self.excused.get((EVERY_DASHBOARD, query.title, query.ref)),
        )
        return drill is not None and drill not in self.after

    def panels(self) -> dict[str, int]:
        """Return how many there are, have data, have none as nothing has failed yet, have none for no reason.

        A panel has data when one of its queries has, and a reason when each of its queries has one.
        """
        shown: dict[tuple[str, str], list[Answer]] = {}
        for answer in self.answers:
            if answer.asked.kind == "panel":
                place = answer.asked.dashboard, answer.asked.title
                shown.setdefault(place, []).append(answer)
        filled = sum(any(one.series for one in answers) for answers in shown.values())
        unproven = {(one.asked.dashboard, one.asked.title) for one in self.unproven}
        empty = sum(
            place in unproven and not any(one.series for one in answers)
            for place, answers in shown.items()
        )
        return {
            "shown": len(shown),
            "with_data": filled,
            "empty_when_healthy": len(shown) - filled - empty,
            "empty": empty,
        }

    def figures(self) -> dict[str, Any]:
        required = len(self.answers) - len(self.excused_and_empty)
        proven = required - len(self.unproven) - len(self.errors)
        return {
            "panels": self.panels(),
            "queries": len(self.answers),
            "with_data": sum(1 for answer in self.answers if answer.series),
            "empty_when_healthy": len(self.excused_and_empty),
            "share_of_required_with_data": round(proven / required, 4) if required else 1.0,
            "errors": {answer.asked.place: answer.error for answer in self.errors},
            "warnings": {answer.asked.place: list(answer.warnings) for answer in self.warned},
            "unproven": [answer.asked.place for answer in self.unproven],
        }


def excused(path: Any = EMPTY_FILE) -> Empty:
    """Return what empty_when_healthy.yaml lists."""
    listed: dict[str, dict[str, dict[str, str]]] = read_yaml(path)
    return {
        (dashboard, title, "" if ref == "-" else ref): drill
        for dashboard, titles in listed.items()
        for title, refs in titles.items()
        for ref, drill in refs.items()
    }


def prove(
    get: Get,
    *,
    now: float,
    after: Iterable[str] = (),
    range_seconds: int = RANGE_SECONDS,
    folder: Path = FOLDER,
) -> Proof:
    """Ask every query of a folder of dashboards. now: seconds since the epoch, where the range ends.

    Raises httpx.HTTPError when Prometheus cannot be reached.
    """
    answers = [
        _ask(get, query, now=now, range_seconds=range_seconds)
        for name, dashboard in load(folder).items()
        for query in asked(name, dashboard)
    ]
    return Proof(answers, excused(), frozenset(after))


def _ask(get: Get, query: Asked, *, now: float, range_seconds: int) -> Answer:
    values = {**EVERYTHING, "__range": f"{range_seconds}s"}
    expr = substituted(query.expr, values)
    since = {"start": now - range_seconds, "end": now}
    if query.kind == "variable":
        status, body = get(f"/api/v1/label/{query.label}/values", {"match[]": expr, **since})
    elif query.instant:
        status, body = get("/api/v1/query", {"query": expr, "time": now})
    else:
        status, body = get("/api/v1/query_range", {"query": expr, "step": STEP_SECONDS, **since})
    if status != 200 or body.get("status") != "success":
        return Answer(query, 0, error=str(body.get("error") or f"HTTP {status}"))
    warnings = (*body.get("warnings", ()), *body.get("infos", ()))
    return Answer(query, _with_numbers(query, body["data"]), warnings=tuple(warnings))


def _with_numbers(query: Asked, data: Any) -> int:
    if query.kind == "variable":
        return len(data)
    samples = (series.get("values") or [series["value"]] for series in data["result"])
    return sum(1 for values in samples if any(value != "NaN" for _, value in values))


def client_get(client: httpx.Client) -> Get:
    def get(path: str, parameters: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answer = client.get(path, params=parameters)
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, {"error": f"HTTP {answer.status_code}, not JSON"}

    return get


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards.prove", description=__doc__)
    parser.add_argument(
        "--prometheus",
        default=read_settings().url("prometheus"),
        help="its address, as a rule that of the stack of this checkout",
    )
    parser.add_argument(
        "--after", nargs="*", default=[], help="what has been run: its panels must have data"
    )
    parser.add_argument("--range", type=int, default=RANGE_SECONDS, help="seconds to look back")
    parser.add_argument("--dashboards", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        with httpx.Client(base_url=options.prometheus, timeout=30) as client:
            proof = prove(
                client_get(client),
                now=time.time(),
                after=options.after,
                range_seconds=options.range,
                folder=options.dashboards,
            )
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        print(f"dashboards.prove: {options.prometheus}: {error}", file=sys.stderr)
        return 2
    figures = proof.figures()
    print(json.dumps(figures, indent=2) if options.json else _told(figures))
    return 0 if proof.holds else 1


def _told(figures: dict[str, Any]) -> str:
    panels = figures["panels"]
    summary = (
        f"{panels['shown']} panels, {panels['with_data']} with data, {panels['empty']} empty; "
        f"{figures['queries']} queries, {figures['with_data']} with data, "
        f"{figures['empty_when_healthy']} empty as listed; "
        f"{figures['share_of_required_with_data']:.1%} of those that must have data have some"
    )
    lines = [summary]
    lines += [f"error    {place}: {error}" for place, error in figures["errors"].items()]
    lines += [
        f"warning  {place}: {'; '.join(said)}" for place, said in figures["warnings"].items()
    ]
    lines += [f"no data  {place}" for place in figures["unproven"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
