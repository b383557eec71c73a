"""What must hold for every file: a Config, or lines that say why not.

`HYPOTHESIS_PROFILE=thorough` tries 50,000 examples of each.
"""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firedrill_kit.config import FILE, ConfigError, filled_text, parse
from firedrill_kit.config.errors import _DESCRIBED_IN
from firedrill_kit.config.reference import examples
from firedrill_kit.config.schema import schema

EXAMPLES = max(200, settings().max_examples)
PLANTED = "correct-horse-battery-staple"
KEYS = sorted(
    {key for one in [schema(), *schema()["$defs"].values()] for key in one.get("properties", {})}
)
TEXTS = [
    *("", " ", "\x00", "a\nb", "\u2028", "$", "$NAME", "$$", "{token}", "{n}", "*", "/", "/a*", "/{id}"),
    *("service", "service-1", "service-99999999999999999999", "database", "payments", "anybody", "account"),
    *("GET /api/v1/users/me", "GET /{id}", "GET /\x1b"),
    *("http://[", "http://a:0", "http://a@b", "([", "(a)\\1"),
    *("web/1.8", "local", "take_over", "orders", "default", "ROUTE", "-", "é", "[[a](b)"),
]  # fmt: skip
texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
keys = st.sampled_from(KEYS) | texts
scalars = (
    texts
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, 2, 9464, 65535, 0.25, 5.0, 0.999])
    | st.floats()
    | st.dates()
    | st.datetimes()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def toml(value: Any) -> str:
    """One value, tables inline."""
    if isinstance(value, dict):
        pairs = [f"{text(key)} = {toml(inner)}" for key, inner in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def document(tables: dict[str, Any]) -> str:
    return "\n".join(f"{text(key)} = {toml(value)}" for key, value in tables.items())


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every table and list with every key that it has."""
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(inner):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A good file in which one to four things are put, taken away, or called otherwise."""
    tables: dict[str, Any] = tomllib.loads(examples())
    for _ in range(draw(st.integers(1, 4))):
        there = list(places(tables))
        if not there:
            break
        node, key = draw(st.sampled_from(there))
        kind = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if kind == "replace":
            node[key] = draw(values)
        elif kind == "remove":
            del node[key]
        elif isinstance(node, list):
            node.append(draw(values))
        elif kind == "rename":
            node[draw(keys)] = node.pop(key)
        else:
            node[draw(keys)] = draw(values)
    return tables


def lines_of(written: str) -> tuple[str, ...]:
    """Empty when the file is good."""
    try:
        parse(written)
    except ConfigError as error:
        return error.lines or ("no line",)
    return ()


def assert_told_well(line: str) -> None:
    assert line.isprintable()
    assert line.startswith(f"{FILE}: ")
    assert "; " in line
    assert _DESCRIBED_IN not in line, "an error that has no text of its own"


@given(changed())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_every_changed_file_is_a_config_or_lines(tables: dict[str, Any]) -> None:
    written = document(tables)
    tomllib.loads(written)

    for line in lines_of(written):
        assert_told_well(line)


@given(st.dictionaries(keys, values, max_size=4))
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_every_document_is_a_config_or_lines(tables: dict[str, Any]) -> None:
    for line in lines_of(document(tables)):
        assert_told_well(line)


@given(st.text(st.characters(exclude_categories=["Cs"])) | texts.map(lambda one: f"a = {one}"))
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_text_is_a_config_or_lines(written: str) -> None:
    assert all(line.isprintable() and "; " in line for line in lines_of(written))


@given(st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_line_repeats_a_value(data: st.DataObject) -> None:
    """Whatever stands where it should not: it may be a secret that somebody has put there."""
    tables = tomllib.loads(examples())
    node, key = data.draw(st.sampled_from(list(places(tables))))
    node[key] = data.draw(
        st.sampled_from([PLANTED, f"://u:{PLANTED}@h", [PLANTED], {"password": PLANTED}])
    )

    assert not [line for line in lines_of(document(tables)) if PLANTED in line]


@given(st.text(), st.text())
def test_what_a_variable_holds_goes_in_as_it_is(value: str, around: str) -> None:
    around = around.replace("$", "").replace("{", "").replace("}", "")

    assert (
        filled_text(f"{around}$X {around}", {"X": value or "-"})
        == f"{around}{value or '-'} {around}"
    )
