"""What a drill needs of other sections: whatever has no port for its fault is refused here."""

from collections.abc import Iterator

from firedrill_kit.config.document import Config
from firedrill_kit.config.drills import Break, BrokenRelease, Drill
from firedrill_kit.config.nearest import Problem, nearest

DATABASE = "database"
PART_MAX = len("service-8")


def problems(config: Config) -> Iterator[Problem]:
    names: set[str] = set()
    for number, drill in enumerate(config.drills, start=1):
        if drill.name in names:
            yield ("drill", number, "name"), "another drill is called so; write another name"
        names.add(drill.name)
        for key, text in _drill(config, drill):
            yield ("drill", number, *key), text


def _drill(config: Config, drill: Drill) -> Iterator[Problem]:
    for route in drill.load:
        if route not in config.load.mix:
            yield (
                ("load", route),
                f"the mix has no such route;{nearest(route, config.load.mix)}",
            )
    if not drill.is_silent and drill.within is None:
        yield ("within",), "it is missing; add the seconds within which the alerts must have come"
    if drill.is_silent and drill.within is not None:
        yield ("within",), "nothing is to come; add pages or tickets, or leave it out"
    if drill.is_silent and not drill.holds:
        yield ("holds",), "it is missing; add the seconds for which nothing may page"
    for key, text in _break(config, drill):
        yield ("break", *key), text


def _break(config: Config, drill: Drill) -> Iterator[Problem]:
    broken = drill.breaks
    if broken.lock or broken.kill_connections:
        yield from _in_database(config, broken)
    elif broken.send:
        yield from _sent(config, broken.send)
    elif broken.stop or broken.freeze:
        yield from _stopped(config, broken.kind, broken.stop or broken.freeze or "")
    elif broken.nothing:
        if not drill.is_silent:
            text = "nothing is broken and something must come; leave pages and tickets out"
            yield (broken.kind,), text
    else:
        target = broken.blackhole or broken.refuse or (broken.latency and broken.latency.to) or ""
        yield from _proxied(config, broken.kind, target)


def _in_database(config: Config, broken: Break) -> Iterator[Problem]:
    database, key = config.database, (broken.kind,)
    if not (database and database.admin_dsn):
        text = "nothing says how to reach the database;"
        yield key, f'{text} add database.admin_dsn = "$FIREDRILL_ADMIN_DSN"'
    elif broken.lock and database.tables and broken.lock not in database.tables:
        text = "no drill may lock this table;"
        yield key, f"{text} write one of database.tables, or add it there"
    elif broken.kill_connections and not database.application_name:
        text = "nothing says which connections are the service's;"
        yield key, f"{text} add database.application_name"


def _stopped(config: Config, kind: str, part: str) -> Iterator[Problem]:
    """part: `service` or `service-N`."""
    if config.process is None:
        yield (kind,), "Firedrill did not start the service; add a section [process]"
    elif len(part) > PART_MAX or int(part.partition("-")[2] or 1) > config.process.replicas:
        yield (kind,), "there are fewer replicas; write a lower number, or raise process.replicas"


def _sent(config: Config, release: BrokenRelease) -> Iterator[Problem]:
    for route in release.bodies:
        if route not in config.load.mix:
            text = f"the mix has no such route;{nearest(route, config.load.mix)}"
            yield ("send", "bodies", route), text
    for version in sorted(set(release.versions) - set(config.load.versions)):
        yield ("send", "versions"), f"no client is {version}; write one of load.versions"


def _proxied(config: Config, kind: str, target: str) -> Iterator[Problem]:
    key = (kind, "to") if kind == "latency" else (kind,)
    if target == DATABASE:
        if not (config.database and config.database.proxy):
            yield key, "there is no proxy before it; add database.proxy, a port"
    elif target not in config.upstream:
        yield key, f"no upstream is called so;{nearest(target, {DATABASE, *config.upstream})}"
    elif not config.upstream[target].proxy:
        yield key, f"there is no proxy before it; add upstream.{target}.proxy, a port"
