"""The OpenTelemetry Collector, made by its Builder from collector.yaml; Go verifies every module."""

from pathlib import Path

import yaml

from stack.programs import COLLECTOR, TOOLS
from stack.tools.building import Tool, go, run

MANIFEST = Path(__file__).with_name("collector.yaml")
_BUILDER = "go.opentelemetry.io/collector/cmd/builder"


def _make(directory: Path) -> Path:
    manifest = MANIFEST.read_text()
    version = yaml.safe_load(manifest)["dist"]["version"]
    go("install", f"{_BUILDER}@v{version}", bin_directory=directory)
    made = directory / "made"
    config = directory / "builder.yaml"
    config.write_text(manifest.replace("dist:\n", f"dist:\n  output_path: {made}\n", 1))
    run(str(directory / "builder"), "--config", str(config), environment={"CGO_ENABLED": "0"})
    return made / "otelcol"


OTELCOL = Tool(TOOLS / COLLECTOR, MANIFEST.read_text(), _make)
