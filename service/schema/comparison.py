"""Where a database differs from what the code needs, and how much that matters."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.schema.catalogue import Catalogue

KINDS = (
    "table",
    "column",
    "type",
    "nullability",
    "enum",
    "check",
    "foreign_key",
    "index",
    "privilege",
    "revision",
    "extra",
    "comparer_failed",
)

OPTIONAL_GROUPS: Mapping[str, frozenset[str]] = {
    "ai_models": frozenset({"settings.ai_models", "settings.settings_ai_models_idx"}),
}
"""Objects the service works without, by the `deferred_group` of their columns."""

_BREAKING_WHEN_MISSING = frozenset({"table", "column", "enum", "privilege"})
_SAME_IN_PYTHON = (("smallint", "integer", "bigint"), ("text", "character varying"))
"""Types that the driver sends and reads alike: the change may refuse a value, not every statement."""


@dataclass(frozen=True, slots=True, order=True)
class Drift:
    """One object that differs.

    kind: one of KINDS. object: `table`, `table.object` or `type.label`.
    change: both definitions, for a human.
    breaking: statements of this version fail because of it. A lost index, constraint or default makes
        some slower, laxer or wrong, and is no reason to answer nothing at all.
    group: the optional group the object belongs to, or "".
    """

    kind: str
    object: str
    change: str
    breaking: bool = False
    group: str = ""

    @property
    def required(self) -> bool:
        """True: the service must not say that it is ready."""
        return self.breaking and not self.group


def compare(needed: Catalogue, found: Catalogue) -> list[Drift]:
    """Return every difference, in a stable order; empty when the database is as needed.

    What follows from another difference is left out: a lost table is one, not one for each column.
    """
    return sorted([*_lost(needed, found), *_added(needed, found)])


def _lost(needed: Catalogue, found: Catalogue) -> list[Drift]:
    drifts = []
    for kind, objects in needed.items():
        present = found.get(kind, {})
        for name, definition in objects.items():
            if name not in present:
                if not _follows(kind, name, needed, found):
                    breaking = kind in _BREAKING_WHEN_MISSING
                    drifts.append(Drift(kind, name, "is missing", breaking, _group_of(name)))
            elif present[name] != definition:
                breaking = kind == "type" and _family(present[name]) != _family(definition)
                change = f"is `{present[name]}`, needed is `{definition}`"
                drifts.append(Drift(kind, name, change, breaking, _group_of(name)))
    return drifts


def _added(needed: Catalogue, found: Catalogue) -> list[Drift]:
    drifts = []
    for kind, objects in found.items():
        for name, definition in objects.items():
            if name not in needed.get(kind, {}) and not _follows(kind, name, found, needed):
                drifts.append(Drift("extra", name, f"{kind} `{definition}` is not ours"))
    # Our INSERTs do not name it.
    new_columns = found.get("column", {}).keys() - needed.get("column", {}).keys()
    for name in new_columns:
        is_ours = name.partition(".")[0] in needed.get("table", {})
        unfilled = found["column"][name] == "no default"
        if is_ours and unfilled and found["nullability"][name].startswith("not null"):
            drifts.append(
                Drift("nullability", name, "is not null, without a default, and not ours")
            )
    return drifts


def _follows(kind: str, name: str, here: Catalogue, there: Catalogue) -> bool:
    """Whether an object that is only `here` is so because its table or column is only here."""
    if kind in {"type", "nullability"}:
        return name not in there.get("column", {})
    table, _, _ = name.partition(".")
    is_table_only_here = table in here.get("table", {}) and table not in there.get("table", {})
    return kind != "table" and is_table_only_here


def _family(type_: str) -> object:
    if type_.endswith("[]"):
        return type_
    return next((family for family in _SAME_IN_PYTHON if type_.startswith(family)), type_)


def _group_of(name: str) -> str:
    return next((group for group, names in OPTIONAL_GROUPS.items() if name in names), "")
