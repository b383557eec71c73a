"""`firedrill.toml`, the one file that describes a service, and its one reader.

The sections are tables of pydantic models, whose docstrings are the file's reference: the JSON schema
that editors use and docs/firedrill-toml.md are written from them by `python -m firedrill_kit.config`.
A secret stands in the file as `$NAME` only: a `Variable` is read, a text `filled`, when it is used.
"""

from firedrill_kit.config.document import Config, Route
from firedrill_kit.config.drills import Break, Drill
from firedrill_kit.config.errors import ConfigError
from firedrill_kit.config.objectives import SloClass
from firedrill_kit.config.reader import FILE, parse, read, read_service
from firedrill_kit.config.variables import MissingVariableError, Variable, filled, filled_text

__all__ = [
    "FILE",
    "Break",
    "Config",
    "ConfigError",
    "Drill",
    "MissingVariableError",
    "Route",
    "SloClass",
    "Variable",
    "filled",
    "filled_text",
    "parse",
    "read",
    "read_service",
]
