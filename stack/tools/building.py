"""What the builds share: Go, a temporary directory, and a stamp that says what a program is made of."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class BuildError(Exception):
    """Why a program was not built; the text says what to do."""


@dataclass(frozen=True)
class Tool:
    """One program. recipe: what it is made of; it is built again when this text changes.

    make: builds below a temporary directory and returns where the program is. Raises BuildError.
    """

    program: Path
    recipe: str
    make: Callable[[Path], Path]

    def build(self) -> None:
        """Build it unless the one there is of this recipe. Raises BuildError."""
        fingerprint = hashlib.sha256(self.recipe.encode()).hexdigest()
        stamp = self.program.with_suffix(".made-from")
        if self.program.exists() and stamp.exists() and stamp.read_text() == fingerprint:
            print(f"{self.program.name} is current")
            return
        print(f"building {self.program.name}; minutes, the first time", flush=True)
        started = time.monotonic()
        self.program.parent.mkdir(parents=True, exist_ok=True)
        # Sources and builder are of no use afterwards; Go keeps its own caches.
        with tempfile.TemporaryDirectory(prefix="firedrill-tools-") as directory:
            made = self.make(Path(directory))
            # Beside it first: a copy that is cut off must not look like a program.
            unfinished = self.program.with_suffix(".unfinished")
            shutil.copy2(made, unfinished)
            unfinished.replace(self.program)
        stamp.write_text(fingerprint)
        size = self.program.stat().st_size >> 20
        print(f"{self.program}: {size} MiB, {time.monotonic() - started:.0f} s", flush=True)


def find_go() -> str | None:
    """Return the go command, from PATH or from where its own installer puts it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/go/bin"])
    return shutil.which("go", path=path)


def go(*arguments: str, cwd: Path | None = None, bin_directory: Path | None = None) -> str:
    """Run go without cgo, so that what it builds also runs in an image from scratch.

    Returns its standard output. Raises BuildError.
    """
    command = find_go()
    if command is None:
        raise BuildError("Go is not there: install it (go.dev/doc/install), or do without")
    # GOWORK: the workspace of a module's own developers names folders that its archive lacks.
    environment = {"CGO_ENABLED": "0", "GOWORK": "off"}
    if bin_directory is not None:
        environment["GOBIN"] = str(bin_directory)
    return run(command, *arguments, cwd=cwd, environment=environment)


def run(*command: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run one step of a build and return its standard output. Raises BuildError."""
    directory = Path(find_go() or "").parent
    path = f"{directory}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PATH": path} | (environment or {}),
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise BuildError(f"`{Path(command[0]).name} {command[1]}` failed: {last}")
    return done.stdout
