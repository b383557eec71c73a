"""The stack around a service that is not the demo: the one that runs, or one of its own for a drill."""

import os
from dataclasses import dataclass, field

from loadtests.world.description import SERVED, Description, RefusedError
from loadtests.world.stage import (
    PORT_OFFSET,
    Stage,
    StageError,
    environment_at,
    own_directory,
)
from service.config import Config
from stack.lifecycle import StackError, settings_of_running
from stack.postgres import Role
from stack.settings import read_settings
from stack.state import read_state


@dataclass
class Around(Stage):
    """Around the service that SERVICE names. is_own: a drill's own, to be taken away after it."""

    is_own: bool = False
    described: Description = field(default=SERVED, repr=False)

    @property
    def service(self) -> Description:
        return self.described

    @property
    def provider_url(self) -> str:
        raise RefusedError("the provider's simulator is the demo's")

    @property
    def config(self) -> Config:
        raise RefusedError("the configuration of the demo's service is the demo's")

    def dsn(self, role: Role) -> str:
        """The address with the one role that the file names, whichever is asked for.

        Raises RefusedError, MissingVariableError.
        """
        del role
        return self.service.admin_dsn


def stage_around() -> Around:
    """The stack that runs around the service; else one of its own, which [process] allows.

    Raises StageError, SettingsError.
    """
    settings = read_settings(os.environ)
    state = read_state(settings)
    if state.alive:
        try:
            return Around(settings_of_running(settings, state), dict(os.environ))
        except StackError as error:
            raise StageError(str(error)) from None
    if not settings.service.is_started:
        raise StageError(
            f"nothing runs around {settings.service.name}: `make up SERVICE={os.environ['SERVICE']}`"
            f" first, or add [process] to {settings.service.file}"
        )
    offset = os.environ.get("PORT_OFFSET") or str(PORT_OFFSET)
    ports = read_settings(os.environ | {"PORT_OFFSET": offset}).ports
    environment = environment_at(own_directory(settings.service.file), ports)
    return Around(read_settings(environment), environment, is_own=True)
