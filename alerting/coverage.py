"""Which alerts can fire for a service, which cannot and what each waits for, and which a drill has proven.

`python -m alerting.coverage [firedrill.toml] [--features http,database] [--record drills.json]`. Without a
file it is the demo. Alerts are rules that nobody has seen fire until a drill made them: what counts as
proven is a drill of this service that had to make the alert fire and did, in its record.
"""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerting.catalogue import FOLDER, Alert, AlertSourceError, load_alerts
from alerting.features import Needs, all_features, chosen, missing
from alerting.service import DEMO, Service, described
from firedrill_kit.config import ConfigError

DOCUMENTED = FOLDER.parent / "docs" / "drills.json"
OWN_RECORD = Path(".local/records/drills.json")
WIDTH_MIN, WIDTH_MAX = 80, 120
# The pager's own page about a missing Watchdog is what proves the Watchdog.
PROVES = {"DeadMansSwitch": "Watchdog"}


@dataclass(frozen=True, slots=True)
class Proof:
    """A drill that made the alert fire, and the seconds from the fault to the pager."""

    drill: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """waits_for: empty when the alert can fire. is_heard: False for one that no receiver gets."""

    alert: str
    is_heard: bool
    waits_for: Needs
    proof: Proof | None


def rows(service: Service, proofs: Mapping[str, Proof]) -> list[Row]:
    """Return one row for each alert, by name."""
    return [
        Row(
            alert=alert.name,
            is_heard=_is_heard(alert),
            waits_for=missing(alert, service.features),
            proof=proofs.get(alert.name),
        )
        for alert in load_alerts()
    ]


def _is_heard(alert: Alert) -> bool:
    """The Watchdog is heard by its absence."""
    return alert.name in PROVES.values() or any(
        rule["labels"]["severity"] != "none" for rule in alert.rules
    )


def proofs_of(record: Path, service: Service) -> dict[str, Proof]:
    """Return the proof of each alert by the drill that its runbook names, or by the quickest of others.

    There is none when there is no record. Rows that name no service are the demo's.
    Raises AlertSourceError for a file that is no record.
    """
    if not record.is_file():
        return {}
    try:
        drills = json.loads(record.read_text(encoding="utf-8"))["drills"]
        own = [drill for drill in drills if drill.get("service", DEMO.name) == service.name]
        proofs = [proof for drill in own for proof in _proven_by(drill)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{record} is no record of drills: give another with --record"
        raise AlertSourceError(message) from error
    named = {alert.name: alert.front_matter["drill"] for alert in load_alerts()}
    best_last = sorted(
        proofs, key=lambda item: (item[1].drill == named.get(item[0]), -item[1].seconds)
    )
    return dict(best_last)


def _proven_by(drill: Mapping[str, Any]) -> Iterator[tuple[str, Proof]]:
    for alert in {*drill["expected"], *drill["tickets"]}:
        seconds = drill["paged_seconds"].get(alert)
        if seconds is not None:
            yield PROVES.get(alert, alert), Proof(drill["name"], seconds)


def lines(found: list[Row], *, width: int = WIDTH_MIN) -> Iterator[str]:
    """Yield the table: alerts that can fire, then those that cannot, then the totals."""
    names = max(len(row.alert) for row in found) + 2
    can = [row for row in found if not row.waits_for]
    cannot = [row for row in found if row.waits_for]
    if can:
        yield f"{'can fire':{names}}proven by a drill"
    for row in can:
        yield f"{row.alert:{names}}{_proven(row)}"
    if cannot:
        yield ""
        yield f"{'cannot fire':{names}}waits for"
    for row in cannot:
        text = "; ".join(_waits(need) for need in row.waits_for)
        first, *more = textwrap.wrap(text, width - names, break_on_hyphens=False)
        yield f"{row.alert:{names}}{first}"
        yield from (" " * names + line for line in more)
    yield ""
    heard = [row for row in can if row.is_heard]
    yield (
        f"{len(found)} alerts: {len(can)} can fire, {len(cannot)} cannot; "
        f"{sum(row.proof is not None for row in heard)} of {len(heard)} are proven by a drill"
    )


def _proven(row: Row) -> str:
    if row.proof is not None:
        return f"{row.proof.drill}, {row.proof.seconds:.0f} s"
    return "no drill yet" if row.is_heard else "sent to nobody: it only holds others back"


def _waits(need: frozenset[str]) -> str:
    features = all_features()
    return ", or ".join(f"{name}: {features[name].how}" for name in features if name in need)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 2 with one line when a file or a name is wrong."""
    parser = argparse.ArgumentParser(prog="python -m alerting.coverage", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", help="firedrill.toml of a service")
    parser.add_argument("--features", help="instead of those of the file: names, with commas")
    parser.add_argument("--record", type=Path, help="drills.json of this service")
    options = parser.parse_args(arguments)
    try:
        features = None if options.features is None else chosen(_names(options.features))
        service = described(options.file, features=features)
        proofs = proofs_of(options.record or _record_of(options.file), service)
        found = rows(service, proofs)
    except (AlertSourceError, ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"alerting.coverage: {error}\n")
        return 2
    width = min(max(shutil.get_terminal_size().columns, WIDTH_MIN), WIDTH_MAX)
    sys.stdout.write("\n".join(lines(found, width=width)) + "\n")
    return 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _record_of(file: Path | None) -> Path:
    own = (FOLDER.parent if file is None else file.parent) / OWN_RECORD
    return DOCUMENTED if file is None and not own.is_file() else own


if __name__ == "__main__":
    sys.exit(main())
