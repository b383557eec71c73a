"""Who asks for what: how callers sign in, what the prober asks for, what the load is made of."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field

from firedrill_kit.config.types import (
    ROUTE,
    AnswerKey,
    Label,
    Line,
    Name,
    Rate,
    RouteName,
    Seconds,
    Section,
    Several,
    Template,
    UrlPath,
    Version,
)
from firedrill_kit.config.variables import Fields, Headers, Json

ANYBODY, ACCOUNT, SIGNING_IN = "anybody", "account", "signing_in"
CALLERS = (ANYBODY, ACCOUNT, SIGNING_IN)
"""Those that any service has. anybody: without a token. account: signed in. signing_in: the request is
the sign-in itself, and its body that of [client]."""


class Client(Section):
    """How a caller signs in, and what it sends from then on. Without this section nobody signs in. For a
    fixed key leave `sign_in` out and write `headers = {X-Api-Key = "$SHOP_API_KEY"}`.

    ```toml
    [client]
    sign_in = "POST /api/v1/login/access-token"
    form = {username = "$PROBE_USER", password = "$PROBE_PASSWORD"}
    token = "access_token"
    ```
    """

    sign_in: RouteName | None = None
    """The request that gives a token."""
    form: Fields | None = None
    """What it sends as a form. `$NAME` is a variable of the environment, `{n}` the number of the account."""
    json_body: Json = Field(None, alias="json")
    """What it sends as JSON, in place of a form."""
    token: AnswerKey = "access_token"  # noqa: S105 - the name of a key
    """Key of the answer that holds the token, with dots between: `data.token`."""
    headers: Headers = Field(default_factory=lambda: {"Authorization": "Bearer {token}"})
    """Headers of every request that is signed in; `{token}` is the token."""


class Probe(Section):
    """What the prober asks every replica for, every five seconds, as an account of its own.

    ```toml
    [probe]
    routes = ["POST /api/v1/login/access-token", "GET /api/v1/users/me"]
    provider_routes = ["/api/v1/payments/*"]
    ```
    """

    routes: Several[RouteName] = ()
    """They must change nothing that matters. The sign-in may be among them; path and body of a route are
    those of the mix."""
    provider_routes: Several[Template] = ()
    """Routes that an upstream breaks when it is down: they have an alert of their own, so that their probes
    are no matter of the service's. `*` stands for any text."""


class Request(Section):
    """How a route of the mix is asked for. A number in its place is the rate alone.

    ```toml
    [load.mix]
    "GET /api/v1/users/me" = 12
    "POST /api/v1/items/" = {rate = 3, json = {title = "load"}}
    "GET /api/v1/items/{id}" = {rate = 5, path = "/api/v1/items/1", deadline = 1}
    ```
    """

    rate: Rate = 0.0
    """Requests a second of the mix; 0: the route is described only, for probes and drills."""
    json_body: Json = Field(None, alias="json")
    """What a well-behaved client sends."""
    path: UrlPath | None = None
    """What is asked for where the route has parameters, or a query."""
    caller: Name | None = None
    """Who asks: `anybody`, `account`, `signing_in`, or one of [load.caller]. Without it an account where
    there is a [client], else anybody."""
    deadline: Seconds | None = None
    """Seconds within which the answer is promised, where it is not that of [load.deadline]."""
    needs: Several[Label] = ()
    """`database`, tables and upstreams without which it cannot be served: a fault of another one must not
    touch it."""


class Caller(Section):
    """A kind of caller that code of the load generator knows how to make; NAME is what routes call it.

    ```toml
    [load.caller.leaving]
    what = "a browser's session that ends with the request"
    uses_up = true
    ```
    """

    what: Line
    """Who it is."""
    uses_up: bool = False
    """Whether each request needs something made for it before the clock starts, so that the mix of every
    day goes without it."""


class Deadline(Section):
    """Seconds within which the answer to a request is promised.

    ```toml
    [load.deadline]
    read = 2
    write = 3
    ```
    """

    read: Seconds = 2.0
    """Of GET, HEAD and OPTIONS."""
    write: Seconds = 3.0
    """Of all other methods."""

    def of(self, route: str) -> float:
        """route: `METHOD template`."""
        is_read = route.partition(" ")[0] in {"GET", "HEAD", "OPTIONS"}
        return self.read if is_read else self.write


def _rate_alone(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"rate": value} if is_number else value


class Load(Section):
    """What load tests and drills send.

    ```toml
    [load]
    unrelated = "GET /api/v1/utils/health-check/"
    accounts = 20
    credentials = {username = "load{n}@example.com", password = "$LOAD_PASSWORD"}
    ```
    """

    mix: Mapping[
        RouteName,
        Annotated[Request, BeforeValidator(_rate_alone, json_schema_input_type=float | Request)],
    ] = Field(default_factory=dict)
    """Routes of everyday traffic with their requests a second."""
    unrelated: RouteName | None = None
    """A route that needs no connection to the database: what exhausts the pool must not touch it."""
    deadline: Deadline = Field(default_factory=Deadline)
    """Seconds within which answers are promised."""
    accounts: int = Field(1, ge=1, le=10000)
    """How many accounts take turns."""
    credentials: Fields = Field(default_factory=dict)
    """Fields that replace those of the same name in `form` or `json` of [client]; `{n}` is the number of
    the account, from 1."""
    versions: Several[Version] = ()
    """What the clients call themselves in `X-Client-Version`: an equal share of the requests each."""
    caller: Mapping[Name, Caller] = Field(default_factory=dict)
    """Kinds of callers beyond `anybody`, `account` and `signing_in`."""


def is_route(name: str) -> bool:
    """Whether the file can name a route so."""
    return bool(re.match(ROUTE, name))
