"""What no section can see by itself: names that another section must have."""

from collections.abc import Iterator
from itertools import combinations

from firedrill_kit.config import drill_problems
from firedrill_kit.config.document import Config
from firedrill_kit.config.drill_problems import DATABASE
from firedrill_kit.config.nearest import Problem, nearest
from firedrill_kit.config.objectives import DEFAULT, Class, Slo, overlap
from firedrill_kit.config.traffic import ACCOUNT, ANYBODY, CALLERS, SIGNING_IN, Client

PORT_MAX = 65535


def problems(config: Config) -> Iterator[Problem]:
    yield from _objectives(config)
    yield from _client(config)
    yield from _routes(config)
    yield from _ports(config)
    yield from drill_problems.problems(config)


def _objectives(config: Config) -> Iterator[Problem]:
    slo = config.slo
    promises: dict[tuple[str, ...], Slo | Class] = {("slo",): slo}
    promises |= {("slo", "class", name): one for name, one in slo.classes.items()}
    for at, promise in promises.items():
        for key in ("fast_within", "page"):
            if promise.objective is None and key in promise.model_fields_set:
                yield (*at, key), "nothing is promised; add an objective beside it"
    if DEFAULT in slo.classes:
        yield (
            ("slo", "class", DEFAULT),
            "all other routes are called so; write another name, or slo.objective in its place",
        )
    for (name, one), (other, another) in combinations(slo.classes.items(), 2):
        for route in one.routes:
            if any(overlap(route, claimed) for claimed in another.routes):
                yield (
                    ("slo", "class", other, "routes"),
                    f"{name} claims {route} as well; leave it in one of the two",
                )


def _client(config: Config) -> Iterator[Problem]:
    client = config.client
    if client is None:
        return
    if client.sign_in is None:
        for key, given in (("form", client.form), ("json", client.json_body)):
            if given is not None:
                yield ("client", key), 'nothing sends it; add sign_in = "POST /path"'
        if any("{token}" in value for value in client.headers.values()):
            yield (
                ("client", "headers"),
                'nothing gives a {token}; add sign_in = "POST /path", or write "$NAME" for a fixed key',
            )
        return
    if client.form is not None and client.json_body is not None:
        yield ("client", "json"), "a request has one body; leave form or json out"
    if client.form is None and client.json_body is None:
        yield (
            ("client", "form"),
            'the sign-in needs a body; add form = {username = "$PROBE_USER", …} or json = {…}',
        )
    unknown = set(config.load.credentials) - _names_of_body(client)
    if unknown:
        yield (
            ("load", "credentials", min(unknown)),
            f"the sign-in sends no such field;{nearest(min(unknown), _names_of_body(client))}",
        )


def _names_of_body(client: Client) -> set[str]:
    body = client.form if client.form is not None else client.json_body
    return {str(name) for name in body} if isinstance(body, dict) else set()


def _routes(config: Config) -> Iterator[Problem]:
    named: list[tuple[tuple[str, ...], str]] = [
        (("load", "mix", name), name) for name in config.load.mix
    ]
    named += [(("probe", "routes"), name) for name in config.probe.routes]
    if config.load.unrelated:
        named.append((("load", "unrelated"), config.load.unrelated))
    for key, name in named:
        if "{" in name and "{" in config.route(name).path:
            where = f'load.mix."{name}"' if key[1] != "mix" else "it"
            yield key, f'"{name}" has parameters; give {where} a path, as in path = "/items/1"'
    callers = {*CALLERS, *config.load.caller}
    needed = {DATABASE, *config.lockable, *config.upstream}
    for name, asked in config.load.mix.items():
        if asked.caller and asked.caller not in callers:
            yield (
                ("load", "mix", name, "caller"),
                f"no caller is called so;{nearest(asked.caller, callers)}",
            )
        yield from _caller(config, name, asked.caller)
        for need in sorted(set(asked.needs) - needed):
            yield (
                ("load", "mix", name, "needs"),
                f"no table or upstream is called {need};{nearest(need, needed)}",
            )
    for name in sorted(set(CALLERS) & set(config.load.caller)):
        yield ("load", "caller", name), "every service has these callers; write another name"


def _caller(config: Config, route: str, caller: str | None) -> Iterator[Problem]:
    if caller in {ACCOUNT, SIGNING_IN} and config.client is None:
        yield (
            ("load", "mix", route, "caller"),
            f'nobody can sign in; add a section [client], or write "{ANYBODY}"',
        )
    elif caller == SIGNING_IN and config.client and config.client.sign_in != route:
        yield (
            ("load", "mix", route, "caller"),
            "client.sign_in is another request; leave the caller out, or correct client.sign_in",
        )


def _ports(config: Config) -> Iterator[Problem]:
    """Two programs on one port: the second would not start."""
    service = config.service
    replicas = config.process.replicas if config.process else 1
    ports = range(service.metrics_port, service.metrics_port + (service.workers or 1) * replicas)
    if ports[-1] > PORT_MAX:
        text = f"the last worker's port is above {PORT_MAX}; write a lower one"
        yield ("service", "metrics_port"), text
    taken = dict.fromkeys(ports, "service.metrics_port")
    proxies: dict[tuple[str, ...], int | None] = {
        ("upstream", name, "proxy"): one.proxy for name, one in config.upstream.items()
    }
    proxies["database", "proxy"] = config.database.proxy if config.database else None
    for key, port in proxies.items():
        if port is not None and port in taken:
            yield key, f"{taken[port]} has this port; write another one"
        elif port is not None:
            taken[port] = ".".join(key)
