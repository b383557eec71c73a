"""What the programs of a stack that use the service's own code find in their environment."""

import os

from stack.credentials import Credentials
from stack.settings import Settings


def service_environment(
    settings: Settings, credentials: Credentials, *, has_cache: bool = False
) -> dict[str, str]:
    """What every program that uses the service's own code gets.

    has_cache: whether the stack has a shared cache, which only the service itself asks.
    """
    cache = f"redis://:{credentials.cache}@127.0.0.1:{settings.port_for_others('cache')}/0"
    return {
        **({"CACHE_URL": cache} if has_cache else {}),
        "DATABASE_PORT": str(settings.port_for_others("postgres")),
        "DATABASE_PASSWORD": credentials.postgres_app,
        "PROVIDER_URL": settings.url_for_others("provider"),
        "OTLP_ENDPOINT": os.environ.get("OTLP_ENDPOINT", settings.url("otlp")),
        "PUBLIC_ORIGIN": settings.url("service"),
        "PROVIDER_REDIRECT_URI": settings.url("service", "/calendar/connected"),
        "TOKEN_KEYS": f"local-1={credentials.token_key}",
        "LEGACY_TOKEN_KEYS": f"legacy-1={credentials.legacy_token_key}",
        "SESSION_KEY": credentials.session_key,
        "GRANT_KEYS": f"local-1={credentials.grant_key}",
        "LOG_FORMAT": "json",
    }
