"""Reads from a firedrill.toml what the rules need to know of its service.

Only the tables that rules are made of are looked at; what else the file says, and every wrong key in it, is
for the reader of the whole file to judge.
"""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from alerting.catalogue import AlertSourceError
from alerting.classes import SloClass, checked, pattern_of
from alerting.features import chosen, core_features
from alerting.service import DEMO, Service, scope_of

Table = dict[str, Any]


def described(file: Path | None, *, features: frozenset[str] | None = None) -> Service:
    """Return the service of the file, or the demo; features: instead of those that the file shows.

    Raises AlertSourceError in one line that names the file, the key and the remedy.
    """
    if file is None:
        return DEMO if features is None else replace(DEMO, features=features)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        found = _service(document)
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise AlertSourceError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AlertSourceError) as error:
        message = f"{file}: {error}"
        raise AlertSourceError(message) from error
    return found if features is None else replace(found, features=features)


def _service(document: Table) -> Service:
    about, scope = _table(document, "service"), _table(document, "scope")
    of_provider = _list(_table(document, "probe"), "provider_routes", "probe")
    classes = _classes(_table(document, "slo"))
    pattern = _text(scope, "pattern", "scope") if scope else None
    return Service(
        name=_text(about, "name", "service"),
        environment=_text(about, "environment", "service", default="local"),
        provider_routes=pattern_of(of_provider) or None,
        classes=checked(classes),
        features=_features(document, classes),
        **({"scope": scope_of(pattern)} if pattern else {}),
    )


def _features(document: Table, classes: tuple[SloClass, ...]) -> frozenset[str]:
    shown = {
        "objectives": any(item.objective is not None for item in classes),
        "latency_objectives": any(item.fast_within_seconds is not None for item in classes),
        "prober": bool(_table(document, "probe").get("routes")),
        "postgres_exporter": "admin_dsn" in _table(document, "database"),
    }
    extra = _list(_table(document, "service"), "features", "service")
    return chosen({*core_features(), *extra, *(name for name in shown if shown[name])})


def _classes(slo: Table) -> tuple[SloClass, ...]:
    own = {name: _table(slo.get("class", {}), name) for name in _table(slo, "class")}
    named = [
        _class(name, about, where, routes=tuple(_list(about, "routes", where)))
        for name, about in own.items()
        for where in (f"slo.class.{name}",)
    ]
    has_default = "objective" in slo
    return (*named, _class("default", slo, "slo", routes=None)) if has_default else tuple(named)


def _class(name: str, about: Table, where: str, *, routes: tuple[str, ...] | None) -> SloClass:
    return SloClass(
        name=name,
        routes=routes,
        objective=_number(about, "objective", where),
        fast_within_seconds=_number(about, "fast_within", where),
        pages=about.get("page", True) is not False,
    )


def _table(document: Table, name: str) -> Table:
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise AlertSourceError(f"{name} must be a table, [{name}]")
    return found


def _list(about: Table, key: str, where: str) -> list[str]:
    found = about.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise AlertSourceError(f"[{where}] {key} must be a list of texts")
    return found


def _number(about: Table, key: str, where: str) -> float | None:
    found = about.get(key)
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise AlertSourceError(f"[{where}] {key} must be a number")
    return found


def _text(about: Table, key: str, where: str, *, default: str | None = None) -> str:
    found = about.get(key, default)
    if not isinstance(found, str) or not found:
        raise AlertSourceError(f'[{where}] {key} is missing: give it, such as {key} = "shop"')
    return found
