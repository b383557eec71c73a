"""Makes the manifests whose contents live elsewhere: rules, and the collectors' configurations.

`python -m deploy.kubernetes.build` writes `generated/`; a test rebuilds and compares. The rules are those
that Prometheus loads natively, with the cluster's `env`; otel-collector.yaml is the file as it is; the
agents' configuration takes from it what both do alike. Committed, so that `kubectl apply -k` needs no
Python. The dashboards are taken from `dashboards/` as they are; `--runbooks-url` is written into them.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from alerting import build as alerting_build
from alerting.catalogue import AlertSourceError
from deploy.dashboards import with_runbooks
from stack.settings import ROOT

GENERATED = Path(__file__).parent / "generated"
COLLECTOR = ROOT / "otel-collector.yaml"
DASHBOARDS = ROOT / "dashboards"
AGENT = Path(__file__).parent / "telemetry" / "agent-config.yaml"
ENVIRONMENT = "cluster"
GRAFANA_URL = "https://grafana.example.com"
RUNBOOKS_URL = "https://runbooks.example.com"
"""Where links of pages and dashboards lead; `--grafana-url` and `--runbooks-url` say yours."""


def rules(grafana_url: str, runbooks_url: str) -> list[dict[str, Any]]:
    """One PrometheusRule a file, in the order of their names. Raises AlertSourceError."""
    with tempfile.TemporaryDirectory() as folder:
        files = alerting_build.render(
            Path(folder),
            viewer_url=grafana_url,
            runbooks_url=runbooks_url,
            environment=ENVIRONMENT,
        )
        documents = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": name.replace("_", "-")},
            "spec": {"groups": document["groups"]},
        }
        for name, document in sorted(documents.items())
    ]


def agent() -> dict[str, Any]:
    """The agents' configuration. It parses each line as otel-collector.yaml does: there is no second copy."""
    shared = yaml.safe_load(COLLECTOR.read_text(encoding="utf-8"))
    own: dict[str, Any] = yaml.safe_load(AGENT.read_text(encoding="utf-8"))
    lines, here = shared["receivers"]["file_log"], own["receivers"]["file_log"]
    own["receivers"]["file_log"] = {
        **lines,
        **here,
        "operators": here["operators"] + lines["operators"],
    }
    own["service"]["telemetry"] = shared["service"]["telemetry"]
    return {"extensions": shared["extensions"], **own}


def config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    """Files by their names."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def ingress(runbooks_url: str) -> dict[str, Any]:
    """The way from outside to the runbooks, at the address that links name."""
    address = urlsplit(runbooks_url)
    service = {"service": {"name": "runbooks", "port": {"name": "http"}}}
    path = {"path": "/runbooks", "pathType": "Prefix", "backend": service}
    secure = address.scheme == "https"
    tls = {"tls": [{"hosts": [address.hostname], "secretName": "runbooks-tls"}]} if secure else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "runbooks"},
        "spec": {**tls, "rules": [{"host": address.hostname, "http": {"paths": [path]}}]},
    }


def manifests(grafana_url: str, runbooks_url: str) -> dict[str, list[dict[str, Any]]]:
    """File below `generated/` → its documents. Raises AlertSourceError, OSError."""
    return {
        "rules.yaml": rules(grafana_url, runbooks_url),
        "runbooks.yaml": [ingress(runbooks_url)],
        "collector.yaml": [
            config_map("otel-collector", {COLLECTOR.name: COLLECTOR.read_text("utf-8")}),
            config_map("collector-agent", {"agent.yaml": yaml_of([agent()])}),
        ],
    }


def tell_dashboards(runbooks_url: str) -> None:
    """Write the address into the dashboards themselves: kustomize takes files as they are."""
    for file in DASHBOARDS.glob("*.json"):
        file.write_text(with_runbooks(file.read_text("utf-8"), runbooks_url), encoding="utf-8")


def text_of(documents: list[dict[str, Any]]) -> str:
    return "# Written by `python -m deploy.kubernetes.build`.\n" + yaml_of(documents)


def yaml_of(documents: list[dict[str, Any]]) -> str:
    text: str = yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Several lines stay several lines; no anchors and aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - of the base class
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.kubernetes.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=GENERATED)
    parser.add_argument("--grafana-url", default=GRAFANA_URL)
    parser.add_argument("--runbooks-url")
    given = parser.parse_args(arguments)
    addresses = given.grafana_url.rstrip("/"), (given.runbooks_url or RUNBOOKS_URL).rstrip("/")
    try:
        if given.runbooks_url:
            tell_dashboards(addresses[1])
        given.out.mkdir(parents=True, exist_ok=True)
        for name, documents in manifests(*addresses).items():
            (given.out / name).write_text(text_of(documents), encoding="utf-8")
    except (AlertSourceError, OSError, ValueError) as error:
        sys.stderr.write(f"deploy.kubernetes.build: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
