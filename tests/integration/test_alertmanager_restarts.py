"""What happens to an open page when Alertmanager or the pager goes away: it stays one incident.

The shipped configuration with all waits divided by five: group_wait 1 s, group_interval 3 s.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import stamina

from stack.serving import free_port
from tests.integration.alertmanager_process import running_alertmanager, shipped, write_config
from tests.integration.pager_process import RunningPager, running_pager

pytestmark = pytest.mark.slow

DIVIDED_BY = 5
OPEN = shipped("DbPoolExhausted", "restarts")


@pytest.fixture
def pager(tmp_path: Path) -> Iterator[RunningPager]:
    with running_pager(tmp_path / "pager.db") as running:
        yield running


def config_for(directory: Path, pager_url: str) -> Path:
    return write_config(
        directory, pager_url=pager_url, second_channel_url=pager_url, divided_by=DIVIDED_BY
    )


def pages_once(pager: RunningPager, env: str, *, count: int = 1) -> list[dict[str, Any]]:
    """The notifications of one env, newest first, when there are that many."""
    found: list[dict[str, Any]] = []
    for attempt in stamina.retry_context(
        on=AssertionError, attempts=None, timeout=60, wait_initial=0.1, wait_max=0.2
    ):
        with attempt:
            found = [
                one
                for one in pager.pages(receiver="pager")
                if one["alerts"][0]["labels"]["env"] == env
            ]
            assert len(found) >= count
    return found


def test_an_orderly_restart_of_alertmanager_repeats_nothing(
    tmp_path: Path, pager: RunningPager
) -> None:
    config = config_for(tmp_path, pager.url)
    with running_alertmanager(config) as alertmanager:
        alertmanager.post(OPEN)
        pages_once(pager, "restarts")
        alertmanager.process.terminate()
        assert alertmanager.process.wait(timeout=60) == 0

    with running_alertmanager(config) as alertmanager:
        alertmanager.post(OPEN, age=timedelta(minutes=10))
        # Posted later and not older than group_wait: when it has come, the first had its turn.
        alertmanager.post(shipped("DbPoolExhausted", "fence"))
        pages_once(pager, "fence")

    assert len(pages_once(pager, "restarts")) == 1


def test_a_killed_alertmanager_says_it_again_but_it_does_not_ring(
    tmp_path: Path, pager: RunningPager
) -> None:
    """It saves what it has sent every 15 minutes and at its end only."""
    config = config_for(tmp_path, pager.url)
    with running_alertmanager(config) as alertmanager:
        alertmanager.post(OPEN)
        pages_once(pager, "restarts")
        alertmanager.process.kill()
        alertmanager.process.wait()

    with running_alertmanager(config) as alertmanager:
        alertmanager.post(OPEN, age=timedelta(minutes=10))
        again, first = pages_once(pager, "restarts", count=2)

    assert again["group_key"] == first["group_key"]
    assert (first["opened"], again["opened"]) == (True, False)


def test_a_page_waits_for_a_pager_that_is_away(tmp_path: Path) -> None:
    port = free_port()
    config = config_for(tmp_path, f"http://127.0.0.1:{port}")
    with running_alertmanager(config) as alertmanager:
        alertmanager.post(OPEN)
        for attempt in stamina.retry_context(
            on=AssertionError, attempts=None, timeout=60, wait_initial=0.1, wait_max=0.2
        ):
            with attempt:
                assert failed_requests(alertmanager.http.get("/metrics").text) > 0

        with running_pager(tmp_path / "pager.db", port=port) as pager:
            (page,) = pages_once(pager, "restarts")

    assert page["opened"]


def failed_requests(metrics: str) -> float:
    """The counter that AlertDeliveryFailing watches, over all reasons."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("alertmanager_notification_requests_failed_total{")
        and 'integration="webhook"' in line
    )
