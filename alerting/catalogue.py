"""What is on disk: one folder per alert with `rule.yaml`, `rule_test.yaml` and `runbook.md`.

Names are derived, never typed twice: the folder from the alert's name, the drill, owner and figures from
the front matter of the runbook. What Prometheus loads is not these files but what `build.py` makes of
them.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from alerting.document import read_yaml

FOLDER = Path(__file__).parent
ALERTS_FOLDER = FOLDER / "alerts"
RECORDING_FILES = ("recording.yaml", "slo.yaml")

FRONT_MATTER = ("alert", "severity", "domain", "needs", "owner", "drill")

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class AlertSourceError(ValueError):
    """A source of the alerts is missing or wrong; the message says what to do."""


@dataclass(frozen=True)
class Alert:
    """One folder: an alert name with one or more rules (tiers, signals) of that name."""

    name: str
    folder: Path

    @property
    def snake_name(self) -> str:
        return snake_case(self.name)

    @cached_property
    def rules(self) -> list[dict[str, Any]]:
        """The rules as written; raises AlertSourceError for another shape than one group."""
        document = read_yaml(self.folder / "rule.yaml")
        try:
            (group,) = document["groups"]
            rules: list[dict[str, Any]] = group["rules"]
        except (KeyError, TypeError, ValueError) as error:
            message = f"{self.folder / 'rule.yaml'}: expected one group with rules"
            raise AlertSourceError(message) from error
        return rules

    @cached_property
    def front_matter(self) -> dict[str, Any]:
        """The YAML head of the runbook; raises AlertSourceError when there is none."""
        return front_matter(self.folder / "runbook.md")


def snake_case(name: str) -> str:
    """Return `DbPoolExhausted` as `db_pool_exhausted`; OAuth is one word."""
    return _WORD_START.sub("_", name.replace("OAuth", "Oauth")).lower()


def front_matter(runbook: Path) -> dict[str, Any]:
    """Return the YAML between the first two `---` lines of a runbook.

    Raises AlertSourceError when it is not there, or lacks one of FRONT_MATTER.
    """
    if not runbook.is_file():
        message = f"{runbook} is missing: every alert has a runbook"
        raise AlertSourceError(message)
    parts = runbook.read_text(encoding="utf-8").split("---\n", maxsplit=2)
    head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    if not isinstance(head, dict):
        message = (
            f"{runbook} must begin with front matter between two lines of ---:"
            f" {', '.join(FRONT_MATTER)}"
        )
        raise AlertSourceError(message)
    if lacking := [key for key in FRONT_MATTER if key not in head]:
        message = f"{runbook}: its front matter lacks {', '.join(lacking)}"
        raise AlertSourceError(message)
    return head


def load_alerts(folder: Path = ALERTS_FOLDER) -> list[Alert]:
    """Return all alerts by name; raises AlertSourceError when a folder and its rules disagree."""
    alerts = []
    for path in sorted(item for item in folder.iterdir() if item.is_dir()):
        document = read_yaml(path / "rule.yaml") if (path / "rule.yaml").is_file() else None
        if not isinstance(document, dict):
            message = f"{path} has no rule.yaml"
            raise AlertSourceError(message)
        names = {rule.get("alert") for group in document["groups"] for rule in group["rules"]}
        if len(names) != 1 or snake_case(str(next(iter(names)))) != path.name:
            message = f"{path / 'rule.yaml'}: all rules must be one alert, named like the folder"
            raise AlertSourceError(message)
        alerts.append(Alert(name=str(names.pop()), folder=path))
    return alerts
