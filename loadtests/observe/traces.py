"""The traces, as the viewer has them, each with its log lines.

Every function raises httpx.HTTPError when the viewer does not answer.
"""

from typing import Any

import httpx


def trace(http: httpx.Client, viewer_url: str, trace_id: str) -> dict[str, Any] | None:
    """One trace; None: neither a span nor a line of it has arrived."""
    answer = http.get(f"{viewer_url}/api/traces/{trace_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def newest(http: httpx.Client, viewer_url: str, *, limit: int, status: str = "") -> list[str]:
    """Ids of the newest traces. status: of the answer, such as 503; empty: any."""
    asked = {"limit": str(limit), **({"status": status} if status else {})}
    answer = http.get(f"{viewer_url}/api/traces", params=asked).raise_for_status()
    return [one["trace_id"] for one in answer.json()["traces"]]


def is_whole(found: dict[str, Any]) -> bool:
    """Whether its SERVER span and its canonical log line are there."""
    return any(span["kind"] == "SERVER" for span in found["spans"]) and any(
        line.get("event") == "request_finished" for line in found["logs"]
    )
