"""The programs that are not Python: built by `make tools`, else on PATH, else Debian's packages.

Debian's packages start their services and enable them at boot; here they are only installed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack.settings import ROOT

Programs = Mapping[str, str]
"""Path of each program by our name for it."""

TOOLS = ROOT / ".tools" / "bin"
PROMETHEUS_3 = ROOT / ".tools" / "prometheus-3"
"""Not on PATH: its promtool alone is built for the tests, and must not stand before the server's own."""
COLLECTOR = "otelcol"
CACHE, CACHE_EXPORTER = "cache", "cache_exporter"
_NO_START = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class Source:
    """executables: the names it goes by, best first. package: Debian's. formula: Homebrew's.

    without: what a stack that has not got it does instead; empty: there is no stack without it.
    """

    executables: Sequence[str]
    package: str
    formula: str
    without: str = ""


SOURCES: Mapping[str, Source] = {
    "prometheus": Source(["prometheus"], "prometheus", "prometheus"),
    "promtool": Source(["promtool"], "prometheus", "prometheus"),
    "alertmanager": Source(
        ["alertmanager", "prometheus-alertmanager"], "prometheus-alertmanager", "alertmanager"
    ),
    "amtool": Source(["amtool"], "prometheus-alertmanager", "alertmanager"),
    "postgres_exporter": Source(
        ["postgres_exporter", "prometheus-postgres-exporter"],
        "prometheus-postgres-exporter",
        "postgres_exporter",
    ),
    CACHE: Source(
        ["valkey-server", "redis-server"],
        "redis-server",
        "valkey",
        without="no cache: each replica limits sign-ins for itself",
    ),
    CACHE_EXPORTER: Source(
        ["redis_exporter", "prometheus-redis-exporter"],
        "prometheus-redis-exporter",
        "redis_exporter",
        without="no exporter of the cache: its server's own figures are missing",
    ),
}


class ProgramsMissing(Exception):
    """A program is not there and was not installed; the text says how to get it."""


def find_programs(sources: Mapping[str, Source] = SOURCES) -> dict[str, str]:
    """The programs that are installed. The collector may be missing: a stack does without it."""
    path = os.pathsep.join([str(TOOLS), os.environ.get("PATH", os.defpath)])
    found = {}
    # Ours first. The core distribution, also called otelcol, lacks what otel-collector.yaml names.
    collector = shutil.which(COLLECTOR, path=str(TOOLS)) or shutil.which(
        "otelcol-contrib", path=path
    )
    if collector is not None:
        found[COLLECTOR] = collector
    for name, source in sources.items():
        for executable in source.executables:
            location = shutil.which(executable, path=path)
            if location is not None:
                found[name] = location
                break
    newer = {name: PROMETHEUS_3 / name for name in ("prometheus", "promtool")}
    if all(program.is_file() for program in newer.values()):
        found |= {name: str(program) for name, program in newer.items()}
    return found


def require_programs(sources: Mapping[str, Source] = SOURCES) -> Programs:
    """Every program, installed first where that is possible. Raises ProgramsMissing.

    Of those that a stack can do without it says so where they are missing, and goes on.
    """
    found: Programs = find_programs(sources)
    missing = [source for name, source in sources.items() if name not in found]
    if missing:
        try:
            found = _installed(sources, missing)
        except ProgramsMissing as error:
            if not all(source.without for source in missing):
                raise
            print(error)
    for name, source in sources.items():
        if name not in found:
            print(source.without)
    return found


def _installed(sources: Mapping[str, Source], missing: Sequence[Source]) -> Programs:
    """Every program, those that are missing installed. Raises ProgramsMissing."""
    packages = sorted({source.package for source in missing})
    names = _names(sources, find_programs(sources))
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ProgramsMissing(f"not found: {names}; {_advice(missing)}")
    print(f"not found: {names}; installing Debian's {', '.join(packages)}")
    if sys.stdin.isatty() and input("Go on? [Y/n] ").strip().lower() not in {"", "y", "yes"}:
        raise ProgramsMissing(f"not installed; {_advice(missing)}")
    _install(packages)
    found = find_programs(sources)
    needed = {name: source for name, source in sources.items() if not source.without}
    if names := _names(needed, found):
        raise ProgramsMissing(f"still not found: {names}; {_advice(missing)}")
    return found


def _names(sources: Mapping[str, Source], found: Programs) -> str:
    return ", ".join(name for name in sources if name not in found)


def _advice(missing: Sequence[Source]) -> str:
    packages = " ".join(sorted({source.package for source in missing}))
    if shutil.which("apt-get"):
        return f"install with: sudo apt-get install --no-install-recommends {packages}"
    if shutil.which("brew"):
        formulas = " ".join(sorted({source.formula for source in missing}))
        return f"install with: brew install {formulas}"
    return "put these programs of the Prometheus project on PATH"


def _install(packages: Sequence[str]) -> None:
    """Install without starting or enabling a system service. Raises ProgramsMissing."""
    ours = not _NO_START.exists()
    if ours:
        # Debian policy 9.3: maintainer scripts ask this file first; 101 means "do not".
        _NO_START.write_text("#!/bin/sh\nexit 101\n")
        _NO_START.chmod(0o755)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages],
        ):
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, env=environment
            )
            if done.returncode != 0:
                last = (done.stderr.strip() or "no message").splitlines()[-1]
                raise ProgramsMissing(f"`{' '.join(command)}` failed: {last}")
    finally:
        if ours:
            _NO_START.unlink(missing_ok=True)
    systemctl = shutil.which("systemctl")
    if systemctl is not None:
        subprocess.run([systemctl, "disable", *packages], check=False, capture_output=True)
