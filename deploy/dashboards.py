"""The committed dashboards, with the address of an installation's runbooks."""

import json

VARIABLE = "runbooks"


def with_runbooks(dashboard: str, base: str) -> str:
    """Return the dashboard's JSON with its constant set; base: without a slash at the end.

    Raises ValueError when it has no such constant.
    """
    content = json.loads(dashboard)
    (constant,) = (one for one in content["templating"]["list"] if one["name"] == VARIABLE)
    constant["query"] = base
    constant["current"] = {"selected": True, "text": base, "value": base}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
