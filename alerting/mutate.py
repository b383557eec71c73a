"""The mutation gate: breaks every rule in every small way and demands that its tests notice.

`python -m alerting.mutate --into DIRECTORY` runs all mutants and writes mutation.md there; `--sample 60
--seed 1` runs some and writes nothing. A mutant is killed when the tests of its alert fail.
Survivors need a reason in `survivors.yaml`; one without fails the run, and so do less than 95 % killed.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from alerting.build import render
from alerting.catalogue import FOLDER, RECORDING_FILES, AlertSourceError, snake_case
from alerting.document import read_yaml
from alerting.mutants import mutants_of
from alerting.rule_tests import PROCESSES, files_of_tests, promtools, run

SURVIVORS = FOLDER / "survivors.yaml"
KILLED_RATIO = 0.95


@dataclass(frozen=True, slots=True)
class Case:
    """A mutant in its place: the rule file it changes, the whole changed document, and the tests of it:
    those of the alert, or those of the recording rules and of every alert that is built on them.
    """

    title: str
    rule_file: str
    document: dict[str, Any]
    tests: tuple[Path, ...]


def all_cases(built: Path) -> list[Case]:
    """Return every mutant of every rule below `built`, in a stable order."""
    cases = []
    tests = files_of_tests()
    for name, own in sorted(tests.items()):
        is_recording = name == "recording"
        files = RECORDING_FILES if is_recording else (f"{snake_case(name)}.yaml",)
        for file in files:
            more = [
                other
                for other in tests.values()
                if is_recording and _names(other, file, besides=own)
            ]
            document = read_yaml(built / "rules" / file)
            cases += list(_cases_of(name, file, document, (own, *more)))
    return cases


def _names(test_file: Path, rule_file: str, *, besides: Path) -> bool:
    return test_file != besides and f"rules/{rule_file}" in read_yaml(test_file)["rule_files"]


def _cases_of(
    name: str, file: str, document: dict[str, Any], tests: tuple[Path, ...]
) -> Iterable[Case]:
    for group_number, group in enumerate(document["groups"]):
        for rule_number, rule in enumerate(group["rules"]):
            labels = rule.get("labels", {})
            which = labels.get("burn_tier") or labels.get("burn_window") or str(rule_number + 1)
            subject = rule.get("record") or (
                f"{name} {which}" if len(group["rules"]) > 1 else name
            )
            for mutant in mutants_of(rule):
                groups = [dict(item) for item in document["groups"]]
                rules = list(group["rules"])
                rules[rule_number] = mutant.rule
                groups[group_number]["rules"] = rules
                yield Case(f"{subject} / {mutant.title}", file, {"groups": groups}, tests)


def survives(case: Case, built: Path, promtool: str) -> bool:
    """Run the tests of one mutant; raises AlertSourceError when promtool could not run them."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules"
        rules.mkdir()
        for original in (built / "rules").iterdir():
            if original.name != case.rule_file:
                (rules / original.name).symlink_to(original)
        # JSON is YAML, and much faster to write.
        (rules / case.rule_file).write_text(json.dumps(case.document), encoding="utf-8")
        return all(_passes(case, one, Path(folder), promtool) for one in case.tests)


def _passes(case: Case, test_file: Path, built: Path, promtool: str) -> bool:
    outcome = run(test_file, built, promtool=promtool)
    if not outcome.passed and "exp:" not in outcome.output and "err:" not in outcome.output:
        message = f"{case.title}: promtool did not run the tests: {outcome.output.strip()[:300]}"
        raise AlertSourceError(message)
    return outcome.passed


def main(arguments: list[str] | None = None) -> int:
    """Run the gate; 0 passed, 1 a survivor without a reason or too many, 2 could not run."""
    parser = argparse.ArgumentParser(prog="python -m alerting.mutate", description=__doc__)
    parser.add_argument("--sample", type=int, help="run this many mutants, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="run the mutants that begin with this: an alert's name")
    parser.add_argument("--into", type=Path, help="write the page mutation.md into this directory")
    options = parser.parse_args(arguments)
    try:
        promtool = promtools()[0]
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder)
            render(built)
            cases = all_cases(built)
            total = len(cases)
            if options.only:
                cases = _only(cases, options.only)
            if options.sample:
                # By title: a new mutant takes the place of one, and does not shuffle all.
                cases = sorted(cases, key=partial(_lot, options.seed))[: options.sample]
            started = time.perf_counter()
            survivors = _survivors(cases, built, promtool)
    except (AlertSourceError, OSError, ValueError) as error:
        sys.stderr.write(f"alerting.mutate: {error}\n")
        return 2
    seconds = time.perf_counter() - started
    reasons: dict[str, str] = read_yaml(SURVIVORS) or {}
    if options.into and not options.sample and not options.only:
        _write_report(options.into, total, survivors, reasons, seconds)
    return _verdict(len(cases), survivors, reasons, seconds)


def _only(cases: list[Case], start: str) -> list[Case]:
    """Return those whose title begins so; raises AlertSourceError when there is none."""
    found = [case for case in cases if case.title.startswith(start)]
    if not found:
        message = f"no mutant begins with {start}; write it as DbPoolExhausted"
        raise AlertSourceError(message)
    return found


def _lot(seed: int, case: Case) -> bytes:
    return hashlib.sha256(f"{seed} {case.title}".encode()).digest()


def _survivors(cases: list[Case], built: Path, promtool: str) -> list[str]:
    with ThreadPoolExecutor(PROCESSES) as pool:
        outcomes = pool.map(lambda case: survives(case, built, promtool), cases)
        alive = []
        for number, (case, survived) in enumerate(zip(cases, outcomes, strict=True), start=1):
            if survived:
                alive.append(case.title)
            if os.isatty(sys.stderr.fileno()):
                sys.stderr.write(f"\r{number} of {len(cases)} mutants, {len(alive)} alive ")
    return alive


def _verdict(count: int, survivors: list[str], reasons: dict[str, str], seconds: float) -> int:
    unexplained = [title for title in survivors if title not in reasons]
    killed = count - len(survivors)
    ratio = killed / count if count else 1.0
    sys.stdout.write(f"{killed} of {count} mutants killed ({ratio:.1%}) in {seconds:.0f} s\n")
    for title in unexplained:
        sys.stdout.write(f"alive without a reason in {SURVIVORS.name}: {title}\n")
    if unexplained:
        sys.stdout.write(f"add a case to the rule_test.yaml, or say in {SURVIVORS} why not\n")
    return 1 if unexplained or ratio < KILLED_RATIO else 0


def _write_report(
    directory: Path, count: int, survivors: list[str], reasons: dict[str, str], seconds: float
) -> None:
    killed = count - len(survivors)
    lines = [
        "# Mutation of the alert rules",
        "",
        "Written by `make record`, as `make mutate` does. Each mutant is one rule with one small fault (a",
        "threshold halved or doubled, a comparison reversed, a window, a label value, a dropped guard,",
        "`for`, a label); it is killed when the tests of that alert fail.",
        "",
        "| alerts and recording files | mutants | killed | ratio | seconds |",
        "| --- | --- | --- | --- | --- |",
        f"| {len(files_of_tests())} | {count} | {killed} | {killed / count:.1%} | {seconds:.0f} |",
        "",
        "## Survivors",
        "",
    ]
    lines += [
        f"- `{title}`: {reasons.get(title, 'no reason given yet')}" for title in survivors
    ] or ["None."]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "mutation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
