"""What the environment says. Nothing else configures the application."""

import sys

from pydantic import Field, PostgresDsn, ValidationError
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Each field is an environment variable of the same name in capitals."""

    database_url: PostgresDsn
    secret_key: str = Field(min_length=32)
    first_user: str = ""
    first_password: str = ""
    token_minutes: int = 60 * 24 * 8
    pool_timeout_seconds: float = Field(30, gt=0)  # SQLAlchemy's default
    threads: int = Field(40, gt=0)  # AnyIO's default: all sync routes and dependencies of a worker

    @property
    def sqlalchemy_url(self) -> str:
        return "postgresql+psycopg://" + str(self.database_url).split("://", 1)[1]


def read() -> Settings:
    """Exits 2 with one line when a variable is missing or wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0]).upper()
        print(f"shop: set the environment variable {name}: {first['msg']}", file=sys.stderr)
        raise SystemExit(2) from None


settings = read()
