"""How the commands of the laboratory end: with an exit code and one line, never with a traceback."""

from collections.abc import Callable
from typing import NoReturn

import asyncpg
import httpx

from firedrill_kit.config import MissingVariableError
from loadtests.world.errors import CannotRunError
from stack import command_line
from stack.credentials import CredentialsError
from stack.lifecycle import StackError
from stack.postgres import PostgresError
from stack.programs import ProgramsMissing
from stack.settings import SettingsError


def run(name: str, main: Callable[[], int], *, interrupted: str = "interrupted") -> NoReturn:
    """Run a command and exit with what it returns; 2 when it cannot run, 130 at Ctrl-C."""
    command_line.run(
        name,
        main,
        *(CannotRunError, MissingVariableError, CredentialsError, StackError, PostgresError),
        *(ProgramsMissing, SettingsError, asyncpg.PostgresError, httpx.HTTPError),
        interrupted=interrupted,
    )
