"""What the examples run on, made once in .tools: an environment of each requirements.txt, and the kit."""

import sys
from collections.abc import Callable
from pathlib import Path

from stack.settings import ROOT
from stack.tools import environments as made_environments
from stack.tools.building import run
from stack.tools.environments import made

EXAMPLES = ROOT / "examples"
ENVIRONMENTS = ROOT / ".tools" / "examples"


KIT = ROOT / "firedrill_kit"
PYTEST = ROOT / "tests" / "examples" / "pytest.txt"


def programs_of(requirements: Path) -> Path:
    """Return the folder of the programs of an example's environment. Raises BuildError."""
    return made_environments.programs_of(requirements, ENVIRONMENTS)


def kit(environments: Path = ENVIRONMENTS) -> Path:
    """Return a folder with the kit as its wheel installs it, without what it depends on."""
    files = sorted(file for file in KIT.rglob("*") if file.suffix in {".py", ".toml", ".json"})
    made_of = [part for file in files for part in (str(file), file.read_text())]
    return made(environments / "kit", made_of, _target("--no-deps", str(KIT)))


def pytest_for_others(environments: Path = ENVIRONMENTS) -> Path:
    """Return a folder with pytest, to be put behind what an environment has itself."""
    made_of = [sys.version, PYTEST.read_text()]
    return made(environments / "pytest", made_of, _target("--requirement", str(PYTEST)))


def _target(*what: str) -> Callable[[Path], object]:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    return lambda home: run(*pip, "--target", str(home), *what)
