"""Writes the dashboards as the JSON files that stand in this folder.

`python -m dashboards.build` rebuilds them; a test builds them again and compares. They are in Grafana's
classic schema, which Grafana 10 to 13 load and the viewer draws.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboards import api, contract, database, landing, oauth, telemetry
from dashboards.foundation import JSONEncoder, models

FOLDER = Path(__file__).parent
HIDDEN = "inControlsMenu"

DASHBOARDS: dict[str, Callable[[], models.Dashboard]] = {
    "landing": landing.dashboard,
    "api": api.dashboard,
    "contract": contract.dashboard,
    "database": database.dashboard,
    "oauth": oauth.dashboard,
    "telemetry": telemetry.dashboard,
}
"""Name of the file → what builds it, in the order in which they are read."""


def built() -> dict[str, str]:
    """Return the content of each file by its name."""
    return {f"{name}.json": _json(make()) for name, make in DASHBOARDS.items()}


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
    options = parser.parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, content in built().items():
            (options.out / name).write_text(content, encoding="utf-8")
            print(f"wrote {options.out / name}")
    except (OSError, ValueError) as error:
        print(f"dashboards.build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
