"""Writes the dashboards as the JSON files that stand in this folder, or those of another service.

`python -m dashboards.build` rebuilds them; a test builds them again and compares. `--service firedrill.toml
--out DIR` writes those of that service, without what it has no metrics for. They are in Grafana's classic
schema, which Grafana 10 to 13 load and the viewer draws.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alerting.catalogue import AlertSourceError
from alerting.features import chosen
from alerting.service import DEMO, Service, described
from dashboards import api, contract, database, landing, oauth, telemetry
from dashboards.foundation import JSONEncoder, models
from firedrill_kit.config import ConfigError

FOLDER = Path(__file__).parent
HIDDEN = "inControlsMenu"

DASHBOARDS: dict[str, Callable[[Service], models.Dashboard]] = {
    "landing": landing.dashboard,
    "api": api.dashboard,
    "contract": contract.dashboard,
    "database": database.dashboard,
    "oauth": oauth.dashboard,
    "telemetry": telemetry.dashboard,
}
"""Name of the file → what builds it, in the order in which they are read."""


def built(service: Service = DEMO) -> dict[str, str]:
    """Return the content of each file by its name; a dashboard that would have no panel has none."""
    made = {name: make(service) for name, make in DASHBOARDS.items()}
    return {f"{name}.json": _json(board) for name, board in made.items() if board.panels}


def _json(dashboard: models.Dashboard) -> str:
    plain = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    return json.dumps(visible(plain), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def visible(value: Any) -> Any:
    """Drop the SDK's default placement, which hides links and annotations in a menu."""
    if isinstance(value, dict):
        return {
            key: visible(item)
            for key, item in value.items()
            if key != "placement" or item != HIDDEN
        }
    if isinstance(value, list):
        return [visible(item) for item in value]
    return value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboards.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--service", type=Path, metavar="FILE", help="firedrill.toml of a service")
    parser.add_argument("--features", help="instead of those of the file: names, with commas")
    options = parser.parse_args(arguments)
    try:
        features = None if options.features is None else chosen(options.features.split(","))
        contents = built(described(options.service, features=features))
        options.out.mkdir(parents=True, exist_ok=True)
        for stale in {path.name for path in options.out.glob("*.json")} - contents.keys():
            (options.out / stale).unlink()
        for name, content in contents.items():
            (options.out / name).write_text(content, encoding="utf-8")
            print(f"wrote {options.out / name}")
    except (AlertSourceError, ConfigError, OSError, ValueError) as error:
        print(f"dashboards.build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
