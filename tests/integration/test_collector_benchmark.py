"""The bench measures the collector, not what else the machine does."""

import os
from pathlib import Path

import psutil
import pytest

from loadtests.costs import collector as bench
from loadtests.world.cores import why_not
from tests.integration.collector_process import running_collector

CORES = sorted(os.sched_getaffinity(0))


def test_a_busy_machine_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.4, 0.2, 0.2))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    assert bench.main([]) == 2

    assert capsys.readouterr().err == (
        "collector: the load average is 1.4: wait until it is under 1, or --anyway\n"
    )
    assert why_not([1], anyway=True) is None


def test_a_machine_with_one_core_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))

    assert why_not([], anyway=True) is not None
    assert why_not([1], anyway=False) is None


@pytest.mark.skipif(len(CORES) < 2, reason="one core: nothing to keep apart")
def test_every_thread_of_a_pinned_collector_is_on_its_core_and_ours_are_not(
    tmp_path: Path,
) -> None:
    with running_collector(tmp_path, core=CORES[0]) as collector:
        assert collector.process is not None
        threads = psutil.Process(collector.process.pid).threads()

        assert len(threads) > 2
        assert {tuple(os.sched_getaffinity(one.id)) for one in threads} == {(CORES[0],)}
        assert sorted(os.sched_getaffinity(0)) == CORES
