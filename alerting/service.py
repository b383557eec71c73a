"""What the rules need to know of the service they are rendered for; the sources are written for the demo.

A source names the demo's service, environment, scopes and provider, so that it can be read and tested as it
stands; `Service.fitted` puts those of another service in their place.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from alerting.catalogue import FOLDER, AlertSourceError
from alerting.classes import Classes, pattern_of
from alerting.features import chosen, core_features
from firedrill_kit.config import FILE, Config, ConfigError, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """name, environment: the labels `service` and `env` that discovery gives its targets.

    scope: a regular expression over a whole route, whose one group is the scope: what a cause mutes the
        symptoms of. A route that does not match is a scope of its own.
    provider_routes: a regular expression of routes that a provider breaks, which have an alert of their own
        and are no matter of the probes; None: there are none.
    """

    name: str
    environment: str
    scope: str
    provider_routes: str | None
    classes: Classes
    features: frozenset[str]

    def fitted(self, text: str) -> str:
        """Return a text of a source with what is the demo's replaced by what is this service's."""
        return (
            text.replace(DEMO.scope, _quoted(self.scope))
            .replace(_besides(DEMO.provider_routes), _besides(self.provider_routes))
            .replace(f'env="{DEMO.environment}"', f'env="{_quoted(self.environment)}"')
            .replace(f'service="{DEMO.name}"', f'service="{_quoted(self.name)}"')
        )


def _besides(provider_routes: str | None) -> str:
    return f',http_route!~"{_quoted(provider_routes)}"' if provider_routes else ""


def _quoted(text: str) -> str:
    """As it stands between double quotes in PromQL and in a template."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def service_of(config: Config) -> Service:
    """Raises AlertSourceError for a feature that no alert knows."""
    classes = config.slo_classes
    derived = {
        "objectives": any(item.objective is not None for item in classes),
        "latency_objectives": any(item.fast_within_seconds is not None for item in classes),
        "prober": bool(config.probe.routes),
        "postgres_exporter": config.database is not None and config.database.admin_dsn is not None,
    }
    shown = (name for name in derived if derived[name])
    return Service(
        name=config.service.name,
        environment=config.service.environment,
        scope=_whole_route(config.scope.pattern),
        provider_routes=pattern_of(config.probe.provider_routes) or None,
        classes=classes,
        features=chosen({*core_features(), *config.service.features, *shown}),
    )


def _whole_route(pattern: str) -> str:
    """Return a pattern such as `/api/v1/([^/]+)`, which is looked for, as one that a whole route matches.

    One that begins with a slash is looked for at the start alone.
    """
    start = "" if pattern.lstrip("(").startswith("/") else ".*?"
    end = "" if pattern.endswith(".*") else ".*"
    return f"{start}{pattern}{end}"


def described(file: Path | None, *, features: frozenset[str] | None = None) -> Service:
    """Return the service of the file, or the demo; features: instead of those that the file shows.

    Raises ConfigError, and AlertSourceError in one line that names the file, the key and the remedy.
    """
    try:
        found = DEMO if file is None else service_of(read(file))
    except AlertSourceError as error:
        message = f"{file}: service.features: {error}"
        raise AlertSourceError(message) from error
    return found if features is None else replace(found, features=features)


def _demo() -> Service:
    """The file is part of the repository: a program that needs it says what is wrong, and ends."""
    try:
        return service_of(read(FOLDER.parent / FILE))
    except (ConfigError, AlertSourceError) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


DEMO = _demo()
