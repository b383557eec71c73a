"""The reference of the file as Markdown, from the docstrings of its sections."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from firedrill_kit.config.schema import Node, schema, table, values_of
from firedrill_kit.config.types import ROUTE

INTRODUCTION = """\
# firedrill.toml

One file describes one FastAPI service: what it is called, what it promises, and how it is asked, loaded
and broken. Only `[service]` with a name is needed; each section says what is missing without it.
`firedrill init app.main:app` writes a first one, guessed from the application, for a person to edit.

- **Secrets stand in it as `$NAME` only**: a variable of the environment, read when it is used. A field that
  takes a secret takes nothing else. In the text of `form`, `json`, `headers`, `environment` and commands
  `$NAME` is filled in too, and `$$` is a dollar.
- **An error is one line**: the file, the key, what is wrong, what to write. Unknown keys are errors.
  `python -m firedrill_kit.config firedrill.toml` says them all and ends with 2.
- **The service reads it too**: `firedrill_kit.instrument` takes from `[service]` what neither the call nor
  the environment says, out of the file that `FIREDRILL_CONFIG` names, else of the current directory.
- **Editors complete and check it**: `python -m firedrill_kit.config --schema > firedrill.schema.json`, and
  `#:schema ./firedrill.schema.json` as the first line of the file (Taplo, Even Better TOML, Tombi).

All durations are seconds. The repository's own `firedrill.toml` describes the demo.

This page and the schema are written by `make reference` from the docstrings in `firedrill_kit/config/`.
"""


def reference() -> str:
    document = schema()
    sections = list(_sections(document, (), document["$defs"]))
    return "\n".join([INTRODUCTION, *(_section(title, node) for title, node in sections)])


def examples() -> str:
    """All examples of the reference as one file."""
    document = schema()
    blocks = [_example(node) for _, node in _sections(document, (), document["$defs"])]
    return "\n".join(blocks)


def _sections(
    node: Node, path: tuple[str, ...], definitions: Mapping[str, Node]
) -> Iterator[tuple[str, Node]]:
    """Every table of the file with its heading, in the order of the file."""
    for key, value in node.get("properties", {}).items():
        at = (*path, key)
        inner = table(value, definitions)
        of_values = table(values_of(inner), definitions)
        of_items = table(inner.get("items", {}), definitions)
        if "properties" in inner:
            yield _heading(at), inner
            yield from _sections(inner, at, definitions)
        elif "properties" in of_values:
            # The names of the mix are routes, and its values stand beside them.
            named = at if ROUTE in inner.get("patternProperties", {}) else (*at, "NAME")
            yield _heading(named), of_values
            yield from _sections(of_values, named, definitions)
        elif "properties" in of_items:
            yield f"[[{key}]]", of_items
            yield from _sections(of_items, (f"[[{key}]]",), definitions)


def _heading(path: tuple[str, ...]) -> str:
    if path[0].startswith("[["):
        return f"{path[0]} {'.'.join(path[1:])}"
    return f"[{'.'.join(path)}]"


def _section(title: str, node: Node) -> str:
    required = node.get("required", ())
    rows = [
        f"| `{key}` | {_default(value, is_required=key in required)} | {_prose(value)} |"
        for key, value in node["properties"].items()
    ]
    return "\n".join(
        [
            f"## `{title}`\n",
            f"{node['description']}\n",
            "| key | without it | |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _prose(node: Node) -> str:
    return " ".join(node.get("description", "").split()).replace("|", "\\|")


def _default(node: Node, *, is_required: bool) -> str:
    value: Any = node.get("default")
    if is_required:
        return "an error"
    return "" if value in (None, [], {}) else f"`{json.dumps(value)}`"


def _example(node: Node) -> str:
    _, _, rest = node["description"].partition("```toml\n")
    return str(rest.partition("```")[0])
