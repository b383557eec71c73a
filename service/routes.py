"""The routes as everything around the router sees them: template, policy, and a look-up by path.

Resolved once per request, before anything else, so that metric label, span name, admission, deadline
and authentication cannot disagree. Paths nobody claims are all one label.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from firedrill_kit import routes as kit_routes
from firedrill_kit.telemetry.labels import UNMATCHED

AdmissionClass = Literal["read", "write", "calendar", "login"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What stands in front of a route.

    admission: whose in-flight limit it counts against; None: never refused.
    auth: `user` asks for a caller before the body is read, `session` for one with a session cookie.
    csrf: whether it changes something, so that a cookie alone does not authenticate it.
    body: the media type that it reads, None for no body.
    """

    admission: AdmissionClass | None = "read"
    auth: Literal["none", "user", "session"] = "user"
    csrf: bool = False
    body: str | None = None


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One path: its template and the policy of each method."""

    template: str
    policies: Mapping[str, Policy]

    @property
    def methods(self) -> list[str]:
        """Return what `Allow` lists."""
        return sorted({*self.policies, *(("HEAD",) if "GET" in self.policies else ())})

    def policy(self, method: str) -> Policy:
        return self.policies.get(_as_routed(method), _OPEN)


def _as_routed(method: str) -> str:
    """HEAD is GET, whose body the server leaves out (RFC 9110 §9.3.2)."""
    return "GET" if method == "HEAD" else method


_OPEN = Policy(auth="none")
_JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

# Routes whose policy does not follow from the method.
_SPECIAL: Mapping[tuple[str, str], Policy] = {
    ("POST", "/api/v1/auth/token"): Policy("login", "none", body=FORM),
    ("GET", "/api/v1/auth/csrf"): Policy("read", "session"),
    ("POST", "/api/v1/auth/logout"): Policy("write", "session", csrf=True),
    ("POST", "/api/v1/calendar/sync/auto"): Policy("calendar", csrf=True),
    ("GET", "/problems/{code}"): _OPEN,
    ("GET", "/openapi.json"): _OPEN,
    ("GET", "/docs"): _OPEN,
    ("GET", "/docs/{asset}"): _OPEN,
}


def policy_of(method: str, template: str) -> Policy:
    """Return the policy of a declared route: the special one, else what its method says."""
    method = _as_routed(method)
    special = _SPECIAL.get((method, template))
    if special is not None:
        return special
    if method in {"GET", "OPTIONS"}:
        return Policy("read")
    return Policy("write", csrf=True, body=_JSON)


class RouteTable:
    """Finds the route of a path, with its policies."""

    def __init__(self, routes: Iterable[tuple[str, str]]) -> None:
        """Take (method, full template) pairs."""
        by_template: dict[str, dict[str, Policy]] = {}
        for method, template in routes:
            by_template.setdefault(template, {})[method] = policy_of(method, template)
        self._specs = {
            template: RouteSpec(template, policies) for template, policies in by_template.items()
        }
        self._templates = kit_routes.RouteTable((template, ()) for template in by_template)
        self._unmatched = RouteSpec(UNMATCHED, {})

    def specs(self) -> list[RouteSpec]:
        return list(self._specs.values())

    def resolve(self, path: str) -> RouteSpec:
        """Return the route that claims the path, or the one for unclaimed paths."""
        return self._specs.get(self._templates.resolve("", path).template, self._unmatched)


class HeadAsGet:
    """ASGI middleware right before the router: what is routed and run for HEAD is GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "method": _as_routed(scope["method"])}
        await self._app(scope, receive, send)


def table_of(app: FastAPI) -> RouteTable:
    """Read the routes of an app, with the prefixes their routers carry."""
    return RouteTable(
        (method, context.path)
        for context in kit_routes.flat(app.routes)
        if context.path is not None
        for method in sorted(context.methods or ())
    )
