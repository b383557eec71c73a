"""Every environment variable of the service, once, with its unit in its name.

Read in `app.py` (and by the programs that prepare the database) and passed on; nothing else looks
at the environment. Secrets are `SecretStr`, so that printing a Config cannot leak one.
"""

import sys
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from firedrill_kit.resilience.arrivals import OPEN_REQUEST_BYTES

MIN_KEY_BYTES = 32
"""Shortest HMAC or AES key accepted: RFC 7518 §3.2 wants a key as long as the hash (256 bits)."""

Seconds = Annotated[float, Field(gt=0)]


class Config(BaseSettings):
    """The configuration of one service process.

    Environment variables are the field names in upper case: `SERVICE_PORT=8001`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    # Where it runs and what it is called
    environment: str = "local"
    """`deployment.environment.name` of spans and the `env` of log lines."""
    service_name: str = "api"
    service_version: str = "0.1.0"
    service_revision: str = "dev"
    service_instance: str = ""
    """Empty: host and port. Never set the same value for two replicas."""
    service_host: str = "127.0.0.1"
    service_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    service_internal_port: Annotated[int, Field(ge=1, le=65535)] = 9464
    public_origin: str = "http://127.0.0.1:8000"
    """Scheme, host and port that browsers see; the CSRF check compares `Origin` with it."""
    stop_seconds: Seconds = 5.0
    """From SIGTERM to exit, requests in flight included."""

    # Database
    database_host: str = "127.0.0.1"
    database_port: Annotated[int, Field(ge=1, le=65535)] = 15432
    database_name: str = "firedrill"
    database_user: str = "firedrill_app"
    database_password: SecretStr = SecretStr("")
    migration_user: str = "firedrill_owner"
    """Owner of the schema; used by the migration command only."""
    migration_password: SecretStr = SecretStr("")
    pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    pool_max_overflow: Annotated[int, Field(ge=0)] = 0
    """0: the pool is the only bound on connections, so it must be a bound."""
    pool_timeout_seconds: Seconds = 0.25
    """Longest wait for a connection. Measured: with 0.25 s a 4 s lock leaves p50 at 0.055 s in the
    first 4 s after it; with the default of 30 s it is 5.8 s."""
    pool_waiters_max: Annotated[int, Field(ge=0)] = 20
    """Callers that may wait at once; one more is refused. Two per connection: at 50 ms a statement
    the last of them waits 0.1 s."""
    route_share_max: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Of the pool, what the requests of one route may hold: when all of them wait for one lock, the other
    routes have the rest."""
    connect_gate_seconds: Annotated[float, Field(ge=0)] = 0.5
    """After a failed connect new checkouts are refused with its cause for this long."""
    connect_timeout_seconds: Seconds = 1.0
    lock_timeout_seconds: Seconds = 0.5
    statement_timeout_seconds: Seconds = 1.0
    command_timeout_seconds: Seconds = 1.5
    """The driver's own limit: ends what the server's limit cannot, a network that went silent."""
    idle_in_transaction_timeout_seconds: Seconds = 5.0
    schema_check_seconds: Seconds = 30.0

    # Shared cache
    cache_url: SecretStr = SecretStr("")
    """redis://:password@host:port/0, also rediss:// and unix://; empty: each replica counts for itself."""
    cache_settings: bool = False
    """Whether documents of settings are read from it; `python -m loadtests.costs.cache` measures whether it
    pays: a read asks the database for the caller and the version either way."""

    # Deadlines and admission: a deadline is counted from the end of the request
    read_deadline_seconds: Seconds = 2.0
    write_deadline_seconds: Seconds = 3.0
    login_deadline_seconds: Seconds = 5.0
    calendar_deadline_seconds: Seconds = 15.0
    read_in_flight_max: Annotated[int, Field(ge=1)] = 30
    write_in_flight_max: Annotated[int, Field(ge=1)] = 30
    calendar_in_flight_max: Annotated[int, Field(ge=1)] = 20
    login_in_flight_max: Annotated[int, Field(ge=1)] = 12
    caller_share_max: Annotated[float, Field(gt=0, le=1)] = 1 / 6
    """Of reads, writes and syncs, what one account may have at a time, or one address where none is
    known: five of 30, so that one caller never holds more than half of the pool's connections."""
    login_of_address_max: Annotated[int, Field(ge=1)] = 4
    """Two passwords are checked at a time; more would only wait there."""
    place_wait_seconds: Annotated[float, Field(ge=0)] = 0.1
    """Longest wait for a place of a read or write: a few that come at once are served, more than can
    be answered are refused soon."""
    long_place_wait_seconds: Annotated[float, Field(ge=0)] = 3.0
    """The same for sign-in and calendar, whose places are few and held long."""
    head_timeout_seconds: Seconds = 5.0
    body_timeout_seconds: Seconds = 2.0
    """For the whole body. Its caller waits for nothing else meanwhile and holds nothing of others."""
    answer_timeout_seconds: Seconds = 10.0
    """How long an answer larger than the buffers may wait for its caller to read on."""
    arriving_bytes_max: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024
    """Memory for all bodies that are still arriving."""
    arriving_bytes_of_caller_max: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """The same for one account or address; beyond it, the body that has been arriving longest is given up."""
    head_bytes_max: Annotated[int, Field(ge=1024)] = 16 * 1024
    body_bytes_max: Annotated[int, Field(ge=1024)] = 1024 * 1024
    login_attempts_per_minute: Annotated[int, Field(ge=1)] = 30
    """Failed sign-ins per address and minute; load tests raise it, all callers share 127.0.0.1."""
    login_attempts_of_account_per_minute: Annotated[int, Field(ge=1)] = 100
    """Failed sign-ins per account and minute, from anywhere: more than its owner makes, so that others
    cannot easily lock it, and few beside the passwords that there are (NIST SP 800-63B §5.2.2 allows 100)."""

    # Tokens and sessions
    token_issuer: str = "firedrill"
    token_audience: str = "firedrill-api"
    token_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)
    """`kid=secret` pairs, comma separated, newest first: the first signs, all verify."""
    legacy_token_issuer: str = "firedrill-legacy"
    legacy_token_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)
    """As TOKEN_KEYS, for the legacy format; empty: legacy tokens are refused."""
    token_lifetime_seconds: Annotated[int, Field(ge=60, le=86400)] = 3600
    session_lifetime_seconds: Annotated[int, Field(ge=60)] = 8 * 3600
    session_key: SecretStr = SecretStr("")
    """Keys the CSRF tokens and the caller hashes in logs."""
    secure_cookies: bool = False
    """True: `__Host-session` with Secure; False only on plain http loopback, where clients would
    never send such a cookie back."""

    # Calendar provider
    provider_url: str = "http://127.0.0.1:8091"
    provider_client_id: str = "firedrill-local-client"
    provider_client_secret: SecretStr = SecretStr("firedrill-local-secret")
    provider_redirect_uri: str = "http://127.0.0.1:8000/calendar/connected"
    grant_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)
    """`key id=secret` pairs for encrypting stored tokens, newest first."""
    oauth_skew_seconds: Seconds = 60.0
    oauth_lease_seconds: Seconds = 30.0
    oauth_http_seconds: Seconds = 10.0
    """Hard limit of one call to the token endpoint; must stay under the lease by a second."""
    provider_attempt_seconds: Seconds = 3.0

    # Telemetry
    otlp_endpoint: str = "http://127.0.0.1:4318"
    """Base of the OTLP/HTTP receiver; empty: spans are not exported."""
    otlp_timeout_seconds: Seconds = 3.0
    trace_base_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of unremarkable requests whose trace is kept."""
    trace_queue_spans: Annotated[int, Field(ge=16)] = 2048
    trusted_networks: Annotated[tuple[str, ...], NoDecode] = ("127.0.0.0/8", "::1/128")
    """Networks whose `traceparent` is continued; others get a new root with a link."""
    telemetry_instrumentation: Literal["fast", "contrib"] = "fast"
    """contrib: OpenTelemetry's own instrumentations and SDK, to compare with, at 20 times the CPU."""
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: str = "info"
    log_queue_records: Annotated[int, Field(ge=16)] = 4096

    @field_validator("token_keys", "legacy_token_keys", "grant_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [item.partition("=") for item in value.split(",") if item.strip()]
        if any(not (key_id.strip() and secret) for key_id, _, secret in pairs):
            message = "write it as `key-id=secret[,older-id=secret]`"
            raise ValueError(message)
        return {key_id.strip(): secret for key_id, _, secret in pairs}

    @field_validator("trusted_networks", mode="before")
    @classmethod
    def _parse_networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("cache_url")
    @classmethod
    def _is_a_cache(cls, value: SecretStr) -> SecretStr:
        url = urlsplit(value.get_secret_value())
        if url.scheme not in {"", "redis", "rediss", "unix"} or (
            value.get_secret_value() and (url.query or not (url.hostname or url.path))
        ):
            message = "write it as redis://:password@host:port/0"
            raise ValueError(message)
        url.port  # noqa: B018 - raises ValueError when it is no port
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("token_keys", "legacy_token_keys", "grant_keys"):
            for key_id, secret in getattr(self, name).items():
                if len(secret.get_secret_value().encode()) < MIN_KEY_BYTES:
                    message = (
                        f"{name.upper()}: key {key_id!r} is shorter than {MIN_KEY_BYTES} bytes"
                    )
                    raise ValueError(message)
        if self.oauth_http_seconds + 1 >= self.oauth_lease_seconds:
            message = "OAUTH_HTTP_SECONDS must be more than 1 s below OAUTH_LEASE_SECONDS"
            raise ValueError(message)
        limits = (
            self.lock_timeout_seconds,
            self.statement_timeout_seconds,
            self.command_timeout_seconds,
            self.read_deadline_seconds,
        )
        if sorted(set(limits)) != list(limits):
            message = (
                "keep LOCK_TIMEOUT_SECONDS < STATEMENT_TIMEOUT_SECONDS < "
                "COMMAND_TIMEOUT_SECONDS < READ_DEADLINE_SECONDS"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _check_bodies(self) -> Self:
        """A caller learns that its body is late before it would have had its answer."""
        shortest = min(self.write_deadline_seconds, self.login_deadline_seconds)
        if self.body_timeout_seconds >= shortest:
            message = (
                "keep BODY_TIMEOUT_SECONDS below WRITE_DEADLINE_SECONDS and LOGIN_DEADLINE_SECONDS"
            )
            raise ValueError(message)
        if (
            self.place_wait_seconds >= self.read_deadline_seconds
            or self.long_place_wait_seconds >= self.login_deadline_seconds
        ):
            message = (
                "keep PLACE_WAIT_SECONDS below READ_DEADLINE_SECONDS and "
                "LONG_PLACE_WAIT_SECONDS below LOGIN_DEADLINE_SECONDS"
            )
            raise ValueError(message)
        largest = self.body_bytes_max + OPEN_REQUEST_BYTES
        if not largest < self.arriving_bytes_of_caller_max <= self.arriving_bytes_max:
            message = (
                "keep BODY_BYTES_MAX (and 32 KiB) < ARRIVING_BYTES_OF_CALLER_MAX "
                "<= ARRIVING_BYTES_MAX"
            )
            raise ValueError(message)
        return self

    @property
    def instance(self) -> str:
        return self.service_instance or f"{self.service_host}:{self.service_port}"

    @property
    def public_scheme(self) -> str:
        return urlsplit(self.public_origin).scheme


def require_secrets(config: Config) -> Config:
    """Return the config if a service can start with it.

    Raises ValueError naming what is missing.
    """
    missing = [
        name.upper()
        for name in ("token_keys", "session_key", "grant_keys", "database_password")
        if not _is_set(getattr(config, name))
    ]
    if len(config.session_key.get_secret_value().encode()) < MIN_KEY_BYTES:
        missing.append(f"SESSION_KEY of at least {MIN_KEY_BYTES} bytes")
    if missing:
        message = "set " + ", ".join(dict.fromkeys(missing))
        raise ValueError(message)
    return config


def _is_set(value: SecretStr | dict[str, SecretStr]) -> bool:
    return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)


def read_config() -> Config:
    """Read the environment; on a bad value say each in one line and exit 2."""
    try:
        return Config()
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in item["loc"]).upper()
            print(f"configuration: {name}: {item['msg']}".replace(": :", ":"), file=sys.stderr)  # noqa: T201 - a start-up error, before logging exists
        raise SystemExit(2) from None
