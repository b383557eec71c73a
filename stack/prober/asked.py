"""What the prober asks for and as whom, as a firedrill.toml says it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firedrill_kit.config import Config, filled
from firedrill_kit.config.traffic import ANYBODY

ANSWER_SECONDS = 0.5
"""Beyond a route's deadline, for the way there and back."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One request that is repeated.

    http_route: the template, which is its label. timeout_seconds: from sending it to giving up. content:
    body as httpx takes it. is_sign_in: whether its answer holds the token. is_signed_in: whether it is sent
    with that.
    """

    method: str
    http_route: str
    path: str
    timeout_seconds: float
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_sign_in: bool = False
    is_signed_in: bool = False


@dataclass(frozen=True)
class Asked:
    """probes: those that are counted. sign_in: the request for a token, whether or not it is one of them."""

    probes: tuple[Probe, ...]
    sign_in: Probe | None
    _headers: Mapping[str, str] = field(repr=False)
    _token_key: str
    _environment: Mapping[str, str] = field(repr=False)

    def headers(self, token: str) -> dict[str, str]:
        """Those that a caller who is signed in sends."""
        values = filled(self._headers, self._environment, token=token)
        return values if isinstance(values, dict) else {}

    def token_of(self, answer: Any) -> str:
        """The token in the JSON of a sign-in. Raises LookupError or TypeError when there is none."""
        for key in self._token_key.split("."):
            answer = answer[key]
        if not isinstance(answer, str):
            raise TypeError(self._token_key)
        return answer


def asked_of(config: Config, environment: Mapping[str, str] = os.environ) -> Asked:
    """Raises MissingVariableError."""
    client = config.client
    sign_in_name = client and client.sign_in

    def probe(name: str) -> Probe:
        route, is_sign_in = config.route(name), name == sign_in_name
        method, _, template = name.partition(" ")
        kind, body = "json", route.body
        if is_sign_in and client is not None:
            kind, body = (
                ("json", client.json_body) if client.form is None else ("data", client.form)
            )
        return Probe(
            method=method,
            http_route=template,
            path=route.path,
            timeout_seconds=route.deadline_seconds + ANSWER_SECONDS,
            content={} if body is None else {kind: filled(body, environment, n=1)},
            is_sign_in=is_sign_in,
            is_signed_in=client is not None and not is_sign_in and route.caller != ANYBODY,
        )

    probes = tuple(probe(name) for name in config.probe.routes)
    found = Asked(
        probes=probes,
        sign_in=probe(sign_in_name) if sign_in_name else None,
        _headers=client.headers if client else {},
        _token_key=client.token if client else "",
        _environment=environment,
    )
    found.headers("")  # names the variable that is missing before anything is sent
    return found
