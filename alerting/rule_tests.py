"""Runs an alert's `rule_test.yaml` on the rules as they ship.

`python -m alerting.rule_tests [AlertName ...]` builds the rules into a temporary folder and runs promtool
there, all alerts or the named ones. The `rule_files` of a test are paths below that folder.
"""

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from alerting.build import render
from alerting.catalogue import FOLDER, AlertSourceError, load_alerts

PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: bool
    output: str


def promtool_path() -> str:
    """Return the path of promtool; raises AlertSourceError saying how to get it."""
    path = shutil.which("promtool")
    if path is None:
        message = "promtool is not on PATH: install Debian's package prometheus"
        raise AlertSourceError(message)
    return path


def run(test_file: Path, built: Path, *, promtool: str) -> Outcome:
    """Run one test file against the rules built into `built`.

    promtool finds rule files relative to the test file, hence the copy.
    """
    copy = built / f"{test_file.parent.name}.{test_file.name}"
    shutil.copyfile(test_file, copy)
    done = subprocess.run(
        [promtool, "test", "rules", str(copy)], capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode == 0, done.stdout + done.stderr)


def files_of_tests() -> dict[str, Path]:
    """Return every rule test by the name of what it tests, recording rules included."""
    files = {alert.name: alert.folder / "rule_test.yaml" for alert in load_alerts()}
    return {**files, "recording": FOLDER / "recording_test.yaml"}


def main(names: list[str]) -> int:
    """Run the named tests, or all; 1 when one fails, 2 when a name or promtool is unknown."""
    files = files_of_tests()
    unknown = sorted(set(names) - set(files))
    if unknown:
        sys.stderr.write(f"alerting.rule_tests: no alert is called {', '.join(unknown)}\n")
        return 2
    try:
        promtool = promtool_path()
    except AlertSourceError as error:
        sys.stderr.write(f"alerting.rule_tests: {error}\n")
        return 2
    chosen = names or sorted(files)
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder))
        with ThreadPoolExecutor(PROCESSES) as pool:
            outcomes = pool.map(
                lambda name: run(files[name], Path(folder), promtool=promtool), chosen
            )
            failed = 0
            for name, outcome in zip(chosen, outcomes, strict=True):
                if not outcome.passed:
                    failed += 1
                    sys.stdout.write(f"{name}\n{outcome.output}\n")
    sys.stdout.write(f"{len(chosen) - failed} of {len(chosen)} rule tests passed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
