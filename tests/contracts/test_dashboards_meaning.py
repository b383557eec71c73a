"""What a colour means is the same on every chart."""

import json
import re
from typing import Any

import pytest

from dashboards import build, meaning
from service.failures import MODES
from service.metrics import REFRESH_OUTCOMES

HUES = ("green", "blue", "orange", "purple", "red")
STATUSES = ("200", "201", "204", "304", "400", "401", "404", "409", "422", "429", "500", "503")
NAMES = {"{{http_response_status_code}}": STATUSES, "{{code}}": tuple(MODES)}
"""A legend → what its series are called."""
EXPECTED = (
    {status: HUES[0] for status in STATUSES if status < "300"}
    | {status: HUES[2] for status in STATUSES if "400" <= status < "500"}
    | {status: HUES[4] for status in STATUSES if status >= "500"}
    | {"304": "blue"}
    | {code: meaning.BY_BLAME[mode.blame] for code, mode in MODES.items()}
)
GRAPHS = [
    panel
    for content in build.built().values()
    for panel in json.loads(content)["panels"]
    if panel["type"] == "timeseries"
]


def color_of(panel: dict[str, Any], name: str) -> str:
    """The colour that Grafana draws a series in: of the overrides that match, the last."""
    found = ""
    for override in panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]
        if matcher["id"] == "byRegexp" and re.fullmatch(matcher["options"], name):
            for one in override["properties"]:
                found = one["value"]["fixedColor"] if one["id"] == "color" else found
    return found


def hue(color: str) -> str:
    return color.rpartition("-")[2]


@pytest.mark.parametrize("panel", GRAPHS, ids=lambda panel: panel["title"])
def test_a_status_and_a_code_have_the_colour_of_their_meaning(panel: dict[str, Any]) -> None:
    legends = {target["legendFormat"] for target in panel["targets"]}

    for name in (name for legend in legends for name in NAMES.get(legend, ())):
        assert hue(color_of(panel, name)) == EXPECTED[name], name


@pytest.mark.parametrize(
    "title", ["Refreshes by outcome", "Calendar tokens refreshed, by outcome"]
)
def test_no_two_outcomes_of_a_refresh_share_a_colour(title: str) -> None:
    (panel,) = (panel for panel in GRAPHS if panel["title"] == title)

    colors = {outcome: color_of(panel, outcome) for outcome in REFRESH_OUTCOMES}

    assert len(set(colors.values())) == len(REFRESH_OUTCOMES)
    assert [name for name, color in colors.items() if hue(color) == "green"] == ["success"]


def test_a_quantile_is_neither_good_nor_bad() -> None:
    for panel in GRAPHS:
        for target in panel["targets"]:
            if re.match(r"p[0-9]{2}( \{|$)", target["legendFormat"]):
                assert hue(color_of(panel, target["legendFormat"])) == "blue", panel["title"]


def test_the_classes_of_statuses_have_the_colours_of_the_statuses() -> None:
    (panel,) = (panel for panel in GRAPHS if panel["title"] == "Traffic by class of status")

    found = [color_of(panel, name) for name in ("2xx", "3xx", "4xx", "5xx")]

    assert found == ["green", "blue", "orange", "red"]


def test_no_series_is_named_by_its_status_twice() -> None:
    for panel in GRAPHS:
        for target in panel["targets"]:
            legend = target["legendFormat"]
            assert not {"http_response_status_code", "error_type"} <= set(
                re.findall(r"\w+", legend)
            ), panel["title"]
