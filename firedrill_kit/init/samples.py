"""A value that a JSON schema allows: the skeleton of a body, which a person fills in."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from firedrill_kit.config.variables import Json, is_sensitive

Schema = Mapping[str, Any]

DEPTH_MAX = 6
ITEMS_MAX = 10
TEXT, TEXT_MAX = "text", 1000
FORMATS = {
    "date": "2030-01-01",
    "date-time": "2030-01-01T00:00:00Z",
    "duration": "PT1H",
    "email": "user@example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "ipvanyaddress": "192.0.2.1",
    "time": "00:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uuid4": "00000000-0000-4000-8000-000000000000",
}
_JSON: TypeAdapter[Any] = TypeAdapter(Json)


def resolved(schema: Schema, document: Schema) -> Schema:
    """Follow references, and of several choices take the first that is not null."""
    for _ in range(DEPTH_MAX):
        if "$ref" in schema:
            found: Any = document
            for name in schema["$ref"].removeprefix("#/").split("/"):
                found = found.get(name, {})
            schema = found
            continue
        choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if not choices:
            break
        schema = next((one for one in choices if one.get("type") != "null"), {})
    return schema


def sample(schema: Schema, document: Schema, depth: int = 0) -> Any:
    """Return a value: what the schema itself gives as an example, else the smallest of its kind."""
    told = _told(schema)
    if told is not None or depth > DEPTH_MAX:
        return told if told is not None else {}
    schema = resolved(schema, document)
    told = _told(schema)
    if told is not None:
        return told
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return _table(schema, document, depth)
    if kind == "array":
        length = min(
            max(schema.get("minItems", 0), 1), schema.get("maxItems", ITEMS_MAX), ITEMS_MAX
        )
        return [sample(schema.get("items", {}), document, depth + 1)] * length
    if kind in {"integer", "number"}:
        return _number(schema)
    return True if kind == "boolean" else _text(schema)


def sendable(value: Any) -> Any:
    """Return the value as it may stand in the file: secrets by variable, dollars doubled, no null.

    Raises ValueError for what may not stand there in any way.
    """
    return _JSON.validate_python(_sendable(value))


def _sendable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: f"${variable_of(name)}" if is_sensitive(name) else _sendable(inner)
            for name, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_sendable(inner) for inner in value if inner is not None]
    return value.replace("$", "$$") if isinstance(value, str) else value


def variable_of(name: str) -> str:
    """Return the variable of the environment that a field's secret is read from."""
    return "PROBE_" + (re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").upper() or "SECRET")


def _told(schema: Schema) -> Any:
    examples = schema.get("examples")
    listed = (
        schema.get("example"),
        *(examples if isinstance(examples, list) else ()),
        schema.get("const"),
        *schema.get("enum", ()),
        schema.get("default"),
    )
    return next((one for one in listed if one is not None), None)


def _table(schema: Schema, document: Schema, depth: int) -> dict[str, Any]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    # Where nothing must be given, an empty body would say nothing of what can.
    names = [name for name in schema.get("required", ()) if name in properties] or properties
    return {name: sample(properties[name], document, depth + 1) for name in names}


def _number(schema: Schema) -> int | float:
    """One where that is allowed, else what is next to a bound."""
    step = schema.get("multipleOf", 1)
    inside = 0 if "multipleOf" in schema or schema.get("type") == "integer" else 0.5
    least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf) + (inside or step))
    most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf) - (inside or step))
    number: int | float = min(max(1, least), most)
    return math.ceil(number / step) * step if "multipleOf" in schema else number


def _text(schema: Schema) -> str:
    told = FORMATS.get(schema.get("format", ""))
    if told is not None:
        return told
    most: int = schema.get("maxLength", TEXT_MAX)
    length: int = min(max(schema.get("minLength", 0), min(len(TEXT), most)), TEXT_MAX)
    return (TEXT * length)[:length]
