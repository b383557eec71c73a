"""The rules that follow from the service level objectives, which are [slo] of firedrill.toml.

`python -m alerting.slo` writes three files, which are committed and never edited by hand: `slo.yaml`
(recording rules) and the `rule.yaml` of `ApiErrorBudgetBurn` and `ApiLatencyBudgetBurn`. A test builds
them again and compares. `build.py` calls the same functions for another service. The usual mistake here
is to give a burn rule a `for`: it costs recall (SRE workbook, chapter 5); the short window and the minimum
count do what a `for` is meant to do. The one exception is p0: see `Tier.wait`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerting.classes import Classes, bucket, budget, matcher, with_objective
from alerting.document import write_yaml
from firedrill_kit.config import FILE, read

FOLDER = Path(__file__).parent

KEYS = "env, service, http_route"
CALLERS_OWN = "408|429"
"""What a caller brings upon itself, at any rate it likes: too slow, too hurried, too much at once. Neither
a good answer nor a bad one: it must not burn the budget, nor hide in its crowd what fails for others."""
REQUESTS = "http_server_request_duration_seconds"
ERROR_BUDGET = "service_route:http_server_error_budget:ratio"


LATENCY_BUDGET = "0.01"
"""Share of answers that may be slower than the class's threshold: 1 % leaves room for the pool's and the
provider's own tails, and a ticket, not a page, follows from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One pair of windows of a burn-rate alert.

    factor: how many times faster than allowed the budget burns before the tier fires.
    still: a third window whose ratio must exceed the plain budget, so that the tier ends soon after the
        mend (3 min of total outage: p1 gone 75 s after it instead of 5 min, p2 5 min instead of 30).
    wait: `for` of the rule. p0 fires within 10 s of a total outage, the slowest cause of one, PostgresDown,
        after 31; that head start stands here and not in Alertmanager's group_wait, where every cause
        would wait as well.
    """

    name: str
    severity: str
    long: str
    short: str
    factor: str
    guard: int
    still: str | None = None
    wait: str | None = None


# 28.8 over 15m/1m spends 1 % of the month's budget; it halves the time to detect a total outage against
# the workbook's 14.4 over 1h/5m (38.5 s against 71 s). 14.4, 6, 3 and 1 are the workbook's own.
ERROR_TIERS = (
    Tier(name="p0", severity="page", long="15m", short="1m", factor="28.8", guard=10, wait="20s"),
    Tier(name="p1", severity="page", long="1h", short="5m", factor="14.4", guard=10, still="1m"),
    Tier(name="p2", severity="page", long="6h", short="30m", factor="6", guard=20, still="5m"),
    Tier(name="t1", severity="ticket", long="1d", short="2h", factor="3", guard=20),
    Tier(name="t2", severity="ticket", long="3d", short="6h", factor="1", guard=20),
)
# Latency has no `burn_tier`: inhibition compares that label, and slow must not hide failing.
LATENCY_TIERS = (
    Tier(name="1h", severity="ticket", long="1h", short="5m", factor="14.4", guard=20),
    Tier(name="6h", severity="ticket", long="6h", short="30m", factor="6", guard=20),
    Tier(name="1d", severity="ticket", long="1d", short="2h", factor="3", guard=20),
    Tier(name="3d", severity="ticket", long="3d", short="6h", factor="1", guard=20),
)

SHORT_WINDOWS = ("1m", "5m", "15m", "30m", "1h")
LONG_WINDOWS = ("2h", "6h", "1d", "3d")
"""Computed once a minute: one rate over 3 d of 5 s samples costs 40-110 ms per ten series."""

LATENCY_WINDOWS = ("5m", "30m", "1h", *LONG_WINDOWS)
SERVICE_WINDOWS = ("2h", "6h", "1d", "3d")
"""Windows that also exist summed over routes, so that a fault too thin for any one route is seen."""

NEEDS_HISTORY = frozenset({"6h", "1d", "3d"})
WAIT_FOR_HISTORY = (
    'unless on () time() - prometheus_tsdb_lowest_timestamp_seconds{job="prometheus"} < 21600'
)
"""Until six hours are stored a window of 6 h is the last few minutes in disguise. `unless`, not `and`:
when Prometheus does not scrape itself, the rule must still fire."""

SCOPE = '{{ $labels.http_route | reReplaceAll "/api/v1/([a-z]+).*" "$1" }}'

Rule = dict[str, Any]


def recording_groups(given: Classes) -> dict[str, Any]:
    """Return the rule file of `slo.yaml`."""

    def windows(names: tuple[str, ...]) -> list[Rule]:
        return [rule for window in names for rule in _window_rules(window, given)]

    return {
        "groups": [
            {"name": "slo_budgets", "rules": _budgets(given)},
            {"name": "slo_short_windows", "rules": windows(SHORT_WINDOWS)},
            {"name": "slo_long_windows", "interval": "1m", "rules": windows(LONG_WINDOWS)},
        ]
    }


def error_budget_rules(given: Classes) -> dict[str, Any]:
    """Return the rule file of `ApiErrorBudgetBurn`: five tiers per route, two more for the service."""
    paging = any(item.pages for item in with_objective(given))
    tiers = [tier for tier in ERROR_TIERS if paging or tier.severity != "page"]
    rules = [_error_rule(tier, given) for tier in tiers]
    if with_objective(given):
        rules += [_service_error_rule(tier, given) for tier in tiers if tier.severity == "ticket"]
    return {"groups": [{"name": "ApiErrorBudgetBurn", "rules": rules}]}


def latency_budget_rules(given: Classes) -> dict[str, Any]:  # noqa: ARG001  (as the others)
    """Return the rule file of `ApiLatencyBudgetBurn`, in which the classes are labels alone."""
    rules = [_latency_rule(tier) for tier in LATENCY_TIERS]
    return {"groups": [{"name": "ApiLatencyBudgetBurn", "rules": rules}]}


def _budgets(given: Classes) -> list[Rule]:
    rules: list[Rule] = []
    for item in given:
        if item.objective is None:
            continue
        # Over 5 m, because a budget that vanishes with one failed scrape would end every alert with it.
        routes = (
            f"group by ({KEYS}) (last_over_time("
            f'{REQUESTS}_count{{job="service"{matcher(item, given)}}}[5m]))'
        )
        labels = {"slo_class": item.name}
        rules.append(
            {
                "record": ERROR_BUDGET,
                "expr": f"{routes} * {budget(item.objective)}",
                "labels": labels,
            }
        )
        if item.fast_within_seconds is not None:
            rules.append(
                {
                    "record": "service_route:http_server_latency_budget:ratio",
                    "expr": f"{routes} * {LATENCY_BUDGET}",
                    "labels": labels,
                }
            )
    return rules


def _window_rules(window: str, given: Classes) -> list[Rule]:
    errors = f"service_route:http_server_errors:increase{window}"
    requests = f"service_route:http_server_requests:increase{window}"
    rules: list[Rule] = [
        {
            "record": errors,
            "expr": f"sum by ({KEYS}) (increase("
            f'{REQUESTS}_count{{job="service",http_response_status_code=~"5.."}}[{window}]))',
        },
        {
            "record": requests,
            "expr": f"sum by ({KEYS}) (increase("
            f'{REQUESTS}_count{{job="service",http_response_status_code!~"{CALLERS_OWN}"}}[{window}]))',
        },
        {
            "record": f"service_route:http_server_errors_per_request:ratio_rate{window}",
            "expr": f"{errors} / {requests}",
        },
    ]
    if window in SERVICE_WINDOWS and with_objective(given):
        rules += _service_rules(window, given)
    if window in LATENCY_WINDOWS and any(item.fast_within_seconds is not None for item in given):
        rules += _latency_window_rules(window, given)
    return rules


def _strictest(given: Classes) -> float:
    return max(item.objective for item in given if item.objective is not None)


def _service_rules(window: str, given: Classes) -> list[Rule]:
    # Without the routes that may fail more often (of the demo: ten times, those that wait for the provider).
    lower = [item.name for item in with_objective(given) if item.objective != _strictest(given)]
    promised = f"and ignoring (slo_class) {ERROR_BUDGET}{_without(lower)}"
    errors = f"service:http_server_errors:increase{window}"
    return [
        {
            "record": errors,
            "expr": "sum by (env, service) ("
            f"service_route:http_server_errors:increase{window} {promised})",
        },
        {
            "record": f"service:http_server_errors_per_request:ratio_rate{window}",
            "expr": f"{errors} / sum by (env, service) ("
            f"service_route:http_server_requests:increase{window} {promised})",
        },
    ]


def _without(names: list[str]) -> str:
    operator = "!~" if len(names) > 1 else "!="
    return f'{{slo_class{operator}"{"|".join(names)}"}}' if names else ""


def _latency_window_rules(window: str, given: Classes) -> list[Rule]:
    """A 5xx is on neither side: a fast 503 is no good answer, and the error budget has it already."""
    answered = f"service_route:http_server_answered:increase{window}"
    slow = f"service_route:http_server_slow:increase{window}"
    fast = " or ".join(
        f"sum by ({KEYS}) (increase("
        f'{REQUESTS}_bucket{{job="service"{matcher(item, given)},'
        f'http_response_status_code!~"5..|{CALLERS_OWN}",le=~"{bucket(item.fast_within_seconds)}"}}[{window}]))'
        for item in given
        if item.fast_within_seconds is not None
    )
    return [
        {
            "record": answered,
            "expr": f"sum by ({KEYS}) (increase("
            f'{REQUESTS}_count{{job="service",http_response_status_code!~"5..|{CALLERS_OWN}"}}[{window}]))',
        },
        {"record": slow, "expr": f"{answered} - ({fast})"},
        {
            "record": f"service_route:http_server_slow_per_answer:ratio_rate{window}",
            "expr": f"{slow} / {answered}",
        },
    ]


def _error_rule(tier: Tier, given: Classes) -> Rule:
    ratio = "service_route:http_server_errors_per_request:ratio_rate"
    silent = [item.name for item in with_objective(given) if not item.pages]
    budget = ERROR_BUDGET + (_without(silent) if tier.severity == "page" else "")
    lines = [
        f"{ratio}{tier.long} > ignoring (slo_class) {tier.factor} * {budget}",
        f"and {ratio}{tier.short} > ignoring (slo_class) {tier.factor} * {budget}",
        f"and service_route:http_server_errors:increase{tier.long} >= {tier.guard}",
    ]
    if tier.still:
        lines.append(f"and {ratio}{tier.still} > ignoring (slo_class) {budget}")
    return _alert(
        "ApiErrorBudgetBurn",
        tier,
        lines,
        labels={"burn_tier": tier.name, "scope": SCOPE},
        summary="A route fails more requests than its error budget allows.",
        description="{{ $value | humanizePercentage }} of the requests to {{ $labels.http_route }} "
        f"failed over {tier.long}: its error budget burns at least {tier.factor} times too fast.",
    )


def _service_error_rule(tier: Tier, given: Classes) -> Rule:
    ratio = "service:http_server_errors_per_request:ratio_rate"
    objective = _strictest(given)
    budget = f"{float(tier.factor) * (1 - objective):.6g}"
    lines = [
        f"{ratio}{tier.long} > {budget}",
        f"and {ratio}{tier.short} > {budget}",
        f"and service:http_server_errors:increase{tier.long} >= {tier.guard}",
    ]
    return _alert(
        "ApiErrorBudgetBurn",
        tier,
        lines,
        labels={"burn_tier": tier.name, "scope": "service"},
        summary="The service fails more requests than its error budget allows, over all routes.",
        description="{{ $value | humanizePercentage }} "
        f"of all requests to routes promised {objective * 100:g} % "
        f"failed over {tier.long}: the budget burns at least {tier.factor} times too fast.",
    )


def _latency_rule(tier: Tier) -> Rule:
    ratio = "service_route:http_server_slow_per_answer:ratio_rate"
    budget = "service_route:http_server_latency_budget:ratio"
    lines = [
        f"{ratio}{tier.long} > ignoring (slo_class) {tier.factor} * {budget}",
        f"and {ratio}{tier.short} > ignoring (slo_class) {tier.factor} * {budget}",
        f"and service_route:http_server_slow:increase{tier.long} >= {tier.guard}",
    ]
    return _alert(
        "ApiLatencyBudgetBurn",
        tier,
        lines,
        labels={"burn_window": tier.name, "scope": SCOPE},
        summary="A route answers more slowly than promised.",
        description="{{ $value | humanizePercentage }} of the good answers of {{ $labels.http_route }} "
        f"took longer than promised over {tier.long}: "
        f"the latency budget burns at least {tier.factor} times too fast.",
    )


def _alert(
    name: str,
    tier: Tier,
    lines: list[str],
    *,
    labels: dict[str, str],
    summary: str,
    description: str,
) -> Rule:
    if tier.long in NEEDS_HISTORY:
        lines = [*lines, WAIT_FOR_HISTORY]
    return {
        "alert": name,
        "expr": "\n".join(lines) + "\n",
        **({"for": tier.wait} if tier.wait else {}),
        "labels": {"severity": tier.severity, "kind": "symptom", "domain": "http", **labels},
        "annotations": {"summary": summary, "description": description},
    }


FILES = {
    "slo.yaml": recording_groups,
    "alerts/api_error_budget_burn/rule.yaml": error_budget_rules,
    "alerts/api_latency_budget_burn/rule.yaml": latency_budget_rules,
}


WRITTEN = "Written by `python -m alerting.slo` from the table in slo.py: do not edit."


def write(folder: Path = FOLDER) -> None:
    """Write the demo's three files below the folder, which must exist with its alert folders."""
    classes = read(FOLDER.parent / FILE).slo_classes
    for name, document in FILES.items():
        write_yaml(folder / name, document(classes), comment=WRITTEN)


if __name__ == "__main__":
    write()
    sys.stdout.write("".join(f"wrote alerting/{name}\n" for name in FILES))
