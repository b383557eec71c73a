"""`python -m deploy.compose.prepare secrets | configuration | roles | seed`: the one-shot tasks.

Each may be repeated, and changes nothing that is there. What they do is the native stack's own code;
only where things are differs. Secrets are made at random at the first start and live in one volume per
reader: no container sees a password that it does not use, and none is written in a file of the project.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from alerting import build, routing
from deploy.dashboards import with_runbooks
from stack import postgres

FOLDER = Path(__file__).parent
DASHBOARDS = FOLDER.parents[1] / "dashboards"
HOME = Path("/var/lib/firedrill")
ENVIRONMENT = "compose"
POSTGRES_PORT = 5432

_KEYS = "local-1={}"
SECRETS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "service": (
        ("DATABASE_PASSWORD", "{}"),
        ("TOKEN_KEYS", _KEYS),
        ("LEGACY_TOKEN_KEYS", "legacy-1={}"),
        ("SESSION_KEY", "{}"),
        ("GRANT_KEYS", _KEYS),
    ),
    "owner": (("MIGRATION_PASSWORD", "{}"),),
    "provider": (("PROVIDER_CLIENT_SECRET", "{}"),),
    "postgres": (("POSTGRES_PASSWORD", "{}"),),
    "monitor": (("DATA_SOURCE_PASS", "{}"),),
    "cache": (("CACHE_URL", "redis://:{}@cache:6379/0"),),
    "grafana": (("GF_SECURITY_ADMIN_PASSWORD", "{}"),),
}
"""Folder → its files and how they are written; 256 random bits each."""

ROLES: Mapping[postgres.Role, str] = {
    "superuser": "postgres/POSTGRES_PASSWORD",
    "owner": "owner/MIGRATION_PASSWORD",
    "app": "service/DATABASE_PASSWORD",
    "monitor": "monitor/DATA_SOURCE_PASS",
}


def make_secrets(home: Path) -> None:
    """Make what is missing. Only a container that mounts the volume can read the files.

    The images of PostgreSQL, Grafana and the exporter each run as an account of their own.
    """
    for folder, files in SECRETS.items():
        for name, template in files:
            file = home / "secrets" / folder / name
            if file.exists():
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.parent / f".{name}.unfinished"
            unfinished.write_text(template.format(secrets.token_hex(32)), encoding="utf-8")
            unfinished.chmod(0o444)
            unfinished.replace(file)


def write_configuration(home: Path) -> None:
    """Write what Prometheus, Alertmanager and Grafana read, with the addresses of this installation."""
    prometheus = home / "configuration" / "prometheus"
    runbooks_url = os.environ.get("RUNBOOKS_URL", "")
    build.render(
        prometheus,
        viewer_url=os.environ.get("VIEWER_URL", ""),
        runbooks_url=runbooks_url,
        environment=ENVIRONMENT,
    )
    dashboards = home / "configuration" / "dashboards"
    dashboards.mkdir(exist_ok=True)
    for file in DASHBOARDS.glob("*.json"):
        text = with_runbooks(file.read_text(encoding="utf-8"), runbooks_url)
        (dashboards / file.name).write_text(text, encoding="utf-8")
    shutil.copytree(FOLDER / "targets", prometheus / "targets", dirs_exist_ok=True)
    routing.render(
        home / "configuration" / "alertmanager",
        pager_url="http://pager:9095",
        second_channel_url="http://second-channel:9097",
        environ=os.environ,
    )


def create_roles(home: Path) -> None:
    """Roles, passwords, database. Runs in PostgreSQL's network namespace: that code knows loopback."""
    passwords = {
        role: (home / "secrets" / file).read_text(encoding="utf-8") for role, file in ROLES.items()
    }
    asyncio.run(postgres.create_roles(POSTGRES_PORT, passwords))


def seed(_: Path) -> None:
    from service.config import read_config  # noqa: PLC0415 - loads the service, for this task only
    from stack import demo  # noqa: PLC0415 - as above

    demo.run_seed(read_config())


TASKS: Mapping[str, Callable[[Path], None]] = {
    "secrets": make_secrets,
    "configuration": write_configuration,
    "roles": create_roles,
    "seed": seed,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.compose.prepare", description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--home", type=Path, default=HOME)
    given = parser.parse_args(arguments)
    try:
        TASKS[given.task](given.home)
    except (OSError, postgres.PostgresError, routing.InvalidRouting) as error:
        parser.exit(1, f"prepare {given.task}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
