"""How the answers of Prometheus are judged."""

from typing import Any

import pytest

from dashboards import prove
from dashboards.queries import UnknownVariable, asked, load, substituted

NOW = 1_700_000_000.0


def prometheus(
    *, empty: str = "", fails: str = "", warns: str = "", value: str = "1"
) -> prove.Get:
    """Answers every query with one series, but for those that hold a text."""

    def get(path: str, parameters: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        expr = parameters.get("query") or parameters["match[]"]
        if fails and fails in expr:
            return 400, {"status": "error", "error": "parse error"}
        body: dict[str, Any] = {"status": "success"}
        if warns and warns in expr:
            body["warnings"] = ["more than one"]
        found = not empty or empty not in expr
        if path.endswith("/values"):
            return 200, body | {"data": ["value"] if found else []}
        kind = "values" if path.endswith("_range") else "value"
        sample = [[NOW, value]] if kind == "values" else [NOW, value]
        return 200, body | {"data": {"result": [{"metric": {}, kind: sample}] if found else []}}

    return get


def test_all_answered_is_proven() -> None:
    proof = prove.prove(prometheus(), now=NOW)

    assert proof.holds
    queries = sum(1 for name, dashboard in load().items() for _ in asked(name, dashboard))
    assert proof.figures()["queries"] == proof.figures()["with_data"] == queries
    assert proof.figures()["share_of_required_with_data"] == 1.0


def test_a_query_without_data_is_named_unless_a_drill_is_to_fill_it() -> None:
    required = prove.prove(prometheus(empty="oauth_grants"), now=NOW)
    listed = prove.prove(prometheus(empty="schema_drift_objects"), now=NOW)

    assert not required.holds
    assert required.figures()["unproven"] == ["oauth / Grants by status / A"]
    assert listed.holds
    assert listed.figures()["empty_when_healthy"] == 1


def test_after_its_drill_a_listed_query_must_have_data() -> None:
    empty = prometheus(empty="schema_drift_objects")

    proof = prove.prove(empty, now=NOW, after=["schema_column_dropped"])

    assert proof.figures()["unproven"] == ["database / Objects that differ, by kind / A"]


def test_numbers_that_are_none_are_no_data() -> None:
    proof = prove.prove(prometheus(value="NaN"), now=NOW)

    assert not proof.holds
    assert "landing / p99 by route, without 5xx / A" in proof.figures()["unproven"]


@pytest.mark.parametrize("kind", ["errors", "warnings"])
def test_an_error_or_a_warning_is_told_even_where_no_data_is_needed(kind: str) -> None:
    about = "schema_drift_objects"
    get = prometheus(fails=about) if kind == "errors" else prometheus(warns=about)

    proof = prove.prove(get, now=NOW)

    assert not proof.holds
    assert list(proof.figures()[kind]) == ["database / Objects that differ, by kind / A"]


def test_variables_are_put_in_with_and_without_braces() -> None:
    expr = 'label_replace(x{a=~"$env",b=~"${route}"}[$__range], "class", "${1}xx", "s", "$1")'

    assert substituted(expr) == (
        'label_replace(x{a=~"..*",b=~"..*"}[3600s], "class", "${1}xx", "s", "$1")'
    )
    with pytest.raises(UnknownVariable, match="rout is no variable"):
        substituted('x{route="$rout"}')
