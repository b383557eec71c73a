"""What the contract calls a place in a request, an answer or a stored document.

A path as pydantic reports it contains what somebody chose: names of fields that no model has, keys of
maps, positions in lists. Keys are secrets and addresses as often as not, and a metric's label must be
one of a closed set. So the path is walked along the schema that the OpenAPI document gives, and only what
stands there is repeated.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

UNKNOWN = "_unknown"
"""A name that the contract does not have."""
KEY = "[key]"
"""Any key of a map."""
ITEM = "[]"
"""Any item of a list."""

Schema = Mapping[str, Any]
Place = Iterable[str | int]


def field_of(place: Place, schema: Schema, document: Schema) -> str:
    """Return the name of a place, such as `body.ai_models.models.[key].temperature`.

    place: as pydantic's `loc`. schema: of what the place begins in. document: where references lead.
    Of a model that contains itself the name ends at its second repetition: how deep a tree is, and where
    it is wrong, would be its sender's choice of any number of names.
    """
    names: list[str] = []
    passed: Counter[int] = Counter()
    for part in place:
        if part == KEY and names[-1:] == [KEY]:
            break  # pydantic's own way to say that the key itself is wrong
        branches = list(_branches(schema, document))
        models = [id(branch) for branch in branches if "properties" in branch]
        if any(passed[model] == 2 for model in models):
            break
        passed.update(models)
        step = _step(part, branches)
        if step is None:
            break
        name, schema = step
        names.append(name)
    return ".".join(names)


def request_schema(document: Schema, template: str, method: str) -> Schema:
    """Return the schema of a whole request, with a property for each place that it has values in."""
    operation = document["paths"].get(template, {}).get(method.lower(), {})
    places: dict[str, Any] = {"body": {}}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        places["body"] = content["schema"]
    for parameter in operation.get("parameters", ()):
        of_place = places.setdefault(parameter["in"], {"properties": {}})
        of_place["properties"][parameter["name"]] = parameter["schema"]
    return {"properties": places}


def answer_schema(document: Schema, template: str, method: str) -> Schema:
    """Return the schema of the good answer, under the name that FastAPI begins its paths with."""
    operation = document["paths"].get(template, {}).get(method.lower(), {})
    content = operation.get("responses", {}).get("200", {}).get("content", {})
    return {"properties": {"response": content.get("application/json", {}).get("schema", {})}}


def _branches(schema: Schema, document: Schema) -> Iterator[Schema]:
    """Yield the schema, or what it may be one of, with references followed."""
    if "$ref" in schema:
        found: Any = document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        yield from _branches(found, document)
    elif "anyOf" in schema:
        for branch in schema["anyOf"]:
            yield from _branches(branch, document)
    else:
        yield schema


def _step(part: str | int, branches: list[Schema]) -> tuple[str, Schema] | None:
    """Return what the contract calls the part, and the schema behind it; None at a leaf.

    At a leaf pydantic goes on with the branch of a union that it tried, which is no place.
    """
    for branch in branches:
        if part in branch.get("properties", {}):
            return str(part), branch["properties"][part]
        if isinstance(part, int) and "items" in branch:
            return ITEM, branch["items"]
        if isinstance(branch.get("additionalProperties"), Mapping):
            return KEY, branch["additionalProperties"]
    if any("properties" in branch for branch in branches):
        return UNKNOWN, {}
    return None
