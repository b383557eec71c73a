"""The series of a service that has nothing but what the kit measures, as promtool's tests write them.

Four workers on four ports, twelve requests a second over six routes, a synchronous engine with a pool of
15 in each worker. Series are born with their first fact, as the kit's are; nothing is born bad.
"""

from collections.abc import Iterator, Mapping
from typing import Any

SCRAPE_SECONDS = 5
WORKERS = tuple(f"127.0.0.1:{port}" for port in range(9464, 9468))
POOL_CONNECTIONS = 15
WITHIN = {"0.25": 1.0, "5.0": 1.0, "+Inf": 1.0}
REPORTS_WITHIN = {"0.25": 0.0, "5.0": 1.0, "+Inf": 1.0}

# (method, route, status) → requests of a worker in each scrape interval.
TRAFFIC: Mapping[tuple[str, str, str], float] = {
    ("GET", "/items/", "200"): 6,
    ("POST", "/items/", "201"): 3,
    ("POST", "/items/", "422"): 0.25,
    ("GET", "/users/me", "200"): 4,
    ("GET", "/users/me", "401"): 0.5,
    ("POST", "/login/access-token", "200"): 0.5,
    ("POST", "/login/access-token", "429"): 0.5,
    ("GET", "/reports/{report_id}", "200"): 0.25,
    ("GET", "/health", "200"): 1,
    ("GET", "__unmatched__", "404"): 0.25,
}


def healthy(scrapes: int) -> list[dict[str, str]]:
    """Return the input series of that many scrapes, 5 s apart."""
    series = [*_of_the_stack(scrapes)]
    for worker in WORKERS:
        series += _of_a_worker(worker, scrapes)
    return series


def exhausted(scrapes: int, *, since: int) -> list[dict[str, str]]:
    """Return the same service whose pools are all held from the scrape `since` on.

    Some of what it is asked is refused with a 503, of which there was none before.
    """
    series = [
        item for item in healthy(scrapes) if "db_client_connection_count" not in item["series"]
    ]
    for worker in WORKERS:
        route = {"http_route": "/items/"}
        failed = {**route, "http_request_method": "GET", "http_response_status_code": "503"}
        born = f"_x{since - 1} {{}}x{scrapes - since}"
        series += [
            _worker("app_failures_total", worker, born.format("3+3"),
                    **route, code="db_pool_exhausted"),
            _worker("http_server_request_duration_seconds_count", worker, born.format("3+3"), **failed),
            _worker("db_client_connection_timeouts_total", worker, born.format("3+3"), **_POOL),
            *_pool(worker, f"2x{since - 1} {POOL_CONNECTIONS}x{scrapes - since}"),
        ]  # fmt: skip
    return series


_POOL = {"db_client_connection_pool_name": "app"}


def _worker(name: str, instance: str, values: str, **labels: str) -> dict[str, str]:
    return _series(name, values, job="service", service="shop", instance=instance, **labels)


def _series(name: str, values: str, **labels: str) -> dict[str, str]:
    text = ",".join(f'{key}="{value}"' for key, value in {"env": "local", **labels}.items())
    return {"series": f"{name}{{{text}}}", "values": values}


def _pool(worker: str, used: str) -> Iterator[dict[str, str]]:
    state = {**_POOL, "db_client_connection_state": "used"}
    yield _worker("db_client_connection_count", worker, used, **state)


def _of_a_worker(worker: str, scrapes: int) -> Iterator[dict[str, str]]:
    def steady(value: float) -> str:
        return f"{value:g}x{scrapes}"

    def growing(step: float) -> str:
        return f"0+{step:g}x{scrapes}"

    # The second worker is recycled once, as gunicorn's --max-requests does; a scrape fails meanwhile.
    half = scrapes // 2
    recycled = worker == WORKERS[1]
    yield _worker("up", worker, f"1x{half} 0 1x{half}" if recycled else steady(1))
    started = f"-600x{half} _ {half * SCRAPE_SECONDS}x{half}" if recycled else steady(-600)
    yield _worker("process_start_time_seconds", worker, started)
    yield _worker("scrape_samples_post_metric_relabeling", worker, steady(900))
    for (method, route, status), step in TRAFFIC.items():
        labels = {
            "http_request_method": method,
            "http_route": route,
            "http_response_status_code": status,
        }
        count = f"0+{step:g}x{half} _ 0+{step:g}x{half}" if recycled else growing(step)
        yield _worker("http_server_request_duration_seconds_count", worker, count, **labels)
        shares = REPORTS_WITHIN if route.startswith("/reports") else WITHIN
        for le, share in shares.items():
            values = count.replace(f"+{step:g}x", f"+{step * share:g}x")
            yield _worker(
                "http_server_request_duration_seconds_bucket", worker, values, **labels, le=le
            )
    yield _worker(
        "app_failures_total", worker, growing(0.25), code="validation_failed", http_route="/items/"
    )
    yield _worker("event_loop_lag_seconds_sum", worker, growing(0.02))
    yield from _pool(worker, f"{'2 5 3 ' * (scrapes // 3 + 1)}".strip())
    yield _worker("db_client_connection_max", worker, steady(POOL_CONNECTIONS), **_POOL)
    for route in ("/items/", "/users/me", "/reports/{report_id}"):
        held = {**_POOL, "http_route": route}
        yield _worker("db_client_connection_held", worker, steady(2), **held)
        yield _worker("db_client_connection_oldest_checkout_seconds", worker, steady(0.1), **held)
    yield _worker("telemetry_spans_total", worker, growing(80), result="exported")
    yield _worker("telemetry_queue_spans", worker, steady(40))
    yield _worker("telemetry_queue_capacity_spans", worker, steady(8192))
    yield _worker("log_records_total", worker, growing(15), result="written", level="info")


def _of_the_stack(scrapes: int) -> Iterator[dict[str, str]]:
    def monitoring(name: str, job: str, values: str, **labels: str) -> dict[str, str]:
        return _series(name, values, job=job, service="monitoring", instance=f"{job}:1", **labels)

    for job in ("prometheus", "alertmanager", "pager", "viewer", "canary"):
        yield monitoring("up", job, f"1x{scrapes}")
    for signal in ("traces", "logs", "metrics"):
        beat = f"0+{SCRAPE_SECONDS}x{scrapes}"
        name = "telemetry_canary_last_success_timestamp_seconds"
        yield monitoring(name, "canary", beat, signal=signal)
    for name in ("rule_evaluation_failures_total", "notifications_errors_total"):
        yield monitoring(f"prometheus_{name}", "prometheus", f"0x{scrapes}")
    # Stored for longer than any window: the rules of the long windows are awake.
    yield monitoring(
        "prometheus_tsdb_lowest_timestamp_seconds", "prometheus", f"-999999x{scrapes}"
    )
    failed = "alertmanager_notification_requests_failed_total"
    yield monitoring(failed, "alertmanager", f"0x{scrapes}", integration="webhook")


def document(
    rule_files: list[str],
    series: list[dict[str, str]],
    expected: Mapping[tuple[str, str], list[Any]],
) -> dict[str, Any]:
    """Return a rule test: (expression, time such as `20m`) → the samples that there are to be."""
    return {
        "rule_files": rule_files,
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": f"{SCRAPE_SECONDS}s",
                "input_series": series,
                "promql_expr_test": [
                    {"expr": expression, "eval_time": time, "exp_samples": samples}
                    for (expression, time), samples in expected.items()
                ],
            }
        ],
    }
