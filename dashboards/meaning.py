"""What a colour means, the same on every chart: by the pattern of a series' name.

Green is success, blue what is neither, orange the caller's or the user's doing, purple the provider's or the
database's, red ours. Classes of one meaning are its shades, so that two of them can be distinguished.
"""

from collections.abc import Iterable, Mapping
from itertools import cycle

from dashboards.panels import AMBER, BLUE, GREEN, PURPLE, RED
from service.failures import MODES, Blame

_SHADES = ("", "light-", "semi-dark-", "super-light-", "dark-")
"""Grafana's, of each of its colours; a sixth class has the first one's again."""


def shades(color: str, names: Iterable[str]) -> dict[str, str]:
    """Return a shade of the colour for each name."""
    return {name: f"{shade}{color}" for name, shade in zip(names, cycle(_SHADES), strict=False)}


def _by_color(colors: Mapping[str, str]) -> dict[str, str]:
    """Return one pattern for all names of a colour: an override in Grafana is fifteen lines."""
    patterns: dict[str, list[str]] = {}
    for name, color in colors.items():
        patterns.setdefault(color, []).append(name)
    return {"|".join(names): color for color, names in patterns.items()}


QUANTILES = {"p50( .*)?": "light-blue", "p90( .*)?": BLUE, "p9[59]( .*)?": "dark-blue"}
"""Neither good nor bad: the line of the limit says that."""
CLASSES = {"2xx": GREEN, "3xx": BLUE, "4xx": AMBER, "5xx": RED}
STATUSES = {"2..": GREEN, "3..": BLUE, "4..": AMBER, "5..": RED} | _by_color(
    shades(AMBER, ("401", "422", "409", "404", "429", "403", "400", "412", "408", "405"))
    | shades(RED, ("500", "503", "504", "502"))
)
"""The common ones by name: more particular, so later."""
BY_BLAME = {Blame.CALLER: AMBER, Blame.DEPENDENCY: PURPLE, Blame.US: RED}
CODES = _by_color(
    {
        code: shade
        for blame, color in BY_BLAME.items()
        for code, shade in shades(
            color, (code for code, mode in MODES.items() if mode.blame is blame)
        ).items()
    }
)
"""A problem's code, by whom its failure blames."""
FAULTS = {
    "user": ("invalid_grant",),
    "operator": ("invalid_client", "decrypt_failed", "lost_rotation"),
    "provider": ("provider_error", "timeout", "network", "rate_limited"),
}
"""Who has to act → the outcomes of a refresh that say so."""
WHO = {"user": AMBER, "operator": RED, "provider": PURPLE}
OUTCOMES = {"success": GREEN, "superseded": BLUE} | _by_color(
    {
        outcome: shade
        for who, outcomes in FAULTS.items()
        for outcome, shade in shades(WHO[who], outcomes).items()
    }
)
RETRIES = {
    ".* succeeded": GREEN,
    ".* retried": BLUE,
    ".* exhausted": RED,
    ".* no_budget": "light-red",
}
