import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from loadtests.world import history
from loadtests.world.description import DEMO
from loadtests.world.stage import StageError
from stack.settings import read_settings


def series(rates: dict[str, float]) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    settings = read_settings({})
    for line in history._open_metrics(settings, rates, end=1_000_000.0, seed=1):
        if not line.startswith("#"):
            name, value, at = line.rsplit(" ", 2)
            found[name].append((float(at), float(value)))
    return found


def test_history_is_three_hours_of_counters_that_never_fall_and_end_before_now() -> None:
    for name, values in series(DEMO.steady_mix).items():
        times = [at for at, _ in values]
        counts = [value for _, value in values]
        assert counts == sorted(counts), name
        assert times == sorted(set(times)), name
        assert times[-1] < 1_000_000.0
        assert times[-1] - times[0] == pytest.approx(3 * 3600, abs=60)


def test_history_grows_at_the_rate_of_the_load() -> None:
    found = series({"GET /api/v1/profile": 9.0})

    counts = next(values for name, values in found.items() if "_count{" in name)
    (start, first), (end, last) = counts[0], counts[-1]
    assert (last - first) / (end - start) == pytest.approx(9.0, rel=0.02)


def test_versions_share_the_requests_of_a_route_by_method() -> None:
    found = series({"GET /api/v1/profile": 9.0, "PUT /api/v1/profile": 3.0})

    clients = [values for name, values in found.items() if name.startswith("api_client")]
    total = sum(values[-1][1] - values[0][1] for values in clients)
    assert len(clients) == 3 * 2
    assert total / (3 * 3600) == pytest.approx(12.0, rel=0.02)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_history_as_blocks(tmp_path: Path) -> None:
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path)})

    written = history.back_fill(settings, {"GET /api/v1/profile": 9.0}, seed=1)

    blocks = list((tmp_path / "prometheus" / "data").glob("*/meta.json"))
    assert written == 720 * 10
    assert len(blocks) >= 2


def test_a_promtool_that_fails_is_said_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "promtool"
    program.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(history, "require_programs", lambda: {"promtool": str(program)})
    settings = read_settings({"FIREDRILL_LOCAL": str(tmp_path)})

    with pytest.raises(StageError, match="promtool takes no history: no space left"):
        history.back_fill(settings, {"GET /api/v1/profile": 9.0}, seed=1)
    assert not (settings.prometheus / "history.txt").exists()
