"""Renders the rules that Prometheus loads: sources, derived annotations, overrides.

`python -m alerting.build --out DIR` writes `DIR/rules/*.yaml`, one file per alert and two of recording
rules, and `DIR/prometheus.yml` beside them. The tests run on exactly these files. The usual mistake is to
type a URL into a rule: links are derived here from the alert's name and domain, and a test looks for
typed ones.
"""

import argparse
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from alerting.catalogue import FOLDER, Alert, AlertSourceError, load_alerts
from alerting.document import read_yaml, write_yaml

VIEWER_URL = "http://127.0.0.1:3030"
ENVIRONMENT = "local"
SEVERITIES = ("page", "ticket", "none")
RECORDING_FILES = ("recording.yaml", "slo.yaml")

DASHBOARDS = {
    "http": "firedrill-api",
    "contract": "firedrill-contract",
    "database": "firedrill-database",
    "oauth": "firedrill-oauth",
    "dependency": "firedrill-oauth",
    "telemetry": "firedrill-telemetry",
}
"""Domain of an alert → uid of the dashboard that explains it."""

_LABEL = re.compile(r"\$labels\.(\w+)")
_DASHBOARD_VARIABLES = (
    "?var-env={{ $labels.env }}&var-service={{ $labels.service }}"
    "{{ with $labels.http_route }}&var-route={{ . | urlquery }}{{ end }}"
)
# Inhibition can lose a race and a symptom can be paged first: then its page still names the cause.
_FIRING_CAUSES = (
    '{{{{ with printf `ALERTS{{kind="cause",alertstate="firing",alertname!="{name}",env="%s",service="%s"}}`'
    ' $labels.env $labels.service | query | sortByLabel "alertname" }}}}'
    " Causes firing: {{{{ range $index, $cause := . }}}}{{{{ if $index }}}}, {{{{ end }}}}"
    "{{{{ $cause.Labels.alertname }}}} ({{{{ $cause.Labels.scope }}}}){{{{ end }}}}.{{{{ end }}}}"
)


def render(
    out: Path,
    *,
    viewer_url: str = VIEWER_URL,
    runbooks_url: str | None = None,
    environment: str = ENVIRONMENT,
    overrides: Path = FOLDER / "overrides.yaml",
) -> list[Path]:
    """Write `prometheus.yml` and `rules/*.yaml` below `out` and return the rule files.

    viewer_url: where dashboards are served, without a slash at the end. runbooks_url: likewise of
    runbooks, which Grafana does not have; the viewer's when None.
    environment: the `env` of rules whose result has no labels (absent, vector).
    Rule files of an earlier build that are no longer made are removed.
    Raises AlertSourceError naming the file that is wrong.
    """
    alerts = _overridden(load_alerts(), overrides)
    rules_folder = out / "rules"
    rules_folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in RECORDING_FILES:
        written.append(rules_folder / name)
        shutil.copyfile(FOLDER / name, written[-1])
    for alert, severity in alerts:
        rules = [
            rendered_rule(
                alert,
                rule,
                viewer_url=viewer_url,
                runbooks_url=runbooks_url,
                environment=environment,
                severity=severity,
            )
            for rule in alert.rules
        ]
        written.append(rules_folder / f"{alert.snake_name}.yaml")
        write_yaml(
            written[-1],
            {"groups": [{"name": alert.name, "rules": rules}]},
            comment=f"Built from alerts/{alert.snake_name}/ by `python -m alerting.build`.",
        )
    for stale in set(rules_folder.glob("*.yaml")) - set(written):
        stale.unlink()
    shutil.copyfile(FOLDER / "prometheus.yml", out / "prometheus.yml")
    return written


def rendered_rule(
    alert: Alert,
    rule: dict[str, Any],
    *,
    viewer_url: str = VIEWER_URL,
    runbooks_url: str | None = None,
    environment: str = ENVIRONMENT,
    severity: str | None = None,
) -> dict[str, Any]:
    """Return one rule as it ships; severity: replaces the rule's own unless that is `none`."""
    labels = dict(rule["labels"])
    if "env" in labels:
        labels["env"] = environment
    if severity is not None and labels["severity"] != "none":
        labels["severity"] = severity
    annotations = dict(rule["annotations"])
    if labels["severity"] != "none":
        annotations["description"] += _FIRING_CAUSES.format(name=alert.name)
    annotations["runbook_url"] = f"{runbooks_url or viewer_url}/runbooks/{alert.name}"
    dashboard = DASHBOARDS[labels["domain"]]
    annotations["dashboard_url"] = f"{viewer_url}/d/{dashboard}{_DASHBOARD_VARIABLES}"
    annotations["drill"] = str(alert.front_matter["drill"])
    return {
        **rule,
        "labels": labels,
        "annotations": {name: _with_own(text, labels) for name, text in annotations.items()},
    }


def _with_own(text: str, labels: dict[str, str]) -> str:
    """Put the values of the rule's own labels in: `$labels` holds those of the expression alone."""
    return _LABEL.sub(lambda use: json.dumps(labels[use[1]]) if use[1] in labels else use[0], text)


def _overridden(alerts: list[Alert], path: Path) -> list[tuple[Alert, str | None]]:
    document = read_yaml(path) or {}
    if not isinstance(document, dict):
        message = f"{path} must hold `disabled` and `severity`"
        raise AlertSourceError(message)
    disabled = document.get("disabled") or []
    severity = document.get("severity") or {}
    if not isinstance(disabled, list) or not isinstance(severity, dict):
        message = f"{path}: disabled must be a list, severity must be a map of alert to severity"
        raise AlertSourceError(message)
    unknown = {*disabled, *severity} - {alert.name for alert in alerts}
    if unknown:
        message = f"{path}: no alert is called {', '.join(sorted(unknown))}"
        raise AlertSourceError(message)
    wrong = sorted(set(severity.values()) - set(SEVERITIES))
    if wrong:
        message = f"{path}: severity is {', '.join(SEVERITIES)}, not {', '.join(wrong)}"
        raise AlertSourceError(message)
    return [(alert, severity.get(alert.name)) for alert in alerts if alert.name not in disabled]


def main(arguments: list[str] | None = None) -> int:
    """Build from the command line; 2 with one line when a source is wrong."""
    parser = argparse.ArgumentParser(prog="python -m alerting.build", description=render.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--viewer-url", default=os.environ.get("VIEWER_URL", VIEWER_URL))
    parser.add_argument("--runbooks-url", default=os.environ.get("RUNBOOKS_URL"))
    parser.add_argument("--env", default=ENVIRONMENT, help="the env label of this installation")
    options = parser.parse_args(arguments)
    try:
        files = render(
            options.out,
            viewer_url=options.viewer_url.rstrip("/"),
            runbooks_url=options.runbooks_url and options.runbooks_url.rstrip("/"),
            environment=options.env,
        )
    except (AlertSourceError, OSError, ValueError) as error:
        sys.stderr.write(f"alerting.build: {error}\n")
        return 2
    sys.stdout.write(f"wrote {len(files)} rule files and prometheus.yml to {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
