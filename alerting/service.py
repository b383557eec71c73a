"""What the rules need to know of the service they are rendered for; the sources are written for the demo.

A source names the demo's service, environment, scopes and provider, so that it can be read and tested as it
stands; `Service.fitted` puts those of another service in their place.
"""

import re
from dataclasses import dataclass

from alerting.catalogue import AlertSourceError
from alerting.classes import SloClass, checked, classes
from alerting.features import every_feature

ANY_SCOPE = "(/[^/]*).*"
"""The scope of a route of a service that names no pattern: its first segment, with the slash."""


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
    scope: str = ANY_SCOPE
    provider_routes: str | None = None
    classes: tuple[SloClass, ...]
    features: frozenset[str]

    def fitted(self, text: str) -> str:
        """Return a text of a source with what is the demo's replaced by what is this service's."""
        if self is DEMO:
            return text
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


def scope_of(pattern: str) -> str:
    """Return a pattern such as `/api/v1/([^/]+)`, which is looked for, as one that a whole route matches.

    One that begins with a slash is looked for at the start alone.
    Raises AlertSourceError, saying what a pattern must be.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error:
        groups = 0
    if groups != 1:
        message = '[scope] pattern must be a regular expression with one group: "/api/v1/([^/]+)"'
        raise AlertSourceError(message)
    start = "" if pattern.lstrip("(").startswith("/") else ".*?"
    end = "" if pattern.endswith(".*") else ".*"
    return f"{start}{pattern}{end}"


DEMO = Service(
    name="api",
    environment="local",
    scope=scope_of("/api/v1/([a-z]+)"),
    provider_routes="/api/v1/calendar/.*",
    classes=checked(classes()),
    features=every_feature(),
)
