"""What the peers run on: a folder for each environment, of exact versions.

wanted.txt: what was asked for; requirements.txt: what it took, with the versions of requirements.lock
wherever both have a package. It is made again, where LOCK is requirements.lock without its hashes, by

uv pip compile wanted.txt --constraint LOCK --no-header --no-annotate -o requirements.txt
"""

from pathlib import Path

from stack.settings import ROOT
from stack.tools.environments import programs_of

FOLDER = Path(__file__).parent
KEPT = ROOT / ".tools" / "bench"


def python_of(name: str) -> Path:
    """Return the environment's Python; made where it is missing. Raises BuildError."""
    return programs_of(FOLDER / name / "requirements.txt", KEPT) / "python"
