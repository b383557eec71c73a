"""The mutation gate on a seeded sample; `make mutate` runs every mutant."""

from pathlib import Path

import pytest

from alerting.build import render
from alerting.document import read_yaml
from alerting.mutants import mutants_of
from alerting.mutate import SURVIVORS, all_cases, main

RULE = {
    "alert": "X",
    "expr": 'sum by (env) (rate(a_total{code=~"x|y"}[1m])) / b > 0.5 and c >= 10 unless on (env) d',
    "for": "1m",
    "labels": {"severity": "page", "env": "e"},
}


def test_every_kind_of_fault_is_made() -> None:
    titles = " | ".join(mutant.title for mutant in mutants_of(RULE))

    for fault in (
        "0.5 becomes 0.25",
        "0.5 becomes 1",
        "> becomes <",
        ">= becomes > before 10",
        "[1m] of a_total becomes [30s]",
        "[1m] of a_total becomes [120s]",
        "code of a_total becomes another value",
        "code of a_total without x",
        "and c >= 10 dropped",
        "unless d dropped",
        "for removed",
        "for ten times longer",
        "severity ticket",
        "label env dropped",
    ):
        assert fault in titles


def test_a_mutant_differs_from_its_rule_in_one_place() -> None:
    mutants = list(mutants_of(RULE))

    assert all(mutant.rule != RULE for mutant in mutants)
    assert len({mutant.title for mutant in mutants}) == len(mutants)


def test_every_excused_survivor_is_a_mutant_that_exists(tmp_path: Path) -> None:
    render(tmp_path)
    titles = {case.title for case in all_cases(tmp_path)}

    assert set(read_yaml(SURVIVORS) or {}) - titles == set()


@pytest.mark.slow
def test_the_tests_notice_a_sample_of_mutants(capfd: pytest.CaptureFixture[str]) -> None:
    """Sixty of them, the same ones each time; `make mutate` runs all."""
    code = main(["--sample", "60", "--seed", "1"])

    assert code == 0, capfd.readouterr()
