"""Is a part ready? Each check asks the part itself, answers at once, and never raises."""

import http.client
import json
import socket
from collections.abc import Callable

Check = Callable[[], bool]
_PATIENCE_SECONDS = 2.0


def answers(port: int, path: str) -> Check:
    """A check: GET answers 2xx."""
    return lambda: get(port, path) is not None


def is_open(port: int) -> Check:
    """A check: somebody listens there."""

    def connects() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS):
                return True
        except OSError:
            return False

    return connects


def get(port: int, path: str, *, timeout_seconds: float = _PATIENCE_SECONDS) -> bytes | None:
    """The body of a GET on loopback that answers 2xx within the time; None otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if 200 <= response.status < 300 else None


def get_json(port: int, path: str) -> object | None:
    """The JSON of a GET on loopback; None when there is no such answer."""
    body = get(port, path)
    try:
        return None if body is None else json.loads(body)
    except ValueError:
        return None
