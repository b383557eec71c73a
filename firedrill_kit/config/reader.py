"""Reads a firedrill.toml: the one place where the file becomes a Config, or lines that say why not."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from firedrill_kit.config.document import Config
from firedrill_kit.config.errors import ConfigError, line, lines_of, one_line
from firedrill_kit.config.problems import problems
from firedrill_kit.config.sections import Service
from firedrill_kit.config.types import Section

FILE = "firedrill.toml"
Read = TypeVar("Read", bound=Section)


class _OfService(Section):
    service: Service


def read(path: Path) -> Config:
    """path: a file, or the folder that holds a `firedrill.toml`. Raises ConfigError."""
    file = _file(path)
    return parse(_text(file), file)


def read_service(path: Path) -> Service:
    """Read [service] alone, which is all that an application needs of its file: a mistake in what is sent
    or broken is none of its matters. path: as of `read`. Raises ConfigError.
    """
    file = _file(path)
    document = _document(_text(file), file)
    own = {name: table for name, table in document.items() if name in _OfService.model_fields}
    return _validated(_OfService, own, file).service


def _file(path: Path) -> Path:
    return path / FILE if path.is_dir() else path


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError:
        raise ConfigError([line(file, (), "it is not UTF-8; save it as UTF-8")]) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        remedy = "`firedrill init` writes one, or name another file"
        raise ConfigError([line(file, (), f"{one_line(why)}; {remedy}")]) from None


def parse(text: str, file: Path = Path(FILE)) -> Config:
    """file: for messages, and for the directories that are relative to it. Raises ConfigError."""
    config = _validated(Config, _document(text, file), file)
    found = [line(file, key, what) for key, what in problems(config)]
    if found:
        raise ConfigError(found)
    return config


def _document(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError([line(file, (), "it is nested too deeply; write it flatter")]) from None
    except ValueError as error:
        wrong = f"it is no TOML: {one_line(str(error))}; correct it there"
        raise ConfigError([line(file, (), wrong)]) from None


def _validated(model: type[Read], document: dict[str, Any], file: Path) -> Read:
    try:
        return model.model_validate(document, context={"directory": file.absolute().parent})
    except ValidationError as error:
        raise ConfigError(lines_of(error, file)) from None
    except RecursionError:
        raise ConfigError([line(file, (), "it is nested too deeply; write it flatter")]) from None
