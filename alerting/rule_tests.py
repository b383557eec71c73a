"""Runs an alert's `rule_test.yaml` on the rules as they ship.

`python -m alerting.rule_tests [AlertName ...]` builds the rules into a temporary folder and runs each
installed promtool there, on all alerts or the named ones. The `rule_files` of a test are paths below that
folder.
"""

import argparse
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


PROMTOOL_3 = FOLDER.parent / ".tools" / "prometheus-3" / "promtool"


def promtools() -> list[str]:
    """Every promtool here: the one on PATH, and that of Prometheus 3 where `make tools` has built it.

    Raises AlertSourceError when there is none.
    """
    found = [path for path in (shutil.which("promtool"), str(PROMTOOL_3)) if path]
    found = [path for path in found if Path(path).is_file()]
    if not found:
        message = "promtool is not on PATH: install Debian's package prometheus"
        raise AlertSourceError(message)
    return found


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


def version_of(promtool: str) -> str:
    """Its version, such as "3.13.1"."""
    done = subprocess.run([promtool, "--version"], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).split()[2].split("+")[0]


def main(arguments: list[str] | None = None) -> int:
    """Run the named tests, or all, in every promtool; 1: one fails, 2: a name or a source is wrong, or
    there is no promtool.
    """
    parser = argparse.ArgumentParser(prog="python -m alerting.rule_tests", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="AlertName", help="all of them without one")
    names: list[str] = parser.parse_args(arguments).names
    try:
        chosen = _chosen(names)
        failed = [name for promtool in promtools() for name in _failing(chosen, promtool)]
    except (AlertSourceError, OSError, ValueError) as error:
        sys.stderr.write(f"alerting.rule_tests: {error}\n")
        return 2
    return 1 if failed else 0


def _chosen(names: list[str]) -> list[str]:
    """Return the names, or all without one; raises AlertSourceError for an unknown one."""
    files = files_of_tests()
    if unknown := sorted(set(names) - set(files)):
        message = f"no alert is called {', '.join(unknown)}; write it as DbPoolExhausted"
        raise AlertSourceError(message)
    return names or sorted(files)


def _failing(names: list[str], promtool: str) -> list[str]:
    """Run them in one promtool and print what failed."""
    files = files_of_tests()
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder))
        with ThreadPoolExecutor(PROCESSES) as pool:
            outcomes = pool.map(
                lambda name: run(files[name], Path(folder), promtool=promtool), names
            )
            failed = {
                name: outcome.output
                for name, outcome in zip(names, outcomes, strict=True)
                if not outcome.passed
            }
    for name, output in failed.items():
        sys.stdout.write(f"{name}\n{output}\n")
    passed = len(names) - len(failed)
    sys.stdout.write(
        f"{passed} of {len(names)} rule tests passed in promtool {version_of(promtool)}\n"
    )
    return list(failed)


if __name__ == "__main__":
    sys.exit(main())
