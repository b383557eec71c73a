"""Renders the rules that Prometheus loads: sources, derived annotations, overrides, for one service.

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
from dataclasses import replace
from pathlib import Path
from typing import Any

from alerting import slo
from alerting.catalogue import FOLDER, Alert, AlertSourceError, load_alerts
from alerting.document import read_yaml, write_yaml
from alerting.features import can_fire
from alerting.service import DEMO, Service, described
from firedrill_kit.config import ConfigError

VIEWER_URL = "http://127.0.0.1:3030"
ENVIRONMENT = DEMO.environment
SEVERITIES = ("page", "ticket", "none")

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
    environment: str | None = None,
    overrides: Path = FOLDER / "overrides.yaml",
    service: Service = DEMO,
) -> list[Path]:
    """Write `prometheus.yml` and `rules/*.yaml` below `out` and return the rule files.

    viewer_url: where dashboards are served, without a slash at the end. runbooks_url: likewise of
    runbooks, which Grafana does not have; the viewer's when None.
    environment: the `env` of rules whose result has no labels (absent, vector); the service's when None.
    service: whose rules; alerts that it lacks a feature for are left out. Recording rules of features that
    it lacks are written all the same: they record nothing.
    Rule files of an earlier build that are no longer made are removed.
    Raises AlertSourceError naming the file that is wrong.
    """
    alerts = _overridden(load_alerts(), overrides)
    if environment is not None and environment != service.environment:
        service = replace(service, environment=environment)
    rules_folder = out / "rules"
    rules_folder.mkdir(parents=True, exist_ok=True)
    written = []
    written += [_recording(rules_folder, service), rules_folder / "slo.yaml"]
    write_yaml(written[-1], slo.recording_groups(service.classes), comment=slo.WRITTEN)
    for alert, severity in alerts:
        if not can_fire(alert, service.features):
            continue
        rules = [
            rendered_rule(
                alert,
                rule,
                viewer_url=viewer_url,
                runbooks_url=runbooks_url,
                service=service,
                severity=severity,
            )
            for rule in rules_of(alert, service)
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


def rules_of(alert: Alert, service: Service) -> list[dict[str, Any]]:
    """Return the alert's rules as written; those of the budgets follow from the service's classes."""
    make = slo.FILES.get(f"alerts/{alert.snake_name}/rule.yaml")
    if make is None:
        return alert.rules
    rules: list[dict[str, Any]] = make(service.classes)["groups"][0]["rules"]
    return rules


def _recording(rules_folder: Path, service: Service) -> Path:
    path = rules_folder / "recording.yaml"
    source = (FOLDER / "recording.yaml").read_text(encoding="utf-8")
    path.write_text(service.fitted(source), encoding="utf-8")
    return path


def rendered_rule(
    alert: Alert,
    rule: dict[str, Any],
    *,
    viewer_url: str = VIEWER_URL,
    runbooks_url: str | None = None,
    service: Service = DEMO,
    severity: str | None = None,
) -> dict[str, Any]:
    """Return one rule as it ships; severity: replaces the rule's own unless that is `none`."""
    labels = {name: service.fitted(text) for name, text in rule["labels"].items()}
    if "env" in labels:
        labels["env"] = service.environment
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
        "expr": service.fitted(rule["expr"]),
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
    parser.add_argument("--env", help="the env label of this installation")
    parser.add_argument("--service", type=Path, metavar="FILE", help="firedrill.toml of a service")
    options = parser.parse_args(arguments)
    try:
        files = render(
            options.out,
            service=described(options.service),
            viewer_url=options.viewer_url.rstrip("/"),
            runbooks_url=options.runbooks_url and options.runbooks_url.rstrip("/"),
            environment=options.env,
        )
    except (AlertSourceError, ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"alerting.build: {error}\n")
        return 2
    sys.stdout.write(f"wrote {len(files)} rule files and prometheus.yml to {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
