"""A stack that is up, seen from outside."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import httpx
import orjson
import psutil
import pytest

from firedrill_kit.config import FILE, read
from stack.programs import CACHE, CACHE_EXPORTER, COLLECTOR, find_programs
from stack.settings import ROOT
from stack.tables import WIDTH
from stack.waiting import until
from tests.stack.conftest import Stack

Query = Callable[[str], list[tuple[dict[str, str], float]]]
HAS_COLLECTOR = COLLECTOR in find_programs()
HAS_CACHE = {CACHE, CACHE_EXPORTER} <= find_programs().keys()
PARTS = [
    "service-1",
    *(["collector"] if HAS_COLLECTOR else []),
    "viewer",
    "prometheus",
    "alertmanager",
    "pager",
    "second-channel",
    "provider",
    "postgres",
    "postgres-exporter",
    *(["cache", "cache-exporter"] if HAS_CACHE else []),
    "prober",
]


def test_up_prints_each_part_with_its_address_in_the_width_of_a_terminal(stack: Stack) -> None:
    table = stack.printed.split("\n\n")[1].splitlines()

    assert [line.split()[0] for line in table[2:]] == PARTS
    assert all(re.search(r"127\.0\.0\.1:\d+", line) for line in table[2:])
    assert max(map(len, stack.printed.splitlines())) <= WIDTH


def test_a_second_up_changes_nothing_and_prints_the_table(stack: Stack) -> None:
    before = stack.pids

    printed = stack.up()

    assert stack.pids == before
    assert printed.strip() == stack.printed[stack.printed.index("\n\npart") :].strip()


def test_up_with_another_port_says_to_take_it_down_first(stack: Stack) -> None:
    other = Stack(stack.local, stack.ports | {"viewer": stack.ports["viewer"] + 1})

    done = other.run("up")

    assert done.returncode == 1
    assert "VIEWER_PORT: the running stack has" in done.stderr
    assert "make down" in done.stderr


def test_nothing_listens_on_anything_but_loopback(stack: Stack) -> None:
    addresses = {
        connection.laddr.ip
        for process in stack.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert addresses == {"127.0.0.1"}


def test_status_shows_every_part_and_what_memory_they_take(stack: Stack) -> None:
    done = stack.run("status")

    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == [*PARTS, "log-rotation"]
    assert all(" ready " in line for line in lines[2:-2])
    total = re.fullmatch(r"resident memory in all: (\d+) MB", lines[-1])
    assert total is not None
    assert 0 < int(total[1]) <= 800


def healthy(stack: Stack) -> list[str]:
    """What doctor says of a healthy chain; the first alert is a while on its way after a start."""

    def said() -> list[str]:
        done = stack.run("doctor")
        return done.stdout.splitlines() if done.returncode == 0 else []

    return until(said, "a healthy chain")


def test_doctor_finds_every_hop_alive(stack: Stack) -> None:
    hops = ["service", "trace receiver", "prometheus", "rules", "alertmanager", "pager"]
    if HAS_COLLECTOR:
        hops.insert(1, "collector")
    if HAS_CACHE:
        hops.insert(1, "cache")

    assert healthy(stack) == [f"ok    {hop}" for hop in hops]


def test_a_dead_part_is_named_and_up_restarts_only_that_part(stack: Stack) -> None:
    healthy(stack)
    before = stack.pids
    psutil.Process(before["pager"]).kill()

    doctor, status = stack.run("doctor"), stack.run("status")
    restarted = stack.up()

    assert doctor.returncode == 1
    assert [line.split()[:2] for line in doctor.stdout.splitlines() if "ok" not in line[:2]] == [
        ["DEAD", "pager"]
    ]
    assert status.returncode == 1
    assert re.search(r"pager +- .* down ", status.stdout)
    assert re.findall(r"^  (\S+) +ready after", restarted, re.MULTILINE) == ["pager"]
    after = stack.pids
    assert after.pop("pager") != before.pop("pager")
    assert after == before


def test_every_target_is_scraped(stack: Stack, query: Query) -> None:
    jobs = {
        "service",
        "prober",
        "canary",
        "postgres",
        "provider",
        "prometheus",
        "alertmanager",
        "pager",
        "viewer",
    }
    jobs |= ({"collector"} if HAS_COLLECTOR else set()) | ({"cache"} if HAS_CACHE else set())

    def all_up() -> bool:
        return {labels["job"] for labels, value in query("up") if value == 1} == jobs

    assert until(all_up, "every job up")
    assert all({"env", "service"} <= labels.keys() for labels, _ in query("up"))


def test_every_probed_route_answers_the_prober(stack: Stack, query: Query) -> None:
    routes = {name.partition(" ")[2] for name in read(ROOT / FILE).probes}

    def answered() -> bool:
        ok = query('probe_requests_total{result="ok"} > 0')
        return {labels["http_route"] for labels, _ in ok} == routes

    assert until(answered, "a good answer on each probed route")
    assert len(query("probe_requests_total")) == 4 * len(routes)


def test_the_canary_reads_all_three_signals_back(stack: Stack, query: Query) -> None:
    metric = "telemetry_canary_last_success_timestamp_seconds"
    beat = "max(telemetry_canary_beat_timestamp_seconds)"
    written = until(lambda: query(beat), "the first scrape of the canary")[0][1]

    def came_back() -> set[str]:
        return {labels["signal"] for labels, value in query(metric) if value >= written}

    assert until(lambda: came_back() == {"span", "log", "metric"}, "span, log and metric")


def test_both_token_formats_open_the_api_and_half_of_the_users_have_a_grant(stack: Stack) -> None:
    def sync(user: str, *, legacy: bool) -> httpx.Response:
        headers = {"Authorization": f"Bearer {stack.token(user, legacy=legacy)}"}
        url = stack.url("service", "/api/v1/calendar/sync/auto")
        return httpx.post(url, headers=headers, timeout=20)

    with_grant = sync("user05@example.com", legacy=True)
    without_grant = sync("user06@example.com", legacy=False)

    assert with_grant.status_code == 200
    assert (without_grant.status_code, without_grant.json()["code"]) == (
        409,
        "calendar_not_connected",
    )


def test_a_token_for_nobody_is_one_line_and_exit_2(stack: Stack) -> None:
    done = stack.run("token", "--user", "nobody@example.com")

    assert (done.returncode, done.stdout) == (2, "")
    assert "user01@example.com to user50@example.com exist" in done.stderr


def test_seeding_again_adds_nobody(stack: Stack) -> None:
    done = stack.run("seed")

    assert done.stdout == "50 demo users and the prober, 0 of them new; 26 have a calendar grant\n"


def test_one_request_is_found_in_metric_log_and_trace_by_its_id(
    stack: Stack, api: httpx.Client, query: Query
) -> None:
    answer = api.put("/api/v1/profile", json={"display_name": 7})

    problem = answer.json()
    trace_id = problem["trace_id"]
    assert answer.status_code == 422
    trace = until(lambda: trace_of(stack, trace_id), "the trace and its line")
    server = [span for span in trace["spans"] if span["kind"] == "SERVER"]
    assert [span["attributes"]["http.route"] for span in server] == ["/api/v1/profile"]
    assert server[0]["attributes"]["firedrill.failure.code"] == problem["code"]
    lines = [line for line in trace["logs"] if line["event"] == "request_finished"]
    assert [line["firedrill.request_id"] for line in lines] == [problem["request_id"]]
    assert lines[0]["firedrill.failure.code"] == problem["code"]
    metrics = httpx.get(
        stack.url("service_internal", "/metrics"),
        headers={"Accept": "application/openmetrics-text"},
    ).text
    assert f'trace_id="{trace_id}"' in metrics
    labels = f'code="{problem["code"]}",http_route="/api/v1/profile"'
    assert until(lambda: query(f"app_failures_total{{{labels}}} > 0"), "the failure counted")


def test_200_requests_at_concurrency_20_are_200_in_each_signal(stack: Stack) -> None:
    # Of several accounts, so that each stays within its share of the places.
    accounts = [f"user{number:02}@example.com" for number in range(11, 21, 2)]
    headers = [{"Authorization": f"Bearer {stack.token(account)}"} for account in accounts]
    # A route that the prober does not use, so that all that is counted is ours.
    route, run = "/api/v1/calendar/connection", "two-hundred"
    series = re.compile(
        rf'request_duration_seconds_count\{{[^}}]*http_route="{route}"[^}}]*\}} (\S+)'
    )

    def counted() -> float:
        text = httpx.get(stack.url("service_internal", "/metrics")).text
        return sum(float(count) for count in series.findall(text))

    before = counted()

    with (
        httpx.Client(base_url=stack.url("service"), timeout=20) as client,
        contextlib.ExitStack() as pools,
    ):

        def ask(account: Mapping[str, str]) -> int:
            return client.get(route, headers={"X-Load-Run": run, **account}).status_code

        each = len(headers)
        answers = [
            pools.enter_context(ThreadPoolExecutor(20 // each)).map(ask, [account] * (200 // each))
            for account in headers
        ]
        statuses = Counter(chain.from_iterable(answers))

    # On a machine that is busy otherwise some may run out of time: they count like the others.
    assert statuses.keys() <= {200, 503, 504}
    assert until(lambda: counted() - before == 200, "200 more in the histogram")

    def lines() -> list[str]:
        log = (stack.local / "logs" / "service-1.jsonl").read_bytes().splitlines()
        found = [orjson.loads(line) for line in log if run.encode() in line]
        return [line["trace_id"] for line in found if line["event"] == "request_finished"]

    assert until(lambda: len(lines()) >= 200, "200 log lines")
    trace_ids = set(lines())
    assert len(trace_ids) == 200
    kinds = Counter(
        span["kind"]
        for trace_id in trace_ids
        for span in until(partial(trace_of, stack, trace_id), trace_id)["spans"]
    )
    assert kinds["SERVER"] == 200


def trace_of(stack: Stack, trace_id: str) -> Any:
    """A trace once its SERVER span and a log line have arrived."""
    answer = httpx.get(stack.url("viewer", f"/api/traces/{trace_id}"))
    if answer.status_code == 404:
        return None
    trace = answer.raise_for_status().json()
    has_server = any(span["kind"] == "SERVER" for span in trace["spans"])
    return trace if has_server and trace["logs"] else None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/traces/0123456789abcdef0123456789abcdef", 404),
        ("/api/traces/0123456789ABCDEF0123456789ABCDEF", 400),
        ("/api/traces/" + "0" * 32, 400),
        ("/api/traces/1", 400),
        ("/api/traces?limit=0", 400),
        ("/api/traces?limit=9" + "9" * 5000, 400),
    ],
)
def test_the_viewer_answers_what_it_does_not_have_in_json(
    stack: Stack, path: str, status: int
) -> None:
    answer = httpx.get(stack.url("viewer", path))

    assert answer.status_code == status
    assert answer.json()["error"]


def test_down_stops_all_of_ours_and_the_data_survives(stack: Stack, api: httpx.Client) -> None:
    changed = api.put("/api/v1/profile", json={"display_name": "Survivor"})
    assert changed.status_code == 200, changed.text

    down = stack.run("down")

    assert down.returncode == 0
    assert stack.processes() == []
    stack.up()
    assert api.get("/api/v1/profile").json()["display_name"] == "Survivor"
