"""What the examples run on, made once in .tools: an environment of each requirements.txt, and the kit."""

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from stack.settings import ROOT
from stack.tools.building import run

EXAMPLES = ROOT / "examples"
ENVIRONMENTS = ROOT / ".tools" / "examples"


KIT = ROOT / "firedrill_kit"
PYTEST = ROOT / "tests" / "examples" / "pytest.txt"


def programs_of(requirements: Path, environments: Path = ENVIRONMENTS) -> Path:
    """Return the folder of the programs of the environment, `python` among them.

    Made where it is missing, which takes a minute. Raises BuildError with pip's last line.
    """

    def make(home: Path) -> None:
        run(sys.executable, "-m", "venv", str(home))
        pip = (str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "--quiet", "--requirement", str(requirements))

    made_of = [sys.version, requirements.read_text()]
    return _made(environments / requirements.parent.name, made_of, make) / "bin"


def kit(environments: Path = ENVIRONMENTS) -> Path:
    """Return a folder with the kit as its wheel installs it, without what it depends on."""
    files = sorted(file for file in KIT.rglob("*") if file.suffix in {".py", ".toml", ".json"})
    made_of = [part for file in files for part in (str(file), file.read_text())]
    return _made(environments / "kit", made_of, _target("--no-deps", str(KIT)))


def pytest_for_others(environments: Path = ENVIRONMENTS) -> Path:
    """Return a folder with pytest, to be put behind what an environment has itself."""
    made_of = [sys.version, PYTEST.read_text()]
    return _made(environments / "pytest", made_of, _target("--requirement", str(PYTEST)))


def _target(*what: str) -> Callable[[Path], object]:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    return lambda home: run(*pip, "--target", str(home), *what)


def _made(kept: Path, made_of: Iterable[str], make: Callable[[Path], object]) -> Path:
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
