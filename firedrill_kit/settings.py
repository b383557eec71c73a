"""What an application says of itself: in the call, the environment, firedrill.toml, else by its title."""

import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

Logs = Literal["add", "take_over", "off"]
"""What becomes of logging.

add        the kit's own lines go to stdout as JSON, the application's stay as they are
take_over  every line of the process is JSON on stdout
off        the kit writes no line
"""

PRIVATE_NETWORKS = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128")


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(ip_network(network)) for network in networks)


@dataclass(frozen=True)
class Settings:
    """One service.

    service, version, environment: as its spans and series are labelled. metrics_port: of the first
    worker, 0 for no metrics; each further worker takes the next free port, `workers_max` at most.
    metrics_host: address to listen on. otlp_endpoint: base address of the OTLP/HTTP receiver; empty, no
    span leaves. log_level: lowest of the kit's lines that is written. base_ratio: share of unremarkable
    requests whose trace is kept. queue_spans: how many may wait. trusted_networks: addresses of callers
    whose `traceparent` is continued. The descriptions are what SettingsError says to set.
    """

    service: str
    version: str = ""
    environment: str = "local"
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, lt=1 << 16, description="a port, 0 for none")] = 9464
    workers_max: Annotated[int, Field(ge=1, description="a number from 1")] = 32
    otlp_endpoint: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^/\s]\S*)?$",
            description="an address such as http://127.0.0.1:4318, empty for none",
        ),
    ] = ""
    logs: Annotated[Logs, Field(description=", ".join(get_args(Logs)))] = "add"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        BeforeValidator(lambda level: str(level).lower()),
        Field(description="debug, info, warning, error, critical"),
    ] = "info"
    base_ratio: Annotated[float, Field(ge=0, le=1, description="a share from 0 to 1")] = 0.05
    queue_spans: Annotated[int, Field(ge=1, description="a number from 1")] = 8192
    trusted_networks: Annotated[
        tuple[str, ...],
        AfterValidator(_networks),
        Field(description="a list of networks such as 10.0.0.0/8"),
    ] = PRIVATE_NETWORKS


ENVIRONMENT: Mapping[str, str] = {
    "OTEL_SERVICE_NAME": "service",
    "FIREDRILL_VERSION": "version",
    "FIREDRILL_ENVIRONMENT": "environment",
    "FIREDRILL_METRICS_HOST": "metrics_host",
    "FIREDRILL_METRICS_PORT": "metrics_port",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "otlp_endpoint",
    "FIREDRILL_LOGS": "logs",
    "FIREDRILL_LOG_LEVEL": "log_level",
}
"""Variable to setting; OpenTelemetry's own names where it has one."""


MAY_BE_EMPTY = frozenset({"otlp_endpoint"})
"""Empty says something: no span leaves, whatever the file says. Any other variable is then as if not set."""
FILE, FILE_VARIABLE, DISABLED_VARIABLE = "firedrill.toml", "FIREDRILL_CONFIG", "FIREDRILL_DISABLED"
NOTHING: Mapping[str, Any] = MappingProxyType({})


class SettingsError(ValueError):
    """A setting cannot be used; the message names it and what to set."""


def is_disabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether FIREDRILL_DISABLED switches all of the kit off."""
    return environment.get(DISABLED_VARIABLE, "").lower() not in {"", "0", "false", "no"}


def settings_of(
    title: str,
    given: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    described: Mapping[str, Any] = NOTHING,
) -> Settings:
    """Return the settings of an application: the call's first, then the environment's, then the file's.

    title: of the application; names the service when nothing else does. described: what the file says.
    Raises SettingsError.
    """
    known = {one.name for one in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise SettingsError(
            f"{', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}"
        )
    values: dict[str, Any] = {"service": service_name(title), **described}
    values |= {
        name: environment[variable]
        for variable, name in ENVIRONMENT.items()
        if environment.get(variable) or (variable in environment and name in MAY_BE_EMPTY)
    }
    values |= given
    values["service"] = values["service"] or service_name("")
    try:
        return TypeAdapter(Settings).validate_python(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        variable = next((key for key, of in ENVIRONMENT.items() if of == name), name)
        properties = TypeAdapter(Settings).json_schema()["properties"]
        remedy = properties[name].get("description", "a text")
        raise SettingsError(f"{name}={values[name]!r}: set {variable} to {remedy}") from None


def described_settings(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return what [service] of firedrill.toml says, its defaults included; empty when there is no file. No
    other section is looked at.

    The file is the one that FIREDRILL_CONFIG names, else that of the current directory; where the variable
    is set and empty no file is looked for. Raises SettingsError.
    """
    named = environment.get(FILE_VARIABLE)
    if named == "" or (named is None and not os.access(FILE, os.F_OK)):
        return {}
    # Its models take 0.2 s and 2 MB (measured), which an application without a file is spared.
    from firedrill_kit.config import ConfigError, read_service  # noqa: PLC0415

    try:
        service = read_service(Path(named or FILE))
    except ConfigError as error:
        first, *others = error.lines
        more = f" (and {len(others)} more: python -m firedrill_kit.config)" if others else ""
        raise SettingsError(f"{first}{more}") from None
    return {
        "service": service.name,
        "environment": service.environment,
        "metrics_port": service.metrics_port,
        "otlp_endpoint": service.otlp,
        "logs": service.logs,
    } | ({"workers_max": service.workers} if service.workers else {})


def service_name(title: str) -> str:
    """Return a name made of a title: small letters, digits and hyphens; "app" of a title without any.

    A letter loses its accent: "Café" is "cafe".
    """
    apart = unicodedata.normalize("NFKD", title.lower())
    plain = "".join(one for one in apart if not unicodedata.combining(one))
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "app"
