"""Which route template a request belongs to, known before the router is asked.

Looked up once per request, so that metric label, span name and pool cannot disagree. Paths that nobody
claims share one label.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute, Mount, WebSocketRoute, compile_path
from starlette.types import Scope

from firedrill_kit.telemetry.labels import UNMATCHED


@dataclass(frozen=True, slots=True)
class Route:
    """One route. methods: in capitals; empty, all of them. template: as `http.route` has it."""

    template: str
    methods: frozenset[str]
    pattern: re.Pattern[str]

    def takes(self, method: str) -> bool:
        return not self.methods or method in self.methods


_UNMATCHED = Route(UNMATCHED, frozenset(), re.compile(""))


class RouteTable:
    """Finds the template of a path as the router would: the first that matches, in its order."""

    def __init__(self, routes: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Take (path, methods) pairs in the router's order."""
        self._routes = [_route(path, methods) for path, methods in routes]
        # A path without parameters is one look-up, whatever stands before it in the order.
        self._fixed = {
            one.template: tuple(self._claiming(one.template))
            for one in self._routes
            if "{" not in one.template
        }

    @property
    def templates(self) -> list[str]:
        """Every template once, in the router's order."""
        return list(dict.fromkeys(one.template for one in self._routes))

    def resolve(self, method: str, path: str) -> Route:
        """Return the route that claims the path, else one whose template is UNMATCHED.

        As in Starlette a route that takes the path and not the method (405) counts when none takes both.
        """
        claiming = self._fixed.get(path)
        first: Route | None = None
        for route in claiming if claiming is not None else self._claiming(path):
            if route.takes(method):
                return route
            first = first or route
        return first or _UNMATCHED

    def _claiming(self, path: str) -> Iterator[Route]:
        return (one for one in self._routes if one.pattern.match(path))


def _route(path: str, methods: Iterable[str]) -> Route:
    pattern, template, _ = compile_path(path)
    return Route(template, frozenset(methods), pattern)


def routes_of(app: Any, prefix: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Yield path and methods of an application's HTTP routes, those of what it mounts included."""
    routes: Sequence[BaseRoute] = getattr(app, "routes", None) or ()
    for route in flat(routes):
        path = prefix + getattr(route, "path", "")
        # FastAPI's view of a route in an included router has the whole path, and the route.
        inner = getattr(route, "original_route", route)
        if isinstance(inner, Mount):
            yield from routes_of(inner, path)
            yield f"{path}/{{path:path}}", frozenset()
        elif not isinstance(inner, WebSocketRoute) and getattr(route, "path", None) is not None:
            yield path, frozenset(getattr(route, "methods", None) or ())


def flat(routes: Sequence[BaseRoute]) -> Iterable[Any]:
    """Return the routes, those of included routers among them, with the path that each has in the end.

    Newer versions of FastAPI keep included routers nested, and have a reader that opens them.
    """
    try:
        from fastapi.routing import iter_route_contexts  # noqa: PLC0415 - older ones have none
    except ImportError:
        return routes
    return iter_route_contexts(routes)


def path_of(scope: Scope) -> str:
    """Return the path that the router sees: without the prefix under which the application is served."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and path.startswith(f"{root_path}/"):
        return path[len(root_path) :]
    return path
