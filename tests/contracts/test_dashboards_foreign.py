"""The dashboards of a service that is not the demo: what is left out, and nothing of the demo in the rest."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alerting.build import DASHBOARDS as DOMAINS
from alerting.catalogue import FOLDER, load_alerts
from alerting.features import can_fire
from alerting.needs import has_result
from alerting.service import DEMO, Service, described
from dashboards import build
from dashboards.queries import asked, load, panels, substituted
from firedrill_kit.config import FILE

EXAMPLES = FOLDER.parent / "examples"
OF_DEMO = load()
Boards = dict[str, dict[str, Any]]


def boards_of(service: Service) -> Boards:
    return {
        name.removesuffix(".json"): json.loads(text) for name, text in build.built(service).items()
    }


def titles(boards: Boards) -> set[tuple[str, str]]:
    return {(name, panel["title"]) for name, board in boards.items() for panel in panels(board)}


@pytest.fixture(scope="module", params=["shop", "notes"])
def service(request: pytest.FixtureRequest) -> Service:
    return described(EXAMPLES / request.param / FILE)


@pytest.fixture(scope="module")
def boards(service: Service) -> Boards:
    return boards_of(service)


def test_the_file_of_the_demo_makes_the_committed_boards() -> None:
    assert boards_of(described(FOLDER.parent / FILE)) == OF_DEMO


def test_a_query_is_shown_where_it_can_have_a_result(service: Service, boards: Boards) -> None:
    def queries(of: Boards) -> set[str]:
        return {
            query.expr
            for name, board in of.items()
            for query in asked(name, board)
            if query.kind == "panel"
        }

    shown, all_of_them = queries(boards), queries(OF_DEMO)

    expected = {expr for expr in all_of_them if has_result(substituted(expr), service.features)}
    of_provider = {expr for expr in all_of_them if str(DEMO.provider_routes) in expr}
    assert of_provider
    assert shown == expected - of_provider


def test_panels_and_boards_without_a_query_are_not_there(boards: Boards) -> None:
    assert set(boards) == set(OF_DEMO) - {"oauth"}
    assert ("database", "Objects that differ, by kind") in titles(OF_DEMO) - titles(boards)
    assert all(panel["targets"] for board in boards.values() for panel in panels(board))


def test_a_row_without_panels_is_not_there(boards: Boards) -> None:
    rows = [item["title"] for item in boards["database"]["panels"] if item["type"] == "row"]

    assert rows == ["The pool", "Statements and transactions", "The server"]
    for board in boards.values():
        kinds = [item["type"] for item in board["panels"]]
        assert kinds[-1] != "row"
        assert ("row", "row") not in pairwise(kinds)


def test_what_is_shown_names_nothing_of_the_demo(service: Service, boards: Boards) -> None:
    silent = [alert.name for alert in load_alerts() if not can_fire(alert, service.features)]
    text = json.dumps(boards)

    assert "/api/v1" not in text
    assert '\\"api\\"' not in text
    assert [name for name in silent if re.search(rf"\b{name}\b", text)] == []


def test_links_lead_to_boards_that_are_built(service: Service, boards: Boards) -> None:
    uids = {board["uid"] for board in boards.values()}
    fired = [alert for alert in load_alerts() if can_fire(alert, service.features)]

    assert set(re.findall(r'"/d/([\w-]+)', json.dumps(boards))) <= uids
    assert {DOMAINS[rule["labels"]["domain"]] for a in fired for rule in a.rules} <= uids


def test_the_lines_are_those_of_the_services_own_promises(boards: Boards) -> None:
    promised = {"fast": 0.25, "p0": 28.8 * 0.001}

    def lines(title: str) -> list[float]:
        (panel,) = (one for one in panels(boards["landing"]) if one["title"] == title)
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        return [step["value"] for step in steps if step["value"] is not None]

    assert lines("p99 by route, without 5xx") == [promised["fast"]]
    assert lines("Failed requests by route (5xx)") == pytest.approx([promised["p0"]])


def test_without_promises_and_with_timeouts_of_its_own_there_is_no_line(service: Service) -> None:
    boards = boards_of(replace(service, classes=()))

    for name, title in (
        ("landing", "p99 by route, without 5xx"),
        ("landing", "Failed requests by route (5xx)"),
        ("database", "Wait for a connection"),
    ):
        (panel,) = (one for one in panels(boards[name]) if one["title"] == title)
        assert len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) == 1, title


def test_the_command_writes_them_and_removes_those_that_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "oauth.json").write_text("{}")

    assert build.main(["--service", str(EXAMPLES / "shop"), "--out", str(tmp_path)]) == 0

    assert titles(load(tmp_path)) == titles(boards_of(described(EXAMPLES / "shop")))


@pytest.mark.parametrize(
    "wrong", [["--service", "nowhere.toml"], ["--features", "htpp"]], ids=["file", "feature"]
)
def test_a_wrong_file_or_feature_is_one_line_and_exit_2(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main([*wrong, "--out", str(tmp_path)]) == 2

    said = capsys.readouterr().err
    assert said.startswith("dashboards.build: ")
    assert said.count("\n") == 1
