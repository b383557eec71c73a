"""What `make compose-check` found: docs/compose.json, and docs/compose.md, which is written from it."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from stack.settings import ROOT

RECORD = ROOT / "docs" / "compose.json"
PAGE = ROOT / "docs" / "compose.md"
NOT_STARTED = ("grafana", "tempo", "loki")
"""No package client has them, so no stand-in can be made."""
_IN_THE_FILE = {
    "Prometheus": "prometheus",
    "Alertmanager": "alertmanager",
    "HAProxy": "proxy",
    "PostgreSQL": "postgres",
    "collector": "otel-collector",
}


@dataclass(frozen=True)
class Check:
    """result: its figure, or what is wrong. seconds: what it took."""

    name: str
    holds: bool
    result: str
    seconds: float

    def __str__(self) -> str:
        return f"{'ok  ' if self.holds else 'FAIL'} {self.name}: {self.result}"


def write(checks: Sequence[Check], figures: dict[str, Any]) -> None:
    """Write the record and the page. No path of this machine gets into them."""
    content = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": "make compose-check",
        **figures,
        "checks": [asdict(check) for check in checks],
    }
    text = json.dumps(content, indent=1).replace(f"{ROOT}/", "")
    RECORD.write_text(f"{text}\n")
    write_page()


def write_page() -> None:
    PAGE.write_text(page(json.loads(RECORD.read_text())))


def page(record: dict[str, Any]) -> str:
    """The page, from the record and the versions that docker-compose.yml names."""
    checks = "\n".join(
        f"| {one['name']} | {'' if one['holds'] else '**fails**: '}{_cell(one['result'])}"
        f" | {one['seconds']} |"
        for one in record["checks"]
    )
    memory = "\n".join(
        f"| {part} | {one['used']} | {one['limit']} |"
        for part, one in record.get("memory", {}).items()
    )
    megabytes = record.get("image_megabytes", {})
    stop = record.get("stop", {})
    return f"""# docker-compose.yml, started

Written by `{record["command"]}` (`python -m tests.compose`) from docs/compose.json:
{record["date"]}, {record["machine"]}, load average {record["load_average_at_start"]} at the start.
It starts the file as it is on a machine without a registry, from images that it makes there
(tests/compose/images.py): all parts were healthy after {record["healthy_seconds"]} s.
{_sum(record)}

| check | result | seconds |
| --- | --- | ---: |
{checks}

The signal matrix is tests/stack/test_signal_matrix.py, the same questions as to the native stack.
{_stop(stop)}
| image | MB |
| --- | ---: |
| service | {megabytes.get("service", "-")} |
| load | {megabytes.get("load", "-")} |
| the base of both: a Debian root file system with Python | {megabytes.get("base", "-")} |

| part | memory | its limit |
| --- | ---: | ---: |
{memory}

## What falls short

{_short(record)}
"""


def _sum(record: dict[str, Any]) -> str:
    failed = [one["name"] for one in record["checks"] if not one["holds"]]
    if not failed:
        return f"All {len(record['checks'])} checks hold."
    return f"{len(failed)} of {len(record['checks'])} checks fail: {', '.join(failed)}."


def _stop(stop: dict[str, Any]) -> str:
    if not stop:
        return ""
    lost = sum(stop["lost"].values())
    return (
        f"While a replica was stopped by SIGTERM, {stop['requests']:,} requests went through the proxy:"
        f" {lost} were\nlost, and the replica was gone after {stop['seconds']} s.\n"
    )


def _short(record: dict[str, Any]) -> str:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    def named(part: str) -> str:
        """The version in the image's tag; the variable's default."""
        return str(services[part]["image"]).rstrip("}").rpartition(":")[2]

    ran = record.get("versions", {})
    v2 = record.get("compose_v2")
    unstarted = ", ".join(f"{part} {named(part)}" for part in NOT_STARTED)
    generations = "\n".join(
        f"| {program} | {ran.get(program, '-')} | {named(part)} |"
        for program, part in _IN_THE_FILE.items()
    )
    return f"""- Not started: {unstarted}. No package client has them; the keys of
  their files were looked up in their references, and no test does that again. The native viewer stands
  where Tempo and Loki are, on loopback, through a relay.
- Started by Compose {ran.get("Compose", "-")} and Docker {ran.get("Docker", "-")}. {_v2(v2)}
- Other generations than the file names have run:

| program | ran | in the file |
| --- | --- | --- |
{generations}"""


def _v2(version: str | None) -> str:
    asked = "`docker compose config -q`"
    if version:
        return (
            f"Compose {version} started\n  nothing: it was asked {asked}, and had nothing to say."
        )
    return f"Compose v2 was not\n  installed: what {asked} says is not known."


def _cell(text: str) -> str:
    """One line, for a table."""
    return " ".join(text.split()).replace("|", "\\|")[:400]
