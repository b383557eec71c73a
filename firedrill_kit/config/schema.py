"""The JSON schema of the file, made from the sections, and the way through it."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from firedrill_kit.config.document import Config

Node = Mapping[str, Any]


@cache
def schema() -> Node:
    """Return the schema, draft 2020-12; a name that no pattern allows is refused by it as well.

    Made once, as it takes a tenth of a second.
    """
    document = Config.model_json_schema()
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["title"] = "firedrill.toml"
    for node in _nodes(document):
        if "patternProperties" in node:
            node.setdefault("additionalProperties", False)
    return document


@cache
def shipped() -> Node:
    """Return the schema as it stands in the package: the same, whatever version of pydantic is installed."""
    file = Path(__file__).with_name("firedrill.schema.json")
    found: Node = json.loads(file.read_text(encoding="utf-8"))
    return found


def at_key(node: Node, key: str) -> Node:
    """Return what the schema says of a key of a table; nothing of one that it does not have."""
    properties: Mapping[str, Node] = node.get("properties", {})
    return properties[key] if key in properties else values_of(node)


def values_of(node: Node) -> Node:
    """Return what the schema says of all values of a table whose keys are the user's own names."""
    for value in node.get("patternProperties", {}).values():
        found: Node = value
        return found
    other = node.get("additionalProperties")
    return other if isinstance(other, dict) else {}


def table(node: Node, definitions: Mapping[str, Node]) -> Node:
    """Follow references, and of several choices take the one that may be a table."""
    for choice in node.get("anyOf", ()):
        if "$ref" in choice or choice.get("type") == "object":
            node = choice
    reference = node.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else node


def _nodes(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for one in inner:
        yield from _nodes(one)
