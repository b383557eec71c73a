"""`python -m stack.collector`: builds the collector into .tools/bin, unless the one there is current.

The OpenTelemetry Collector Builder makes it from builder.yaml; Go fetches and verifies every module.
No cgo, so that the binary also runs in an image from scratch. Minutes when Go's caches are cold.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from stack.programs import COLLECTOR, TOOLS

MANIFEST = Path(__file__).with_name("builder.yaml")
PROGRAM = TOOLS / COLLECTOR
BUILDER = "go.opentelemetry.io/collector/cmd/builder"


class BuildError(Exception):
    """Why there is no collector; the text says what to do."""


def main() -> int:
    try:
        build()
    except BuildError as error:
        print(f"collector: {error}", file=sys.stderr)
        return 1
    return 0


def build(program: Path = PROGRAM) -> None:
    """Build it, and keep it with the manifest that it was made from. Raises BuildError."""
    manifest = MANIFEST.read_text()
    fingerprint = hashlib.sha256(manifest.encode()).hexdigest()
    stamp = program.with_suffix(".made-from")
    if program.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        print(f"{program} is current")
        return
    go = find_go()
    if go is None:
        raise BuildError("Go is not there: install it (go.dev/doc/install), or do without")
    version = yaml.safe_load(manifest)["dist"]["version"]
    started = time.monotonic()
    program.parent.mkdir(parents=True, exist_ok=True)
    # Sources and builder are of no use afterwards; Go keeps its own caches.
    with tempfile.TemporaryDirectory(prefix="firedrill-collector-") as directory:
        environment = os.environ | {"CGO_ENABLED": "0", "GOBIN": directory}
        environment["PATH"] = f"{Path(go).parent}{os.pathsep}{environment.get('PATH', '')}"
        print(f"building the collector {version}; minutes, the first time")
        _run([go, "install", f"{BUILDER}@v{version}"], environment)
        made = Path(directory) / "made"
        config = Path(directory) / "builder.yaml"
        config.write_text(manifest.replace("dist:\n", f"dist:\n  output_path: {made}\n", 1))
        _run([str(Path(directory) / "builder"), "--config", str(config)], environment)
        # Beside it first: a copy that is cut off must not look like a program.
        unfinished = program.with_suffix(".unfinished")
        shutil.copy2(made / "otelcol", unfinished)
        unfinished.replace(program)
    stamp.write_text(fingerprint)
    print(f"{program}: {program.stat().st_size >> 20} MiB, {time.monotonic() - started:.0f} s")


def find_go() -> str | None:
    """Return the go command, from PATH or from where its own installer puts it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/go/bin"])
    return shutil.which("go", path=path)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BuildError(f"`{Path(command[0]).name} {command[1]}` failed: {last}")


if __name__ == "__main__":
    sys.exit(main())
