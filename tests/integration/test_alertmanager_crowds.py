"""More alerts at once than anybody reads, from a real Alertmanager to a real pager: the page comes."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stamina

from tests.integration.alertmanager_process import (
    RunningAlertmanager,
    running_alertmanager,
    shipped,
    write_config,
)
from tests.integration.pager_process import RunningPager, running_pager

pytestmark = pytest.mark.slow

LONG = "x" * 60_000


@pytest.fixture(scope="module")
def pager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPager]:
    with running_pager(tmp_path_factory.mktemp("pager") / "pager.db") as running:
        yield running


@pytest.fixture(scope="module")
def alertmanager(
    tmp_path_factory: pytest.TempPathFactory, pager: RunningPager
) -> Iterator[RunningAlertmanager]:
    config = write_config(
        tmp_path_factory.mktemp("alertmanager"),
        pager_url=pager.url,
        second_channel_url=pager.url,
        divided_by=5,
    )
    with running_alertmanager(config) as running:
        yield running


def arrived(
    pager: RunningPager, env: str, *, until: Callable[[list[dict[str, Any]]], bool] = bool
) -> list[dict[str, Any]]:
    """The notifications of one env, newest first, when there are some and `until` holds."""
    found: list[dict[str, Any]] = []
    for attempt in stamina.retry_context(
        on=AssertionError, attempts=None, timeout=120, wait_initial=0.2, wait_max=0.5
    ):
        with attempt:
            found = [one for one in pager.pages() if one["alerts"][0]["labels"]["env"] == env]
            assert found
            assert until(found)
    return found


def test_three_thousand_alerts_of_one_group_are_one_page(
    alertmanager: RunningAlertmanager, pager: RunningPager
) -> None:
    crowd = [shipped("DbPoolExhausted", "crowd", pod=f"pod-{number}") for number in range(3000)]
    alertmanager.post(*crowd)

    # Alertmanager takes them one by one: a first notification may come before the last of them.
    pages = arrived(
        pager, "crowd", until=lambda p: len(p[0]["alerts"]) + p[0]["truncated"] == len(crowd)
    )

    assert [page["opened"] for page in reversed(pages)] == [True, *[False] * (len(pages) - 1)]
    assert {page["status"] for page in pages} == {"firing"}
    assert len(pages[0]["alerts"]) == 100

    alertmanager.end(*crowd)
    arrived(pager, "crowd", until=lambda p: p[0]["status"] == "resolved")


def test_long_labels_and_texts_are_one_page(
    alertmanager: RunningAlertmanager, pager: RunningPager
) -> None:
    long = [
        shipped("DbPoolExhausted", "long", pod=f"{number}-{LONG[:2000]}") for number in range(150)
    ]
    for one in long:
        one["annotations"]["description"] = LONG
    for begin in range(0, 150, 50):
        alertmanager.post(*long[begin : begin + 50])

    assert arrived(pager, "long")[-1]["opened"]


def test_each_of_three_hundred_groups_rings(
    alertmanager: RunningAlertmanager, pager: RunningPager
) -> None:
    alertmanager.post(
        *(shipped("DbCommitFailures", "groups", scope=f"route-{n}") for n in range(300))
    )

    pages = arrived(pager, "groups", until=lambda p: len(p) >= 300)

    assert all(page["opened"] for page in pages)
    assert len({page["group_key"] for page in pages}) == 300
