"""The stack of a drill: its own directory and ports, started fresh, taken away at the end."""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtests.world.description import DEMO, SERVED, Description, Release
from loadtests.world.errors import CannotRunError
from loadtests.world.interface import Mend
from service.config import Config
from stack.credentials import Credentials, load_credentials
from stack.environment import service_environment
from stack.postgres import Role, dsn
from stack.processes import Running, stop
from stack.settings import ROOT, Settings, SettingsError, read_settings, variable
from stack.state import read_state

PORT_OFFSET = 4000
"""Beside a stack on the default ports; PORT_OFFSET in the environment moves it elsewhere."""
LANE_OFFSET = 2000
"""From the ports of one stack to those of the next, where several drills run side by side."""
TOKEN_LIFE_SECONDS = 120
"""Life of the provider's access tokens: a grant is refreshed after two minutes, not after an hour."""


class StageError(CannotRunError):
    """The stack of the drill did not come up; the text says why."""


@dataclass
class Stage:
    """A stack of `python -m stack`. environment: of its parts."""

    settings: Settings
    environment: Mapping[str, str]
    release: Release | None = None
    is_in_process = False

    @property
    def service(self) -> Description:
        """What it stands around."""
        return DEMO

    @property
    def local(self) -> Path:
        return self.settings.local

    @property
    def provider_url(self) -> str:
        return self.settings.url("provider")

    @property
    def credentials(self) -> Credentials:
        return load_credentials(self.settings.local)

    @property
    def config(self) -> Config:
        environment = service_environment(self.settings, self.credentials)
        return Config.model_validate({name.lower(): value for name, value in environment.items()})

    def dsn(self, role: Role) -> str:
        return dsn(role, self.credentials.roles[role], self.settings.ports["postgres"])

    def port(self, part: str) -> int:
        return self.settings.ports[part]

    def proxy_control(self, part: str) -> str:
        return f"http://127.0.0.1:{self.settings.proxy_control_port(part)}/"

    def running(self) -> Mapping[str, Running]:
        return read_state(self.settings).alive

    async def restart(self, part: str) -> None:
        """Raises StageError."""
        await asyncio.to_thread(stop, [one for one in self.running().values() if one.name == part])
        await asyncio.to_thread(self.up)

    def mends_of_stop(self, *restarted: str) -> list[Mend]:
        ports = {variable(name): str(port) for name, port in self.settings.ports.items()}
        chosen = {
            name: self.environment[name]
            for name in ("REPLICAS", "FAULT_PROXIES", "PROVIDER_EXPIRES_IN")
            if name in self.environment
        }
        # What another process needs to find the stack, and to start its parts as they were.
        environment = {**ports, **chosen, "FIREDRILL_LOCAL": str(self.settings.local)}
        return [{"kind": "up", "environment": environment, "anew": list(restarted)}]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m stack` for this stack."""
        return subprocess.run(
            [sys.executable, "-m", "stack", *arguments],
            check=False,
            cwd=ROOT,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def up(self) -> None:
        """Start what does not run. Raises StageError."""
        done = self.command("up")
        if done.returncode != 0:
            raise StageError(done.stderr.strip() or done.stdout.strip())

    def clean(self) -> None:
        self.command("clean")


def stage_at(
    local: Path, ports: Mapping[str, int], more: Mapping[str, str] | None = None
) -> Stage:
    """A stack in a directory of its own. more: environment variables of its parts."""
    environment = environment_at(
        local, ports, {"PROVIDER_EXPIRES_IN": str(TOKEN_LIFE_SECONDS), **(more or {})}
    )
    return Stage(read_settings(environment), environment)


def environment_at(
    local: Path, ports: Mapping[str, int], more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """This process's environment with the variables that name a stack in another directory."""
    moved = {variable(name): str(port) for name, port in ports.items()}
    return {**os.environ, **moved, "FIREDRILL_LOCAL": str(local), **(more or {})}


def own_directory(of: Path) -> Path:
    """Where the stacks of drills of a checkout or a file have their data, unless FIREDRILL_LOCAL says."""
    digest = hashlib.sha256(str(of).encode()).hexdigest()[:8]
    return Path(
        os.environ.get("FIREDRILL_LOCAL")
        or Path(tempfile.gettempdir()) / f"firedrill-drill-{digest}"
    )


def own_stage(more: Mapping[str, str] | None = None, *, lane: int = 0) -> Stage:
    """The stack that drills of this checkout use, one after the other.

    lane: from 0; drills that run side by side have a stack each. Raises SettingsError.
    """
    if not SERVED.is_demo:
        raise SettingsError("SERVICE is set, and this is for the demo alone: unset it")
    local = str(own_directory(ROOT))
    if lane:
        local += f"-{lane}"
    offset = os.environ.get("PORT_OFFSET") or str(PORT_OFFSET)
    settings = read_settings(os.environ | {"PORT_OFFSET": offset, "FIREDRILL_LOCAL": local})
    ports = {name: port + lane * LANE_OFFSET for name, port in settings.ports.items()}
    return stage_at(settings.local, ports, more)


@contextlib.contextmanager
def alone(stage: Stage) -> Iterator[None]:
    """One drill at a time on a stack. Raises StageError when another is at work."""
    stage.settings.local.parent.mkdir(parents=True, exist_ok=True)
    with stage.settings.local.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(
                f"another drill is at work in {stage.settings.local}: wait for it, or give this one "
                "a FIREDRILL_LOCAL and a PORT_OFFSET of its own"
            ) from None
        yield
