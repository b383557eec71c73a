"""Firedrill's kit: what a FastAPI and SQLAlchemy application installs to be seen.

    import firedrill_kit
    firedrill_kit.instrument(app, engine=engine)

The names below are loaded when they are asked for: a small server that only shows its metrics with
`firedrill_kit.telemetry` needs no FastAPI for that.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firedrill_kit.failures import failure
    from firedrill_kit.installation import Instrumentation, instrument
    from firedrill_kit.settings import Settings, SettingsError

__all__ = ["Instrumentation", "Settings", "SettingsError", "failure", "instrument"]

_PLACES = {
    "Instrumentation": "installation",
    "Settings": "settings",
    "SettingsError": "settings",
    "failure": "failures",
    "instrument": "installation",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"firedrill_kit.{_PLACES[name]}"), name)
