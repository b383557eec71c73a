from dataclasses import fields

from sqlalchemy.orm import Mapper

from service import metrics
from service.accounts import Account
from service.database import Base
from service.domains.calendar.models import Event
from service.domains.profile.models import Profile
from service.domains.settings.models import Settings
from service.schema import KINDS, OPTIONAL_GROUPS, Capabilities, compare, expected
from service.schema.catalogue import Catalogue

MODELS = (Account, Event, Profile, Settings)

NEEDED: Catalogue = {
    "table": {"notes": "permanent"},
    "column": {"notes.id": "no default", "notes.body": "no default"},
    "type": {"notes.id": "integer", "notes.body": "text"},
    "nullability": {"notes.id": "not null", "notes.body": "null"},
    "index": {"notes.notes_pkey": "CREATE UNIQUE INDEX ..."},
}


def spelled(needed: Catalogue, found: Catalogue) -> list[str]:
    return [f"{drift.kind} {drift.object}" for drift in compare(needed, found)]


def test_what_is_needed_compares_equal_to_itself() -> None:
    assert compare(expected(), expected()) == []


def test_a_lost_table_is_one_drift() -> None:
    assert spelled(NEEDED, {}) == ["table notes"]


def test_an_added_table_is_one_drift() -> None:
    assert spelled({}, NEEDED) == ["extra notes"]


def test_a_lost_column_is_one_drift() -> None:
    found = {
        kind: {name: d for name, d in objects.items() if name != "notes.body"}
        for kind, objects in NEEDED.items()
    }

    assert spelled(NEEDED, found) == ["column notes.body"]


def test_the_type_of_an_array_is_not_the_type_of_its_elements() -> None:
    found = NEEDED | {"type": {"notes.id": "integer[]", "notes.body": "character varying(9)"}}

    assert {(drift.object, drift.required) for drift in compare(NEEDED, found)} == {
        ("notes.id", True),
        ("notes.body", False),
    }


def test_each_object_of_an_optional_group_exists() -> None:
    known = {name for objects in expected().values() for name in objects}

    assert set().union(*OPTIONAL_GROUPS.values()) <= known


def test_optional_groups_are_the_deferred_groups_of_the_models() -> None:
    """A column that may be missing must not be in the statements that read the rest."""
    mappers: list[Mapper[Base]] = [model.__mapper__ for model in MODELS]
    deferred = {
        (attribute.group, f"{mapper.local_table.name}.{attribute.columns[0].name}")  # type: ignore[attr-defined]
        for mapper in mappers
        for attribute in mapper.column_attrs
        if attribute.deferred
    }
    columns = expected()["column"]

    assert deferred == {
        (group, name)
        for group, names in OPTIONAL_GROUPS.items()
        for name in names
        if name in columns
    }


def test_each_optional_group_is_a_capability() -> None:
    assert OPTIONAL_GROUPS.keys() <= {field.name for field in fields(Capabilities)}


def test_each_kind_is_a_series_from_the_start() -> None:
    kinds = [
        sample.labels["drift_kind"]
        for metric in metrics.SCHEMA_DRIFT.collect()
        for sample in metric.samples
    ]

    assert sorted(kinds) == sorted(KINDS)


def test_all_that_is_needed_has_a_kind() -> None:
    assert expected().keys() <= set(KINDS)
