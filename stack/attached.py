"""What a stack is made of around a service that is not the demo, as its firedrill.toml says.

A service with [process] is a part as well; without it runs already, and nothing here starts or stops it.
"""

import os
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from firedrill_kit.config import Variable, filled_text
from firedrill_kit.config.sections import Process
from stack.around import log_rotation, postgres_exporter, prober, proxy, proxy_name, watchers
from stack.described import LOOPBACK
from stack.part import Part
from stack.prober.asked import asked_of
from stack.programs import Programs
from stack.readiness import answers, is_open
from stack.settings import Settings, SettingsError, variable

Environment = Mapping[str, str] | None
"""None: nothing is to be started, so no secret is needed."""


def plan(settings: Settings, programs: Programs, environment: Environment) -> list[Part]:
    """Raises SettingsError, and MissingVariableError before anything is started."""
    process = settings.service.config.process
    services = _started(settings, process, environment) if process else []
    if environment is not None:
        asked_of(settings.service.config, environment)
    after = tuple(part.name for part in services if not part.is_task)
    return [
        *(proxy(settings, one, _behind(settings, one, environment)) for one in settings.proxies),
        *(part for part in services if not part.is_task),
        # What is not up yet is not down: nobody is paged while the service starts.
        *(
            replace(part, after=after) if part.name == "prometheus" else part
            for part in watchers(settings, programs)
        ),
        *([_exporter(settings, programs, environment)] if settings.service.has_exporter else []),
        prober(settings, after=after),
        log_rotation(settings),
        *(part for part in services if part.is_task),
    ]


def _behind(settings: Settings, part: str, environment: Environment) -> str:
    """HOST:PORT of what stands behind a proxy. Raises SettingsError."""
    config = settings.service.config
    if part in config.upstream:
        address = urlsplit(config.upstream[part].address)
        port = address.port or (443 if address.scheme == "https" else 80)
        return f"{address.hostname}:{port}"
    dsn = config.database.admin_dsn if config.database else None
    if dsn is None:
        raise SettingsError(
            f"{settings.service.file}: database.proxy: nothing says where the database is; add"
            ' admin_dsn = "$FIREDRILL_ADMIN_DSN"'
        )
    return part if environment is None else "{}:{}".format(*_database_address(dsn, environment))


def _database_address(dsn: Variable, environment: Mapping[str, str]) -> tuple[str, int]:
    """Host (empty: a socket) and port. Raises SettingsError, MissingVariableError."""
    parts = urlsplit(dsn.read(environment))
    try:
        return parts.hostname or "", parts.port or 5432
    except ValueError:
        raise SettingsError(
            f"{dsn.name}: its port is no number from 1 to 65535; write"
            " postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None


def _started(settings: Settings, process: Process, environment: Environment) -> list[Part]:
    """The tasks of `prepare`, one after the other, and then the replicas."""
    numbers = range(len(process.prepare))
    tasks = [
        Part(
            name=f"prepare-{number + 1}",
            command=_command(settings, process, process.prepare[number], 0, environment),
            is_ready=None,
            environment=_environment(settings, process, 0, environment),
            after=(f"prepare-{number}",) if number else tuple(map(proxy_name, settings.proxies)),
            directory=process.directory,
        )
        for number in numbers
    ]
    after = (*map(proxy_name, settings.proxies), *(task.name for task in tasks[-1:]))
    replicas = range(settings.replicas)
    return [
        *tasks,
        *(_replica(settings, process, index, environment, after) for index in replicas),
    ]


def _replica(
    settings: Settings,
    process: Process,
    index: int,
    environment: Environment,
    after: tuple[str, ...],
) -> Part:
    port, internal = _ports(settings, index)
    metrics = range(internal, internal + settings.service.workers)
    name = settings.service.name.replace("/", "_")
    return Part(
        name=f"service-{index + 1}",
        command=_command(settings, process, process.start, index, environment),
        is_ready=answers(port, process.ready) if process.ready else is_open(port),
        ports=(
            (variable("service"), port),
            *((variable("service_internal"), one) for one in metrics),
        ),
        environment=_environment(settings, process, index, environment),
        after=after,
        directory=process.directory,
        url=f"http://127.0.0.1:{port}",
        look_at=f"{settings.service.name}; its metrics: port {'-'.join(map(str, _ends(metrics)))}",
        # Of a line that does not say it, the collector takes the service from the file's name.
        log_name=name if settings.replicas == 1 else f"{name}.{index + 1}",
        log_suffix="jsonl",
    )


def _ends(ports: range) -> tuple[int, ...]:
    return (ports[0], ports[-1]) if len(ports) > 1 else (ports[0],)


def _ports(settings: Settings, index: int) -> tuple[int, int]:
    """A replica's own port, and that of its first worker's metrics."""
    internal = settings.ports["service_internal"] + index * settings.service.workers
    return settings.ports["service"] + index, internal


def _words(settings: Settings, index: int, environment: Environment) -> dict[str, int]:
    """What `{word}` means in a command or variable of [process]."""
    port, internal = _ports(settings, index)
    words = {"port": port, "metrics_port": internal}
    words |= {
        f"{one.replace('-', '_')}_port": settings.proxy_port(one) for one in settings.proxies
    }
    database = settings.service.config.database
    dsn = database.admin_dsn if database and not database.proxy else None
    if dsn and environment and settings.service.has_exporter:
        words["database_port"] = _database_address(dsn, environment)[1]
    return words


def _command(
    settings: Settings, process: Process, text: str, index: int, environment: Environment
) -> list[str]:
    """Split first: what a variable holds is one word, whatever is in it."""
    try:
        split = shlex.split(text)
    except ValueError as error:
        split, why = [], f": {str(error).lower()}"
    else:
        why = ""
    if not split:
        raise SettingsError(
            f"{settings.service.file}: process: {text!r} is no command{why}; correct it there"
        )
    if environment is None:
        return split
    words = _words(settings, index, environment)
    command = [filled_text(word, environment, **words) for word in split]
    path = _environment(settings, process, index, environment).get("PATH", os.defpath)
    found = process.directory / command[0] if "/" in command[0] else command[0]
    if shutil.which(found, path=path) is None:
        raise SettingsError(
            f"{settings.service.file}: process: no program is called {command[0]}; activate the"
            " environment that it is in, or write its path"
        )
    return command


def _environment(
    settings: Settings, process: Process, index: int, environment: Environment
) -> dict[str, str]:
    """Firedrill's own environment, what the file says to the kit, and what it says to the commands."""
    if environment is None:
        return {}
    service = settings.service.config.service
    of_kit = {
        # Else the kit takes the firedrill.toml of the directory that the service is started in.
        "FIREDRILL_CONFIG": str(settings.service.file),
        "OTEL_SERVICE_NAME": service.name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": settings.url("otlp"),
        "FIREDRILL_ENVIRONMENT": service.environment,
        "FIREDRILL_METRICS_PORT": str(_ports(settings, index)[1]),
        "FIREDRILL_LOGS": service.logs,
    }
    words = _words(settings, index, environment)
    own = {
        name: filled_text(text, environment, **words) for name, text in process.environment.items()
    }
    return {**environment, **of_kit, **own}


def _exporter(settings: Settings, programs: Programs, environment: Environment) -> Part:
    database = settings.service.config.database
    variables: dict[str, str] = {}
    if environment is not None and database and database.admin_dsn:
        dsn = database.admin_dsn.read(environment)
        host, _ = _database_address(database.admin_dsn, environment)
        variables = {"DATA_SOURCE_NAME": dsn}
        if host in LOOPBACK and "sslmode" not in parse_qs(urlsplit(dsn).query):
            # The exporter's driver insists on TLS by default; on loopback there is none.
            variables["PGSSLMODE"] = "disable"
    return postgres_exporter(settings, programs, environment=variables)
