"""Virtual environments of the examples, made once in .tools, each out of its requirements.txt."""

import fcntl
import hashlib
import shutil
import sys
from pathlib import Path

from stack.settings import ROOT
from stack.tools.building import run

EXAMPLES = ROOT / "examples"
ENVIRONMENTS = ROOT / ".tools" / "examples"


def programs_of(requirements: Path, environments: Path = ENVIRONMENTS) -> Path:
    """Return the folder of the programs of the environment, `python` among them.

    It is named after the folder of the requirements, and by what is in them: a second checkout with
    other requirements does not take it away from the first. Made where it is missing, which takes a
    minute. Raises BuildError with pip's last line.
    """
    made_of = f"{sys.version}\n{requirements.read_text()}"
    kept = environments / requirements.parent.name
    home = kept / hashlib.sha256(made_of.encode()).hexdigest()[:12]
    finished = home / "finished"
    kept.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes.
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(home, ignore_errors=True)
            run(sys.executable, "-m", "venv", str(home))
            pip = (str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
            run(*pip, "install", "--quiet", "--requirement", str(requirements))
            finished.touch()
    return home / "bin"
