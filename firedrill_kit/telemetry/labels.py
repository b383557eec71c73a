"""Label values that callers could choose, bounded: methods, client versions, load runs."""

import re

UNMATCHED = "__unmatched__"
"""The `http_route` of everything that no route claims."""
OTHER_METHOD = "_OTHER"
"""As the semantic conventions spell a method that is not a known one."""
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}
)

PROBER = "prober"
UNKNOWN_VERSION = "unknown"
OTHER_VERSION = "other"
CLIENT_VERSIONS_MAX = 20

_CLIENT_VERSION = re.compile(r"([a-z][a-z0-9_-]{0,15}/[0-9]{1,3}\.[0-9]{1,3})(?:\.[0-9.]{1,16})?")
_LOAD_RUN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def bounded_method(method: str) -> str:
    return method if method in METHODS else OTHER_METHOD


def error_type_of(status: int) -> str:
    """Return `error.type` of an answer: its status when that is our error, else empty."""
    return str(status) if status >= 500 else ""


def client_version_of(header: str) -> str:
    """Return `name/major.minor` or `prober`; empty when the header says neither."""
    if header == PROBER:
        return PROBER
    match = _CLIENT_VERSION.fullmatch(header)
    return match[1] if match else ""


def load_run_of(header: str) -> str:
    """Return the name of the load run, empty when it is not one."""
    return header if _LOAD_RUN.fullmatch(header) else ""


def client_request_id_of(header: str) -> str:
    """Return the caller's own id for the request, empty when it is not one."""
    return header if _REQUEST_ID.fullmatch(header) else ""


class BoundedSet:
    """The first distinct values, then `other`, for as long as the process lives."""

    def __init__(self, most: int, *, other: str) -> None:
        self._most = most
        self._other = other
        self._seen: set[str] = set()

    def label_of(self, value: str) -> str:
        if value not in self._seen:
            if len(self._seen) >= self._most:
                return self._other
            self._seen.add(value)
        return value


class ClientVersions:
    """The closed set that `client_version` may take: the first distinct ones, then `other`."""

    def __init__(self, *, most: int = CLIENT_VERSIONS_MAX) -> None:
        self._places = BoundedSet(most, other=OTHER_VERSION)

    def label_of(self, client_version: str, *, authenticated: bool) -> str | None:
        """Return the label value, or None for a request that is not counted.

        Only authenticated callers may claim one of the places; the prober needs none.
        """
        if client_version == PROBER:
            return PROBER
        if not authenticated:
            return None
        if not client_version:
            return UNKNOWN_VERSION
        return self._places.label_of(client_version)
