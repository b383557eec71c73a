"""Several workers of a service, several services in one Prometheus: who is called down, and who is not."""

import json
from pathlib import Path

import pytest

from alerting.build import render
from alerting.rule_tests import Outcome, promtools, run
from tests.contracts.foreign_series import WORKERS, document

SCRAPES = 72
DOWN_SINCE = 12
RULE_FILES = [f"rules/{name}.yaml" for name in ("service_down", "target_down", "api_restart_loop")]
FIRING = 'count by (alertname, service) (ALERTS{alertstate="firing"})'


def of(service: str, name: str, worker: str, values: str) -> dict[str, str]:
    labels = f'job="service",env="local",service="{service}",instance="{worker}"'
    return {"series": f"{name}{{{labels}}}", "values": values}


def down(count: int) -> list[dict[str, str]]:
    """Four workers of a service, of which some are down since the first minute, beside another service."""
    gone = f"1x{DOWN_SINCE} 0x{SCRAPES}"
    return [
        of("shop", "up", worker, gone if number < count else f"1x{SCRAPES}")
        for number, worker in enumerate(WORKERS)
    ] + [of("api", "up", "another", f"1x{SCRAPES}")]


@pytest.mark.parametrize(
    ("workers_down", "expected"),
    [(0, {}), (1, {"TargetDown": 1}), (2, {"TargetDown": 2}), (3, {"TargetDown": 3}),
     (4, {"ServiceDown": 1})],
)  # fmt: skip
def test_a_service_is_down_when_no_worker_of_it_answers(
    workers_down: int, expected: dict[str, int], tmp_path: Path
) -> None:
    """Half of four is a ticket for each: the others serve, and what callers notice is paged by that."""
    outcome = judged(tmp_path, down(workers_down), expected)

    assert outcome.passed, outcome.output


def test_each_worker_starts_again_by_itself(tmp_path: Path) -> None:
    """Four workers that are recycled twice are no restart loop, though they start eight times."""
    starts = [
        of("shop", "process_start_time_seconds", worker, f"0x{20 + number} 100x20 200x40")
        for number, worker in enumerate(WORKERS)
    ]

    outcome = judged(tmp_path, [*down(0), *starts], {})

    assert outcome.passed, outcome.output


def judged(folder: Path, series: list[dict[str, str]], expected: dict[str, int]) -> Outcome:
    """Compare with how many alerts of each name fire after five minutes, of any service."""
    render(folder)
    samples = [
        {"labels": f'{{alertname="{alert}",service="shop"}}', "value": count}
        for alert, count in expected.items()
    ]
    test = folder / "test.json"
    test.write_text(json.dumps(document(RULE_FILES, series, {(FIRING, "5m"): samples})))
    return run(test, folder, promtool=promtools()[-1])
