"""The secrets of one stack: made once at random, kept in a file that only its owner can read."""

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stack.postgres import Role

PROBER = "prober@example.com"
PROBER_PASSWORD = "firedrill-demo-prober"  # noqa: S105 - of a demo user
"""The account that `stack.demo` makes for the prober, with a grant that is soon due."""


class CredentialsError(Exception):
    """The file is there and cannot be used."""


@dataclass(frozen=True, repr=False)
class Credentials:
    """Passwords of the database roles, and the keys that the service is given."""

    postgres_superuser: str
    postgres_owner: str
    postgres_app: str
    postgres_monitor: str
    token_key: str
    legacy_token_key: str
    session_key: str
    grant_key: str

    @property
    def cache(self) -> str:
        """The shared cache's: derived, so that a file which was made before there was one still does."""
        return hashlib.sha256(f"cache {self.session_key}".encode()).hexdigest()

    @property
    def roles(self) -> dict[Role, str]:
        return {
            "superuser": self.postgres_superuser,
            "owner": self.postgres_owner,
            "app": self.postgres_app,
            "monitor": self.postgres_monitor,
        }


def load_credentials(local: Path, *, data_exists: bool = False) -> Credentials:
    """Read the file, or make it with fresh secrets of 256 bits.

    data_exists: a database was made with the secrets, so new ones would not open it.
    Raises CredentialsError.
    """
    file = local / "credentials.json"
    if not file.exists() and data_exists:
        raise CredentialsError(
            f"{file} is gone, and with it the database's passwords: restore it, or run "
            "`make clean` to start over without the data"
        )
    if not file.exists():
        made = Credentials(**{field.name: secrets.token_hex(32) for field in fields(Credentials)})
        unfinished = file.with_suffix(".unfinished")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as output:
            json.dump(asdict(made), output, indent=1)
        unfinished.rename(file)
    try:
        return Credentials(**json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise CredentialsError(
            f"{file} is damaged: restore it, or run `make clean` to start over without the data"
        ) from error
