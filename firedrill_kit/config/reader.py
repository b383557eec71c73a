"""Reads a firedrill.toml: the one place where the file becomes a Config, or lines that say why not."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from firedrill_kit.config.document import Config
from firedrill_kit.config.errors import ConfigError, line, lines_of, one_line
from firedrill_kit.config.problems import problems

FILE = "firedrill.toml"


def read(path: Path) -> Config:
    """path: a file, or the folder that holds a `firedrill.toml`. Raises ConfigError."""
    file = path / FILE if path.is_dir() else path
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError:
        raise ConfigError([line(file, (), "it is not UTF-8; save it as UTF-8")]) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or str(error)
        remedy = "`firedrill init` writes one, or name another file"
        raise ConfigError([line(file, (), f"{one_line(why)}; {remedy}")]) from None
    return parse(text, file)


def parse(text: str, file: Path = Path(FILE)) -> Config:
    """file: for messages, and for the directories that are relative to it. Raises ConfigError."""
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ConfigError([line(file, (), "it is nested too deeply; write it flatter")]) from None
    except ValueError as error:
        wrong = f"it is no TOML: {one_line(str(error))}; correct it there"
        raise ConfigError([line(file, (), wrong)]) from None
    try:
        config = Config.model_validate(document, context={"directory": file.absolute().parent})
    except ValidationError as error:
        raise ConfigError(lines_of(error, file)) from None
    except RecursionError:
        raise ConfigError([line(file, (), "it is nested too deeply; write it flatter")]) from None
    found = [line(file, key, what) for key, what in problems(config)]
    if found:
        raise ConfigError(found)
    return config
