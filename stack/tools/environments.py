"""Python environments that are made once in .tools, each of the pins that a requirements.txt lists."""

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from stack.tools.building import run


def programs_of(requirements: Path, environments: Path) -> Path:
    """Return the folder of the programs of the environment, `python` among them.

    Made below `environments` where it is missing: seconds with uv, where pip takes a minute. Raises
    BuildError with uv's last line.
    """
    uv = str(Path(sys.executable).with_name("uv"))

    def make(home: Path) -> None:
        run(uv, "--quiet", "venv", "--python", sys.executable, str(home))
        into = ("--python", str(home / "bin" / "python"))
        run(uv, "--quiet", "pip", "install", *into, "--requirement", str(requirements))

    made_of = [sys.version, requirements.read_text()]
    return made(environments / requirements.parent.name, made_of, make) / "bin"


def made(kept: Path, made_of: Iterable[str], make: Callable[[Path], object]) -> Path:
    """Return a folder named by what it is made of; made where it is missing.

    A second checkout with other contents does not take it away from the first.
    """
    home = kept / hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:12]
    finished = home / "finished"
    kept.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes.
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(home, ignore_errors=True)
            make(home)
            finished.touch()
    return home
