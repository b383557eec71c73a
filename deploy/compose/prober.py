"""`python -m deploy.compose.prober`: the prober where the back ends are Tempo and Loki.

The probes and the canary are the stack's own; here they listen on the container's address, and the
canary reads its span and its log line back from where a user would: Tempo and Loki. TEMPO_URL, LOKI_URL
and the variables of `stack.prober` say where those are.
"""

import os
import sys

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from firedrill_kit.config import FILE, ConfigError, MissingVariableError, read
from stack.prober.app import addresses_of, create_app
from stack.prober.asked import asked_of
from stack.serving import configure_logs, serve
from stack.settings import ROOT

PORT = 9096
ANSWER_SECONDS = 3.0
LOOK_BACK = "15m"


def trace_route(client: httpx.AsyncClient, *, tempo_url: str, loki_url: str) -> Route:
    """`/api/traces/{trace_id}` as the native viewer answers it, as far as the canary asks."""

    async def trace(request: Request) -> Response:
        trace_id = request.path_params["trace_id"]
        if len(trace_id) != 32 or set(trace_id) - set("0123456789abcdef"):
            return JSONResponse({"detail": "a trace id has 32 hex digits"}, status_code=422)
        return JSONResponse(
            {
                "spans": await spans(client, tempo_url, trace_id),
                "logs": await lines(client, loki_url, trace_id),
            }
        )

    return Route("/api/traces/{trace_id}", trace)


async def spans(client: httpx.AsyncClient, tempo_url: str, trace_id: str) -> list[str]:
    """Names of the spans that Tempo has of the trace. Raises httpx.HTTPError."""
    answer = await client.get(
        f"{tempo_url}/api/v2/traces/{trace_id}", headers={"accept": "application/json"}
    )
    if answer.status_code == httpx.codes.NOT_FOUND:
        return []
    answer.raise_for_status()
    resources = answer.json().get("trace", {}).get("resourceSpans", [])
    return [
        span["name"]
        for resource in resources
        for scope in resource.get("scopeSpans", [])
        for span in scope.get("spans", [])
    ]


async def lines(client: httpx.AsyncClient, loki_url: str, trace_id: str) -> list[str]:
    """The log lines that Loki has of the trace. Raises httpx.HTTPError."""
    answer = await client.get(
        f"{loki_url}/loki/api/v1/query_range",
        params={
            "query": f'{{service_name=~".+"}} |= "{trace_id}"',
            "since": LOOK_BACK,
            "limit": "10",
        },
    )
    answer.raise_for_status()
    return [line for stream in answer.json()["data"]["result"] for _, line in stream["values"]]


def application(environment: dict[str, str], client: httpx.AsyncClient) -> Starlette:
    """Raises KeyError naming the variable that is missing, or MissingVariableError."""
    here = {"VIEWER_URL": f"http://127.0.0.1:{PORT}"}
    app = create_app(addresses_of(environment | here), asked_of(read(ROOT / FILE), environment))
    app.router.routes.append(
        trace_route(client, tempo_url=environment["TEMPO_URL"], loki_url=environment["LOKI_URL"])
    )
    return app


def main() -> int:
    configure_logs()
    client = httpx.AsyncClient(timeout=ANSWER_SECONDS)
    try:
        app = application(dict(os.environ), client)
    except KeyError as missing:
        sys.stderr.write(f"prober: set {missing.args[0]}\n")
        return 2
    except (ConfigError, MissingVariableError) as error:
        sys.stderr.write(f"prober: {error}\n")
        return 2
    serve(app, [PORT], host="0.0.0.0")  # noqa: S104 - the container's interface
    return 0


if __name__ == "__main__":
    sys.exit(main())
