"""Three hours of a quiet past, written into Prometheus' data directory before it starts.

Without it the long windows hold the minutes since the start, or the drill before, and detection looks
better than it is. The live counters begin at 0 after it, as after a restart, which `increase` expects.
"""

import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from loadtests.world.description import DEMO
from loadtests.world.stage import StageError
from stack.programs import require_programs
from stack.settings import Settings

HOURS = 3.0
STEP_SECONDS = 15
_BUCKETS = {"0.25": 0.998, "5.0": 0.999, "+Inf": 1.0}
"""The buckets that the latency objectives look at, and the share of the requests in each."""


def back_fill(settings: Settings, rates: Mapping[str, float], *, seed: int) -> int:
    """Write blocks that end now; returns the number of samples. rates: requests a second by route.

    Raises StageError.
    """
    data = settings.prometheus / "data"
    data.mkdir(parents=True, exist_ok=True)
    source = settings.prometheus / "history.txt"
    lines = list(_open_metrics(settings, rates, end=time.time(), seed=seed))
    source.write_text("\n".join(lines) + "\n")
    promtool = [require_programs()["promtool"], "tsdb", "create-blocks-from", "openmetrics"]
    done = subprocess.run(
        [*promtool, str(source), str(data)], check=False, capture_output=True, text=True
    )
    source.unlink()
    if done.returncode:
        raise StageError(
            f"promtool takes no history: {done.stderr.strip() or done.stdout.strip()}"
        )
    return sum(not line.startswith("#") for line in lines)


def _open_metrics(
    settings: Settings, rates: Mapping[str, float], *, end: float, seed: int
) -> Iterator[str]:
    """The text, a family after the other; `_count` and `_bucket` by themselves are gauges to it."""
    service = settings.service
    target = (
        f'job="service",service="{service.name}",env="{service.environment}",'
        f'instance="127.0.0.1:{settings.ports["service_internal"]}"'
    )
    durations = "http_server_request_duration_seconds"
    counts, buckets = [], []
    of_clients: defaultdict[tuple[str, str], float] = defaultdict(float)
    for route, rate in rates.items():
        method, _, template = route.partition(" ")
        if template.startswith("/api/v1/") and "/auth/" not in template:
            of_clients[method, template] += rate
        labels = f'{target},http_request_method="{method}",http_route="{template}"'
        served = f'{labels},http_response_status_code="200"'
        # Count and buckets of a route out of the same numbers, so that no share of them is chance.
        same = f"{seed} {route}"
        counts.append(_series(f"{durations}_count", served, rate, end, same))
        buckets += [
            _series(f"{durations}_bucket", f'{served},le="{le}"', rate, end, same, share=share)
            for le, share in _BUCKETS.items()
        ]
    for name, family in ((f"{durations}_count", counts), (f"{durations}_bucket", buckets)):
        yield f"# TYPE {name} gauge"
        for series in family:
            yield from series
    yield "# TYPE api_client_requests counter"
    for (method, template), rate in of_clients.items():
        for version in DEMO.versions:
            labels = (
                f'{target},http_route="{template}",client_version="{version}",'
                f'http_request_method="{method}",http_response_status_code="200"'
            )
            yield from _series(
                "api_client_requests_total",
                labels,
                rate / len(DEMO.versions),
                end,
                f"{seed} {labels}",
            )
    # A third of the callers still have the older format; the browser's session is left out.
    authenticated = sum(of_clients.values())
    yield "# TYPE auth_tokens_accepted counter"
    for token_format, share in (("enhanced", 2 / 3), ("legacy", 1 / 3)):
        labels = f'{target},token_format="{token_format}"'
        yield from _series(
            "auth_tokens_accepted_total", labels, authenticated * share, end, f"{seed} {labels}"
        )
    yield "# TYPE oauth_refresh counter"
    refreshed = f'{target},provider="google",outcome="success"'
    yield from _series("oauth_refresh_total", refreshed, 0.4, end, str(seed))
    yield "# EOF"


def _series(
    name: str, labels: str, rate: float, end: float, seed: str, *, share: float = 1.0
) -> Iterator[str]:
    """A counter that grew by `rate` a second, give or take what a Poisson process does.

    share: of those requests, the ones that are counted here.
    """
    chance = random.Random(seed)  # noqa: S311 - of the load, not of a secret
    value = 0.0
    for step in range(int(HOURS * 3600 / STEP_SECONDS), 0, -1):
        mean = rate * STEP_SECONDS
        value += max(0, round(chance.gauss(mean, mean**0.5)))
        yield f"{name}{{{labels}}} {value * share:.0f} {end - step * STEP_SECONDS:.0f}"
