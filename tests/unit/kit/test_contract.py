"""What a place in a body is called, whatever the body's own names are."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from firedrill_kit.contract import ITEM, answer_schema, field_of, request_schema


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    weight: float
    options: dict[str, str | int | bool | None] = {}


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    parts: dict[str, Part] = {}
    rows: list[Part] = []
    spare: Part | None = None


SCHEMA = Whole.model_json_schema()
NAMES = {"name", "parts", "rows", "spare", "weight", "options", "[key]", "[]", "_unknown", ""}


def names_in(body: object) -> set[str]:
    try:
        Whole.model_validate(body)
    except ValidationError as error:
        return {field_of(item["loc"], SCHEMA, SCHEMA) for item in error.errors()}
    return set()


class Tree(BaseModel):
    size: int = 0
    left: "Tree | None" = None
    right: "Tree | None" = None
    others: list["Tree"] = []


TREE = Tree.model_json_schema()


@given(st.lists(st.sampled_from([("left",), ("right",), ("others", 0)]), max_size=30))
def test_a_model_that_contains_itself_has_a_closed_set_of_names(
    way: list[tuple[str | int, ...]],
) -> None:
    place = [part for step in way for part in step]

    name = field_of([*place, "size"], TREE, TREE)

    assert name.count(".") <= 4
    if len(way) < 2:
        assert name == ".".join([*(ITEM if part == 0 else str(part) for part in place), "size"])


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, {"name"}),
        ({"name": 7}, {"name"}),
        ({"nom": "a"}, {"name", "_unknown"}),
        ({"name": "a", "sk-live-51H": 1, "ada@example.com": 2}, {"_unknown"}),
        ({"name": "a", "parts": {"ada@example.com": {}}}, {"parts.[key].weight"}),
        ({"name": "a", "parts": {"k": {"weight": 1, "x": 1}}}, {"parts.[key]._unknown"}),
        (
            {"name": "a", "parts": {"k": {"weight": 1, "options": {"sk-live": []}}}},
            {"parts.[key].options.[key]"},
        ),
        (
            {"name": "a", "rows": [{"weight": 1}, {"weight": "x"}, 3]},
            {"rows.[].weight", "rows.[]"},
        ),
        ({"name": "a", "spare": {"weight": None}}, {"spare.weight"}),
        ({"name": "a", "spare": {"weight": 1, "weihgt": 1}}, {"spare._unknown"}),
        ({"name": "a", "parts": {"[key]": {"weight": "x"}, "weight": {}}}, {"parts.[key].weight"}),
        ({"name": "a", "name ": "b", "Name": "c", "name.x": "d"}, {"_unknown"}),
        ([1], {""}),
    ],
)
def test_a_place_has_the_name_that_the_contract_gives_it(body: object, names: set[str]) -> None:
    assert names_in(body) == names


KEYS = st.sampled_from(sorted(NAMES)) | st.text(max_size=12)
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(BODIES)
def test_nothing_of_a_body_gets_into_a_name(body: object) -> None:
    for name in names_in(body):
        assert set(name.split(".")) <= NAMES


def test_a_key_that_is_itself_wrong_is_the_map() -> None:
    place = ("parts", "sk-live", "[key]")

    assert field_of(place, SCHEMA, SCHEMA) == "parts.[key]"


DOCUMENT: Mapping[str, Any] = {
    "paths": {
        "/things": {
            "get": {
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer"}},
                    {"in": "header", "name": "If-Match", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"properties": {"id": {}}}}
                            }
                        }
                    }
                },
            }
        }
    }
}


def test_parameters_and_answers_have_names_too() -> None:
    request = request_schema(DOCUMENT, "/things", "GET")
    answer = answer_schema(DOCUMENT, "/things", "GET")

    assert field_of(("query", "limit"), request, DOCUMENT) == "query.limit"
    assert field_of(("header", "If-Match"), request, DOCUMENT) == "header.If-Match"
    assert field_of(("query", "sk-live"), request, DOCUMENT) == "query._unknown"
    assert field_of(("response", 3, "id"), answer, DOCUMENT) == "response.[].id"
    assert field_of(("query", "x"), request_schema(DOCUMENT, "/no", "GET"), DOCUMENT) == "_unknown"
