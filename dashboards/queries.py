"""Every query of the dashboards as they are committed, with the variables put in.

What is read is the JSON, not the code that built it: what is proven is what Grafana and the viewer load.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

EVERYTHING = {
    "env": "..*",
    "service": "..*",
    "route": "..*",
    "instance": "..*",
    "__rate_interval": "1m",
    "__interval": "15s",
    "__range": "3600s",
}
"""All variables at All; the rate interval is four scrapes of 15 s, Prometheus' usual."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::\w+)?\}|\$([A-Za-z_]\w*)")
_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.*), *(?P<label>\w+)\)", re.DOTALL)


class UnknownVariable(ValueError):
    """A query uses a variable that the dashboard does not have."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One query and where it stands. kind: panel, variable or annotation; label: of a variable."""

    dashboard: str
    kind: str
    title: str
    ref: str
    expr: str
    instant: bool = False
    label: str = ""

    @property
    def place(self) -> str:
        return (
            f"{self.dashboard} / {self.title} / {self.ref}"
            if self.ref
            else (f"{self.dashboard} / {self.kind} {self.title}")
        )


def load(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return the dashboards of a folder by the names of their files."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every panel, those folded into a row included, without the rows themselves."""
    for item in dashboard["panels"]:
        if item["type"] == "row":
            yield from item.get("panels") or []
        else:
            yield item


def asked(name: str, dashboard: Mapping[str, Any]) -> Iterator[Asked]:
    """Yield every query of a dashboard, variables not yet put in."""
    for panel in panels(dashboard):
        for target in panel.get("targets") or []:
            instant = bool(target.get("instant"))
            yield Asked(name, "panel", panel["title"], target["refId"], target["expr"], instant)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = _LABEL_VALUES.fullmatch(variable["query"])
            selector, label = (
                (found["selector"], found["label"]) if found else (variable["query"], "")
            )
            yield Asked(name, "variable", variable["name"], "", selector, label=label)
    for annotation in dashboard["annotations"]["list"]:
        yield Asked(name, "annotation", annotation["name"], "", annotation["expr"])


def substituted(expr: str, values: Mapping[str, str] = EVERYTHING) -> str:
    """Return the expression with the variables put in. Raises UnknownVariable for one without a value."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in values:
            message = f"${name} is no variable of the dashboards"
            raise UnknownVariable(message)
        return values[name]

    return _VARIABLE.sub(value, expr)
