"""`python -m alerting.silence DbPoolExhausted 1h`: silences one alert, in every environment, for a while."""

import argparse
import getpass
import os
import re
from datetime import UTC, datetime, timedelta

import httpx

from alerting.catalogue import load_alerts

# A silence that outlives the week in which it was set hides the next fault.
LONGEST = timedelta(days=7)
TIMEOUT_SECONDS = 5.0

_DURATION = re.compile(
    r"(?=\d)(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?", re.ASCII
)


class CannotSilence(Exception):
    """The message says what to do."""


def silence(
    alertmanager_url: str, alert: str, duration: timedelta, *, comment: str, now: datetime
) -> str:
    """Return the id of the new silence. Raises CannotSilence."""
    try:
        answer = httpx.post(
            f"{alertmanager_url}/api/v2/silences",
            json={
                "matchers": [
                    {"name": "alertname", "value": alert, "isRegex": False, "isEqual": True}
                ],
                "startsAt": now.isoformat(),
                "endsAt": (now + duration).isoformat(),
                "createdBy": _author(),
                "comment": comment,
            },
            timeout=TIMEOUT_SECONDS,
        )
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise CannotSilence(
            f"Alertmanager refused: {error.response.status_code} {error.response.text[:200]}"
        ) from error
    except httpx.HTTPError as error:
        raise CannotSilence(
            f"no Alertmanager at {alertmanager_url} ({type(error).__name__}): is the system up?"
        ) from error
    return str(answer.json()["silenceID"])


def parse_duration(text: str) -> timedelta:
    """`90m`, `1h30m`, `2d`: the spelling of Prometheus. Raises CannotSilence."""
    match = _DURATION.fullmatch(text)
    days, hours, minutes, seconds = (
        (int(part or 0) for part in match.groups()) if match else [0] * 4
    )
    duration = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(0) < duration <= LONGEST:
        raise CannotSilence(f"FOR must be like 90m, 1h30m or 2d, and at most {LONGEST.days}d")
    return duration


def _require_silenceable(alert: str) -> None:
    if alert == "Watchdog":
        raise CannotSilence("silencing Watchdog makes the dead-man page: stop the pager instead")
    names = {known.name for known in load_alerts()}
    if alert not in names:
        like = sorted(name for name in names if alert.lower() in name.lower())
        hint = f"; did you mean {', '.join(like)}?" if alert and like else ""
        raise CannotSilence(f"no rule defines an alert {alert[:100]!r}{hint}")


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"  # a container's user may have no name


def _default_url() -> str:
    offset = int(os.environ.get("PORT_OFFSET") or 0)
    port = os.environ.get("ALERTMANAGER_PORT") or str(9093 + offset)
    return os.environ.get("ALERTMANAGER_URL") or f"http://127.0.0.1:{port}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m alerting.silence", description="Silences one alert in every environment."
    )
    parser.add_argument("alert", metavar="ALERT", help="its name, such as DbPoolExhausted")
    parser.add_argument("duration", metavar="FOR", help="90m, 1h30m, 2d; at most a week")
    parser.add_argument("--comment", default="silenced by make silence")
    parser.add_argument("--alertmanager", metavar="URL", help="default: the one of `make up`")
    given = parser.parse_args()
    now = datetime.now(UTC)
    try:
        url = given.alertmanager or _default_url()
        duration = parse_duration(given.duration)
        _require_silenceable(given.alert)
        silence_id = silence(url, given.alert, duration, comment=given.comment, now=now)
    except (CannotSilence, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{given.alert} is silent until {now + duration:%F %H:%M} UTC.")
    print(f"End it sooner: amtool --alertmanager.url={url} silence expire {silence_id}")


if __name__ == "__main__":
    main()
