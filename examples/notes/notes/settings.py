"""What the environment says. Nothing else configures the application."""

import os
import sys


def variable(name: str) -> str:
    """Exits 2 with one line when it is not set."""
    value = os.environ.get(name, "")
    if not value:
        print(f"notes: set the environment variable {name}", file=sys.stderr)
        raise SystemExit(2)
    return value


SECRET_KEY = variable("SECRET_KEY")
DATABASE_URL = "postgresql+asyncpg://" + variable("DATABASE_URL").split("://", 1)[-1]
TOKEN_SECONDS = 3600
