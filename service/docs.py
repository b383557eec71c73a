"""The document of the API, and its page: Swagger UI from a pinned package, nothing from anybody else's host.

The page is on the origin of the session cookie, so whatever script it loads could act for its reader.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, Response

from firedrill_kit.resilience import deadline
from service import failures, problems
from service.failures import Failure
from service.routes import policy_of
from service.security import Security, openapi

_PACKAGE = "fastapi_swagger.resources"
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Firedrill API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_HEADERS = {
    # Swagger UI sets styles of its own and draws its icons from data.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_FILES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"})


def install(app: FastAPI, security: Security) -> None:
    """Let `/openapi.json` say all of it; add `/docs` and what it loads."""
    app.openapi = lambda: _document(app, security)  # type: ignore[method-assign]
    app.add_api_route("/docs", _page, include_in_schema=False)
    app.add_api_route("/docs/{asset}", _asset, include_in_schema=False)


def _document(app: FastAPI, security: Security) -> dict[str, Any]:
    """Return the document with the one schema that all problems share, and how to sign in."""
    if not app.openapi_schema:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = problems.PROBLEM_SCHEMA
        components["securitySchemes"] = openapi.schemes(security.cookies)
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                operation["security"] = openapi.requirements(policy_of(method.upper(), path))
                operation.setdefault("parameters", []).append(deadline.PARAMETER)
                # FastAPI's own 422 describes a body that this service never sends.
                described = operation["responses"].get("422", {}).get("content", {})
                described.pop("application/json", None)
                if not described:
                    operation["responses"].pop("422", None)
        app.openapi_schema = document
    return app.openapi_schema


async def _page() -> Response:
    return HTMLResponse(_PAGE, headers=_HEADERS)


async def _asset(asset: str) -> Response:
    if asset == "start.js":
        return Response(_START, media_type="text/javascript", headers=_HEADERS)
    if asset not in _FILES:
        raise Failure(failures.NOT_FOUND)
    return FileResponse(Path(str(files(_PACKAGE).joinpath(asset))), headers=_HEADERS)
