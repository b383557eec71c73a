"""The application that `MODULE:ATTRIBUTE` names, as uvicorn finds it."""

import inspect
import os
import sys
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from fastapi import FastAPI

from firedrill_kit.init.errors import InitError, line_of
from firedrill_kit.settings import DISABLED_VARIABLE, FILE_VARIABLE

NAMED_AS = "name it as uvicorn does, as in app.main:app"


@dataclass(frozen=True)
class Application:
    """target: as it was named. is_made: whether it is what a function returned."""

    app: FastAPI
    target: str
    is_made: bool


def load(target: str) -> Application:
    """Import the application, with the kit switched off in it.

    target: `MODULE:ATTRIBUTE`, from the current directory; the attribute may be a function without
    parameters that makes the application. Raises InitError.
    """
    name, _, attribute = target.partition(":")
    if not attribute or not all(part.isidentifier() for part in name.split(".")):
        raise InitError(f"{target}: no application is called so; {NAMED_AS}")
    os.environ |= {DISABLED_VARIABLE: "1", FILE_VARIABLE: ""}
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    module = _module(name)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InitError(f"{target}: {name} has no {attribute}; {_remedy(name, module)}")
        found = getattr(found, part)
    if isinstance(found, FastAPI):
        return Application(found, target, is_made=False)
    is_factory = inspect.isroutine(found) and not inspect.iscoroutinefunction(found)
    made = _made(found, target) if is_factory else found
    if not isinstance(made, FastAPI):
        kind = type(made).__name__
        raise InitError(f"{target}: it is no FastAPI, but {kind}; {_remedy(name, module)}")
    return Application(made, target, is_made=True)


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            where = f"there is no module {missing} in {Path.cwd()} or among what is installed"
            raise InitError(f"{name}: {where}; start in the folder that holds it") from None
        remedy = f"start this with the Python that runs the application, not {sys.executable}"
        raise InitError(f"{name}: it imports {missing}, which is missing; {remedy}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the module may raise anything
        raise InitError(f"{name}: {_raised(error)}; {_TRY.format(name)}") from None


_TRY = 'set what it needs, until `python -c "import {}"` ends well here'


def _made(factory: Any, target: str) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - and so may the function
        remedy = "name a FastAPI, or a function without parameters that returns one"
        raise InitError(f"{target}: {_raised(error)}; {remedy}") from None


def _raised(error: BaseException) -> str:
    """Say what was raised and where: the last place that is no library's."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if is_own(one.filename)]
    where = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    if isinstance(error, SystemExit):
        return f"it ends the process{where}"
    return f"it raises {line_of(error)}{where}"


def is_own(file: str) -> bool:
    """Whether a file of code is the application's: below the current directory, and not installed there."""
    path = Path(file)
    return path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts


def _remedy(name: str, module: ModuleType) -> str:
    apps = sorted(one for one, value in vars(module).items() if isinstance(value, FastAPI))
    return f"write {name}:{apps[0]}" if apps else f"{NAMED_AS}, the variable that holds FastAPI()"
