"""The tables that the application's models declare, and which of them the code of a route names."""

import contextlib
import functools
import gc
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from sqlalchemy import ClauseElement, Engine, MetaData, Table
from sqlalchemy.sql import visitors

from firedrill_kit.init.application import is_own

DEPTH_MAX = 8
_FUNCTIONS = (FunctionType, MethodType, classmethod, staticmethod)
_OF_THE_SERVER = frozenset({"pg_catalog", "information_schema"})
_SQL = re.compile(r"\b(?:from|join|into|update)\s+\"?([a-z_][a-z0-9_.]*)", re.IGNORECASE)


def tables_of_process() -> dict[str, Table]:
    """Return every table by its full name. A declarative base holds its MetaData, and so does a SQLModel."""
    return {
        name: table
        for metadata in _alive(MetaData)
        for name, table in sorted(metadata.tables.items())
        # SQLAlchemy declares the catalogue of PostgreSQL by itself.
        if table.schema not in _OF_THE_SERVER
    }


def dialects_of_process() -> frozenset[str]:
    """Return what the engines speak: `postgresql`, `sqlite`, …"""
    return frozenset(engine.dialect.name for engine in _alive(Engine))


def _alive(kind: type[Any]) -> Iterator[Any]:
    return (one for one in gc.get_objects() if _is(one, kind))


def _is(thing: Any, *kinds: type[Any]) -> bool:
    """Not isinstance: that asks an object for its `__class__`, which of a proxy runs code, and may raise."""
    return issubclass(type(thing), kinds)


def named_tables(calls: Iterable[Callable[..., Any]], tables: Mapping[str, Table]) -> set[str]:
    """Return the tables whose models, or names in SQL, stand in the functions or in what they call.

    Read off the code, nothing is called: what is found by other ways, such as a method of an object that
    is passed in, is missed.
    """
    reading = _Reading(tables)
    for call in calls:
        reading.read(call, DEPTH_MAX)
    return reading.found


class _Reading:
    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._names = set(tables)
        self._seen: set[int] = set()
        self.found: set[str] = set()

    def read(self, thing: Any, depth: int) -> None:
        """thing: whatever a name of the code stands for."""
        table = thing if _is(thing, Table) else _table_of(thing)
        if table is not None:
            self._find(table)
            return
        for clause in _clauses_of(thing):
            for one in visitors.iterate(clause):
                if isinstance(one, Table):
                    self._find(one)
        function = _function_of(thing)
        if function is None or not depth or id(function) in self._seen:
            return
        if is_own(function.__code__.co_filename):
            self._seen.add(id(function))
            self._read_code(function, depth - 1)

    def _find(self, table: Table) -> None:
        if table.fullname in self._names:
            self.found.add(table.fullname)

    def _read_code(self, function: FunctionType, depth: int) -> None:
        codes = list(_all_of(function.__code__))
        names = {name for one in codes for name in (*one.co_names, *one.co_freevars)}
        for text in (text for one in codes for text in one.co_consts if isinstance(text, str)):
            self.found |= set(_SQL.findall(text)) & self._names
        scope = {**function.__globals__, **_closure(function)}
        for name in names & set(scope):
            self.read(scope[name], depth)
            self._read_attributes(scope[name], names, depth)

    def _read_attributes(self, owner: Any, names: set[str], depth: int) -> None:
        """`crud.find_user` and `repository.find_user`: the attributes that the code names as well."""
        kind = owner if _is(owner, ModuleType, type) else type(owner)
        members = vars(kind)
        for name in names & set(members):
            self.read(members[name], depth)


def _function_of(thing: Any) -> FunctionType | None:
    """What is run when a thing is called: of a class its making, of an object its `__call__`."""
    if _is(thing, functools.partial):
        thing = thing.func
    if _is(thing, type):
        thing = vars(thing).get("__init__")
    elif not _is(thing, *_FUNCTIONS):
        thing = vars(type(thing)).get("__call__")
    found = inspect.unwrap(getattr(thing, "__func__", thing)) if callable(thing) else None
    return found if isinstance(found, FunctionType) else None


def _table_of(thing: Any) -> Table | None:
    table = inspect.getattr_static(thing, "__table__", None) if _is(thing, type) else None
    return table if isinstance(table, Table) else None


def _clauses_of(thing: Any) -> Iterator[ClauseElement]:
    """A statement that was built when its module was imported, or those that an object holds."""
    held = getattr(type(thing), "__dict__", {}).get("__dict__") and vars(thing).values()
    return (one for one in (thing, *(held or ())) if _is(one, ClauseElement))


def _closure(function: FunctionType) -> dict[str, Any]:
    """What a function of a function sees of it; a variable that has no value yet is left out."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):
            found[name] = cell.cell_contents
    return found


def _all_of(code: CodeType) -> Iterator[CodeType]:
    """The code, and that of the functions in it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _all_of(inner)
