"""Answers that are well formed and yet odd: what Google has really sent, or what its documents allow. Pure.

An odd event is added to a good page, so that a client can show whether one event costs it the calendar.
`altered` changes any successful answer by hand, for what has no name here.
"""

from collections.abc import Mapping
from typing import Any

from stack.provider.events import Body

_DAY = {"date": "2026-11-24"}
_HOUR = {"dateTime": "2026-11-24T10:00:00Z"}

# Each is an event but for these parts; a part of None is left out.
ODD_EVENTS: Mapping[str, Body] = {
    "no_times": {"start": None, "end": None},
    "no_end": {"end": None},
    "empty_start": {"start": {}},
    "null_start": {"start": {"date": None, "dateTime": None}},
    "text_start": {"start": "tomorrow"},
    "number_start": {"start": {"dateTime": 1764000000}},
    "two_starts": {"start": {**_DAY, **_HOUR}},
    "no_status": {"status": None},
    "unknown_status": {"status": "postponed"},
    "no_such_day": {"start": {"date": "2026-13-01"}},
    "first_day": {"start": {"date": "0001-01-01"}},
    "last_day": {"end": {"date": "9999-12-31"}},
    "year_0": {"start": {"dateTime": "0000-01-01T00:00:00Z"}},
    "year_1": {"start": {"dateTime": "0001-01-01T00:00:00+01:00"}},
    "year_9999": {"start": {"dateTime": "9999-12-31T23:59:59-05:00"}},
    "year_20000": {"start": {"dateTime": "20000-01-01T00:00:00Z"}},
    "offset_with_seconds": {"start": {"dateTime": "1880-01-01T00:00:00-04:56:02"}},
    "windows_zone": {
        "start": {"dateTime": "2026-11-24T10:00:00", "timeZone": "Pacific Standard Time"}
    },
    "windows_zone_and_offset": {
        "start": {"dateTime": "2026-11-24T10:00:00-08:00", "timeZone": "Pacific Standard Time"}
    },
    "unknown_zone": {"start": {"dateTime": "2026-11-24T10:00:00", "timeZone": "Nowhere/City"}},
    "half_pair": {"summary": "half a face \ud83d"},
    "half_pair_in_zone": {"start": {"dateTime": "2026-11-24T10:00:00", "timeZone": "\ud83d"}},
    "nul_in_summary": {"summary": "a\x00b"},
    "long_summary": {"summary": "x" * 100_000},
    "number_summary": {"summary": 7},
    "long_id": {"id": "x" * 5000},
    "number_id": {"id": 12345},
    "no_id": {"id": None},
    "unknown_type": {"eventType": "fromTheFuture"},
    "deleted_with_bad_times": {"status": "cancelled", "start": "gone", "end": {}},
}


def odd_event(kind: str) -> Body:
    """The event of this kind, with an id that says which."""
    good: Body = {"kind": "calendar#event", "id": f"odd{kind.replace('_', '')}", "etag": '"1"'}
    good |= {"status": "confirmed", "summary": kind, "start": _HOUR, "end": _HOUR}
    return {
        name: value
        for name, value in {**good, **ODD_EVENTS[kind]}.items()
        if value is not None or name not in ODD_EVENTS[kind]
    }


def with_odd_events(page: Body, kinds: list[str]) -> Body:
    """kinds: names of `ODD_EVENTS`; none: all of them."""
    return {**page, "items": [*page["items"], *map(odd_event, kinds or ODD_EVENTS)]}


def altered(content: Body, *, fields: Mapping[str, Any], without: list[str]) -> Body:
    """The answer with these fields set, and without those."""
    changed = {**content, **fields}
    return {name: value for name, value in changed.items() if name not in without}


def selected(content: Body, fields: str) -> Body:
    """The partial response of Google's `fields`: names, `a/b` and `a(b,c)`, separated by commas.

    Raises ValueError for a selector that is none.
    """
    tree, rest = _selection(fields)
    if rest:
        raise ValueError(f"Invalid field selection {fields[:64]}")
    picked: Body = _pick(content, tree)
    return picked


_Tree = dict[str, "_Tree"]


def _selection(text: str) -> tuple[_Tree, str]:
    """The names at the start of the text, and what follows them."""
    tree: _Tree = {}
    while True:
        end = next((i for i, sign in enumerate(text) if sign in ",/()"), len(text))
        name, text = text[:end].strip(), text[end:]
        if not name:
            raise ValueError("Invalid field selection")
        tree[name] = {}
        if text.startswith("("):
            tree[name], text = _selection(text[1:])
            if not text.startswith(")"):
                raise ValueError("Invalid field selection")
            text = text[1:]
        elif text.startswith("/"):
            tree[name], text = _selection(text[1:])
            return tree, text
        if not text.startswith(","):
            return tree, text
        text = text[1:]


def _pick(content: Any, tree: _Tree) -> Any:
    if not tree or "*" in tree:
        return content
    if isinstance(content, list):
        return [_pick(item, tree) for item in content]
    if not isinstance(content, dict):
        return content
    return {name: _pick(content[name], tree[name]) for name in content if name in tree}
