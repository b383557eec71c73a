"""Another commit beside this one: its kit and its service run in the same rounds."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtests.record.record import git
from loadtests.world.errors import CannotRunError
from stack.settings import ROOT


class NoCommitError(CannotRunError):
    """There is no such commit, or git cannot lay it out; the text says why."""


def resolved(commit: str) -> str:
    """Return the short name of a commit. Raises NoCommitError."""
    found = git("rev-parse", "--short=10", "--verify", "--quiet", f"{commit}^{{commit}}")
    if not found:
        raise NoCommitError(f"AGAINST={commit}: no such commit here; `git log` lists them")
    return found


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Give a folder with the files of a commit, for as long as the block runs. Raises NoCommitError."""
    name = resolved(commit)
    with tempfile.TemporaryDirectory(prefix="bench-against-") as directory:
        folder = Path(directory) / name
        try:
            done = subprocess.run(
                ["git", "worktree", "add", "--detach", str(folder), name],  # noqa: S607
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise NoCommitError(f"git worktree: {done.stderr.strip().splitlines()[-1]}")
            yield folder
        finally:
            git("worktree", "remove", "--force", str(folder))


def kit(checkout: Path, directory: Path) -> Path:
    """Return a folder of `directory` that holds nothing but that checkout's kit."""
    folder = directory / "kit-before"
    folder.mkdir()
    (folder / "firedrill_kit").symlink_to(checkout / "firedrill_kit")
    return folder
