"""How to sign in, as the OpenAPI document says it; `Authentication` is what does it."""

from typing import Any

from service.routes import Policy
from service.security.sessions import Cookies


def schemes(cookies: Cookies) -> dict[str, dict[str, str]]:
    """Return the security schemes by name."""
    return {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "session": {"type": "apiKey", "in": "cookie", "name": cookies.session_name},
        "csrf_cookie": {"type": "apiKey", "in": "cookie", "name": cookies.csrf_name},
        "csrf_header": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
    }


def requirements(policy: Policy) -> list[dict[str, list[Any]]]:
    """Return what a route asks for: any one entry of the list, and all that is in that entry."""
    if policy.auth == "none":
        return []
    proofs = ("session", "csrf_cookie", "csrf_header") if policy.csrf else ("session",)
    of_session: dict[str, list[Any]] = {name: [] for name in proofs}
    return [of_session] if policy.auth == "session" else [{"bearer": []}, of_session]
