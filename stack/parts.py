"""What the demo's stack is made of, and which parts any stack has.

The list is data; `lifecycle` starts it. The order of the list is the order of the printed table,
the order of starting follows from `after`.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from functools import partial

from stack import attached, cache, postgres
from stack.around import log_rotation, postgres_exporter, prober, proxy, proxy_name, watchers
from stack.credentials import PROBER, PROBER_PASSWORD, Credentials, load_credentials
from stack.environment import service_environment
from stack.part import Part, python
from stack.programs import CACHE, CACHE_EXPORTER, Programs
from stack.readiness import answers
from stack.settings import ROOT, Settings, variable


def parts_of(
    settings: Settings, programs: Programs, environment: Mapping[str, str] | None = None
) -> list[Part]:
    """Every part of the stack of the settings.

    environment: what firedrill.toml names of secrets; None when nothing is to be started.
    Raises SettingsError, MissingVariableError, CredentialsError.
    """
    if not settings.service.is_demo:
        return attached.plan(settings, programs, environment)
    has_data = postgres.is_initialised(postgres.home_of(settings.local))
    return plan(settings, load_credentials(settings.local, data_exists=has_data), programs)


def plan(settings: Settings, credentials: Credentials, programs: Programs) -> list[Part]:
    """Every part of the demo's stack."""
    has_cache = CACHE in programs
    services = [
        _service(settings, credentials, number, has_cache=has_cache)
        for number in range(settings.replicas)
    ]
    names = [part.name for part in services]
    prober_account = {"PROBE_USER": PROBER, "PROBE_PASSWORD": PROBER_PASSWORD}
    return [
        *services,
        *watchers(settings, programs),
        _provider(settings),
        _postgres(settings, credentials),
        _exporter(settings, credentials, programs),
        *_caches(settings, credentials, programs),
        *(proxy(settings, one, f"127.0.0.1:{settings.ports[one]}") for one in settings.proxies),
        prober(settings, environment=prober_account, after=("seed", *names)),
        log_rotation(settings),
        _migrations(settings, credentials),
        _seed(settings),
    ]


def _service(settings: Settings, credentials: Credentials, index: int, *, has_cache: bool) -> Part:
    port = settings.ports["service"] + index
    internal = settings.ports["service_internal"] + index
    return Part(
        name=f"service-{index + 1}",
        command=python("service"),
        is_ready=answers(internal, "/readyz"),
        ports=((variable("service"), port), (variable("service_internal"), internal)),
        environment=service_environment(settings, credentials, has_cache=has_cache)
        | {
            "SERVICE_PORT": str(port),
            "SERVICE_INTERNAL_PORT": str(internal),
            "SERVICE_REVISION": os.environ.get("SERVICE_REVISION") or _revision(),
        },
        after=(
            "migrations",
            *(("cache",) if has_cache else ()),
            *map(proxy_name, settings.proxies),
        ),
        url=f"http://127.0.0.1:{port}/docs",
        look_at=f"the API; its metrics: port {internal}, /metrics",
        log_suffix="jsonl",
    )


def _provider(settings: Settings) -> Part:
    port = settings.ports["provider"]
    return Part(
        name="provider",
        command=python(
            *("stack.provider", "--port", str(port)),
            *("--state", settings.local / "provider.json"),
        ),
        is_ready=answers(port, "/healthz"),
        ports=((variable("provider"), port),),
        url=f"http://127.0.0.1:{port}/_judge",
        look_at="Google's simulator; break it by /_control",
        log_suffix="jsonl",
    )


def _postgres(settings: Settings, credentials: Credentials) -> Part:
    port, home = settings.ports["postgres"], postgres.home_of(settings.local)
    return Part(
        name="postgres",
        command=postgres.server_command(home, port),
        is_ready=partial(postgres.is_ready, home, port),
        ports=((variable("postgres"), port),),
        prepare=partial(postgres.initialise, home, credentials.postgres_superuser),
        url=f"127.0.0.1:{port}/{postgres.DATABASE}",
        look_at="`make psql` opens it",
        user=postgres.account(),
        directory=home,
        # Fast shutdown; SIGTERM would wait for every client to leave by itself.
        stop_signal=signal.SIGINT,
    )


def _exporter(settings: Settings, credentials: Credentials, programs: Programs) -> Part:
    address = f"127.0.0.1:{settings.ports['postgres']}/{postgres.DATABASE}?sslmode=disable"
    environment = {
        "DATA_SOURCE_URI": address,
        "DATA_SOURCE_USER": postgres.ROLES["monitor"],
        "DATA_SOURCE_PASS": credentials.postgres_monitor,
    }
    return postgres_exporter(settings, programs, environment=environment, after=("migrations",))


def _caches(settings: Settings, credentials: Credentials, programs: Programs) -> list[Part]:
    """The shared cache and its exporter, as far as they are there."""
    port, exporter = settings.ports["cache"], settings.ports["cache_exporter"]
    home, password = settings.local / "cache", credentials.cache
    parts = []
    if CACHE in programs:
        parts.append(
            Part(
                name="cache",
                command=[programs[CACHE], str(cache.configuration(home))],
                is_ready=partial(cache.is_ready, port, password),
                ports=((variable("cache"), port),),
                prepare=partial(cache.write_configuration, home, port, password),
                url=f"127.0.0.1:{port}",
                look_at="what replicas share; its user is `default`",
            )
        )
    if CACHE in programs and CACHE_EXPORTER in programs:
        parts.append(
            Part(
                name="cache-exporter",
                command=[
                    programs[CACHE_EXPORTER],
                    f"-web.listen-address=127.0.0.1:{exporter}",
                    "-log-format=json",
                ],
                is_ready=answers(exporter, "/metrics"),
                ports=((variable("cache_exporter"), exporter),),
                environment={
                    "REDIS_ADDR": f"redis://127.0.0.1:{port}",
                    "REDIS_PASSWORD": password,
                },
                after=("cache",),
                url=f"http://127.0.0.1:{exporter}/metrics",
                look_at="the cache server's own figures",
                log_suffix="jsonl",
            )
        )
    return parts


def _migrations(settings: Settings, credentials: Credentials) -> Part:
    def create_roles() -> None:
        asyncio.run(postgres.create_roles(settings.ports["postgres"], credentials.roles))

    return Part(
        name="migrations",
        command=python("service.migrations", "upgrade"),
        is_ready=None,
        environment=service_environment(settings, credentials)
        | {
            # Past any proxy: what mends a stack must not wait for what is broken in it.
            "DATABASE_PORT": str(settings.ports["postgres"]),
            "MIGRATION_PASSWORD": credentials.postgres_owner,
        },
        after=("postgres",),
        prepare=create_roles,
    )


def _seed(settings: Settings) -> Part:
    return Part(
        name="seed",
        command=python("stack", "seed"),
        is_ready=None,
        after=("migrations", "provider", *map(proxy_name, settings.proxies)),
    )


def _revision() -> str:
    """The commit that runs, for `api_build_info`; "dev" outside a git checkout."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - git of the caller's PATH
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return found.stdout.strip() or "dev"
