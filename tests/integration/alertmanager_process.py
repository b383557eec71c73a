"""A real Alertmanager on the shipped configuration, with every wait divided by the same number."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import stamina
import yaml

from alerting.catalogue import load_alerts
from alerting.routing import render
from stack.serving import free_port

_UNIT_MILLISECONDS = {"s": 1000, "m": 60_000, "h": 3_600_000}
_RULES = {alert.name: alert.rules for alert in load_alerts()}


@dataclass(frozen=True)
class RunningAlertmanager:
    """http: a client with relative paths."""

    process: subprocess.Popen[bytes]
    http: httpx.Client

    def post(self, *alerts: dict[str, Any], age: timedelta = timedelta(0)) -> None:
        """As Prometheus does. age: for how long they have been firing."""
        starts_at = (datetime.now(UTC) - age).isoformat()
        self._send([{**alert, "startsAt": starts_at} for alert in alerts])

    def end(self, *alerts: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat()
        self._send([{**alert, "endsAt": now} for alert in alerts])

    def _send(self, alerts: list[dict[str, Any]]) -> None:
        answer = self.http.post("/api/v2/alerts", json=alerts)
        assert answer.status_code == 200, answer.text

    def inhibited(self, env: str) -> set[str]:
        """Names of the alerts of one env that another alert mutes now."""
        found = self.http.get("/api/v2/alerts", params={"filter": f'env="{env}"'}).json()
        return {one["labels"]["alertname"] for one in found if one["status"]["inhibitedBy"]}


def alertmanager_path() -> str:
    """The upstream name, then Debian's."""
    path = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    assert path, "install Debian's package prometheus-alertmanager, or put alertmanager on PATH"
    return path


def write_config(
    directory: Path, *, pager_url: str, second_channel_url: str, divided_by: int
) -> Path:
    """The rendered configuration with shorter waits; their ratios stay."""
    path = render(
        directory, pager_url=pager_url, second_channel_url=second_channel_url, environ={}
    )
    config = yaml.safe_load(path.read_text())
    for route in [config["route"], *config["route"]["routes"]]:
        for key in ("group_wait", "group_interval", "repeat_interval"):
            if key in route:
                route[key] = f"{_milliseconds(route[key]) // divided_by}ms"
    path.write_text(yaml.safe_dump(config))
    return path


def _milliseconds(duration: str) -> int:
    match = re.fullmatch(r"(\d+)([smh])", duration)
    assert match, duration
    return int(match[1]) * _UNIT_MILLISECONDS[match[2]]


@contextmanager
def running_alertmanager(config: Path) -> Iterator[RunningAlertmanager]:
    """Its state lies beside the configuration, so that a second start goes on with it."""
    port = free_port()
    command = [
        alertmanager_path(),
        f"--config.file={config}",
        f"--storage.path={config.parent / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (
        (config.parent / "alertmanager.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http,
    ):
        try:
            for attempt in stamina.retry_context(
                on=httpx.HTTPError, attempts=None, timeout=60, wait_max=0.2
            ):
                with attempt:
                    http.get("/-/ready").raise_for_status()
            yield RunningAlertmanager(process, http)
        finally:
            process.kill()
            process.wait()


def shipped(alertname: str, env: str, **labels: str) -> dict[str, Any]:
    """One alert with the labels of the rule that ships.

    labels: those that the expression gives; burn_tier picks the rule where a name has several.
    """
    rule, *_ = [
        rule
        for rule in _RULES[alertname]
        if "burn_tier" not in labels or rule["labels"].get("burn_tier") == labels["burn_tier"]
    ]
    own = {name: value for name, value in rule["labels"].items() if "{{" not in value}
    return {
        "labels": {"service": "api", **own, **labels, "alertname": alertname, "env": env},
        "annotations": {"summary": rule["annotations"]["summary"]},
    }
