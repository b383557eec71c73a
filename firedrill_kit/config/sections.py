"""The sections that say what the service is and where it is: all that nobody sends or breaks."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from firedrill_kit.config.types import (
    Address,
    Directory,
    Label,
    Line,
    Name,
    Port,
    ScopePattern,
    Section,
    Several,
    Table,
    UrlPath,
)
from firedrill_kit.config.variables import Fields, Secret, Text


class Service(Section):
    """What the service is called and where it is reached.

    ```toml
    [service]
    name = "shop"
    address = "http://127.0.0.1:8000"
    ```
    """

    name: Label
    """`service` of every metric, `service.name` of every span and log line."""
    environment: Label = "local"
    """`env` of every metric, `deployment.environment.name` of every span and log line."""
    address: Address = "http://127.0.0.1:8000"
    """Base address of the API, as its callers reach it."""
    metrics_port: Port = 9464
    """Port on which the first worker answers `/metrics`; each further worker has the next one."""
    workers: int | None = Field(None, ge=1, le=64)
    """How many processes answer behind the address: `--workers` of uvicorn or gunicorn. Without it: of a
    service that runs already as many as show metrics when `make up` looks; one where Firedrill starts it."""
    otlp: Address = "http://127.0.0.1:4318"
    """Where the service sends its spans, OTLP over HTTP: `make up` listens there."""
    logs: Literal["add", "take_over", "off"] = "add"
    """`add`: JSON lines beside those of the application. `take_over`: in their place. `off`: none."""
    features: Several[Name] = ()
    """Families of instruments that the service has itself, beyond those of the kit: alerts and panels
    that need one of them are left out where it is not listed."""


class Scope(Section):
    """How a route becomes the `scope` of a page: pages of one scope are one message.

    ```toml
    [scope]
    pattern = "/api/v1/([^/]+)"
    ```
    """

    pattern: ScopePattern = "(?:/api/v[0-9]+)?/([^/]+)"
    """Regular expression (RE2) with one group, looked for in the route; what the group holds is the
    scope. A route without it is its own scope. The default is the first segment, after `/api/v1`."""


class Links(Section):
    """Where the links of a page lead.

    ```toml
    [links]
    dashboards = "https://grafana.example.com"
    ```
    """

    dashboards: Address = "http://127.0.0.1:3030"
    """Base address of Grafana or of the viewer."""
    runbooks: Address | None = None
    """Base address below which `/runbooks/<Alert>` is served; without it that of the dashboards."""


class Runbooks(Section):
    """Commands that the runbooks give to the person on call. Without one, they say it in words.

    ```toml
    [runbooks]
    database = "psql service=shop"
    restart = "systemctl restart shop"
    ```
    """

    database: Line | None = None
    """Opens a shell of the database, as a role that may end sessions."""
    start: Line | None = None
    """Starts what does not run."""
    restart: Line | None = None
    """Starts the service anew."""
    roll_back: Line | None = None
    """Puts the release before this one back."""
    logs: Line | None = None
    """Shows the latest log lines."""
    status: Line | None = None
    """Shows which processes run."""


class Database(Section):
    """The service's PostgreSQL, as far as drills may touch it. Without it no drill touches one.

    ```toml
    [database]
    admin_dsn = "$FIREDRILL_ADMIN_DSN"
    tables = ["orders"]
    application_name = "shop"
    proxy = 15433
    ```
    """

    admin_dsn: Secret | None = None
    """Address of the database with a role that may lock tables and end sessions; not through the proxy."""
    proxy: Port | None = None
    """Port of a fault proxy before the database, which Firedrill starts. Give it when the service's own
    address of the database names this port."""
    tables: Several[Table] = ()
    """Tables that load tests and drills may lock; without it, those that a drill of this file locks."""
    application_name: Line | None = None
    """`application_name` of the service's connections, by which they are found and ended."""


class Upstream(Section):
    """Another service that this one calls; NAME is what drills and routes call it.

    ```toml
    [upstream.payments]
    address = "http://127.0.0.1:8091"
    proxy = 18091
    ```
    """

    address: Address
    """Where it is."""
    proxy: Port | None = None
    """Port of a fault proxy before it, as for the database."""


class Process(Section):
    """How Firedrill starts the service itself, for drills that stop it and stacks of their own. Commands
    are split as a shell would, and run without one. In them `{port}` is the replica's port, `{metrics_port}`
    the one of its first worker's metrics, `{database_port}` that of the database or its proxy, `{NAME_port}`
    that of the proxy before an upstream, with _ for - in its name. What [service] says to the kit (name,
    environment, metrics port, otlp, logs) they find in its variables.

    ```toml
    [process]
    start = "uvicorn app.main:app --port {port}"
    prepare = ["alembic upgrade head"]
    environment = {FIREDRILL_METRICS_PORT = "{metrics_port}", SECRET_KEY = "$SHOP_SECRET_KEY"}
    ready = "/health"
    ```
    """

    start: Text
    """Command of one replica; it ends within ten seconds of SIGTERM."""
    prepare: Several[Text] = ()
    """Commands that run before, one after the other: migrations, first users."""
    replicas: int = Field(1, ge=1, le=8)
    """How many to start. The ports of a further replica follow those of the one before."""
    directory: Directory = Field(Path(), validate_default=True)
    """Where the commands run, relative to this file."""
    environment: Fields = Field(default_factory=dict)
    """Variables of the commands, beyond those of Firedrill's own environment."""
    ready: UrlPath | None = None
    """Path that answers 2xx once a replica can serve; without it a replica is ready when its port is open."""
