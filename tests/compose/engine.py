"""A Docker engine to try things on, and commands run against it."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stack.settings import ROOT

START_SECONDS = 60


class Unusable(Exception):
    """It cannot be tried here; the text says what refuses."""


def run(
    *command: str | Path, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> str:
    """Run to the end and return what was printed. Raises Unusable with its last lines.

    The legacy builder is asked for: a distribution's engine has no other.
    """
    done = subprocess.run(
        [*map(str, command)],
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env={
            **os.environ,
            "DOCKER_BUILDKIT": "0",
            "COMPOSE_DOCKER_CLI_BUILD": "0",
            **(environment or {}),
        },
    )
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise Unusable(f"{' '.join(map(str, command))[:160]} failed:\n{last}")
    return done.stdout


def await_that(what: str, is_so: Callable[[], bool], seconds: float) -> float:
    """Wait until it is so; returns the seconds it took. Raises Unusable."""
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > seconds:
            raise Unusable(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)
    return time.monotonic() - started


@contextmanager
def engine(work: Path) -> Iterator[None]:
    """Use the engine that answers, else one of our own for as long as this lasts. Raises Unusable."""
    if shutil.which("docker") is None:
        raise Unusable("docker is missing: apt-get install docker.io docker-compose debootstrap")
    if _answers():
        yield
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        raise Unusable("no Docker engine answers: start one, or run this as root with dockerd")
    socket = work / "docker.sock"
    os.environ["DOCKER_HOST"] = f"unix://{socket}"
    command = [
        *("dockerd", "--data-root", work / "data", "--exec-root", work / "exec"),
        *("--host", f"unix://{socket}", "--pidfile", work / "dockerd.pid"),
    ]
    with (
        (work / "dockerd.log").open("w") as log,
        subprocess.Popen([*map(str, command)], stdout=log, stderr=log) as daemon,
    ):
        try:
            await_that(
                f"the engine ({work / 'dockerd.log'})",
                lambda: daemon.poll() is not None or _answers(),
                START_SECONDS,
            )
            if daemon.poll() is not None:
                raise Unusable(f"dockerd ended: see {work / 'dockerd.log'}")
            yield
        finally:
            daemon.terminate()


def _answers() -> bool:
    asked = subprocess.run(
        ["docker", "info", "--format", "{{.ServerVersion}}"],
        check=False,
        capture_output=True,
        text=True,
    )
    return asked.returncode == 0 and bool(asked.stdout.strip())
