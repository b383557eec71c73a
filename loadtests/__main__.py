"""`python -m loadtests SCENARIO [--host URL] [--rate 40] [--duration S] [--seed 1] [--workers 1] [--web]`

Without --host it loads the stack of this checkout, all replicas of it. Exit codes: 0 every limit held,
1 one is broken (each is printed with its figure), 2 could not run, or the generator was late and the result
is void, 130 interrupted, and mended.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from loadtests.scenarios import ALL, SCENARIOS
from loadtests.traffic import launch
from loadtests.traffic.callers import sign_in
from loadtests.traffic.demo_callers import older_tokens
from loadtests.traffic.launch import RATE, Target
from loadtests.world.command import run
from loadtests.world.description import SERVED
from loadtests.world.stage import Stage
from stack.command_line import Parser, above_zero, whole
from stack.lifecycle import settings_of_running
from stack.serving import free_port
from stack.settings import Settings, read_settings
from stack.state import read_state

WEB_PORT = 8089
UP_HINT = "`make up` starts it, HOST=http://... names another"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="load", description="Open-loop load, with limits that set the exit code.")
    names = "\n".join(f"  {name:16} {one.what}" for name, one in SCENARIOS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"scenarios:\n{names}"
    parser.add_argument("scenario", metavar="SCENARIO", help="see below")
    parser.add_argument("--host", metavar="URL", help="of the API (the stack of this checkout)")
    parser.add_argument("--rate", type=above_zero, help=f"requests/s ({_usual_rate():g})")
    parser.add_argument("--duration", type=above_zero, help="seconds (the scenario's own)")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (1)")
    parser.add_argument("--workers", type=whole(1, 64), default=1, help="processes that send (1)")
    parser.add_argument("--web", action="store_true", help="open Locust's web page instead")
    options = parser.parse_args(arguments)
    if options.scenario not in SCENARIOS and options.scenario in ALL:
        parser.error(
            f"{options.scenario} needs what the demo alone has; with SERVICE: {', '.join(SCENARIOS)}"
        )
    if options.scenario not in SCENARIOS:
        parser.error(f"no scenario is called {options.scenario!r}: {', '.join(SCENARIOS)}")
    if options.host and not _is_url(options.host):
        parser.error(f"HOST={options.host}: a URL is needed, as http://127.0.0.1:8000")
    return options


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number, or too large
        return False


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    SERVED.check_load()
    settings = read_settings(os.environ)
    settings = settings_of_running(settings, read_state(settings))
    hosts = [options.host.rstrip("/")] if options.host else settings.service_urls_for_others
    if not _answers(hosts[0]):
        hint = "is it up?" if options.host or not settings.service.is_started else UP_HINT
        print(f"load: nothing answers at {hosts[0]}: {hint}", file=sys.stderr)
        return 2
    with _target(hosts, settings, options.scenario, is_local=options.host is None) as target:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")  # noqa: DTZ005 - for people
        reports = settings.local / "reports" / f"{options.scenario}-{stamp}"
        reports.parent.mkdir(parents=True, exist_ok=True)
        words = launch.command(
            options.scenario,
            target,
            rate=options.rate or _usual_rate(),
            seconds=options.duration,
            seed=options.seed,
            processes=options.workers,
            reports=reports,
            web_port=WEB_PORT if options.web else None,
        )
        code = launch.run(words, target, record=reports.with_suffix(".json"))
        if not options.web and code != 130:
            print(f"reports: {reports}.html and .json")
        return code


def _usual_rate() -> float:
    """Requests a second where no --rate is given."""
    return RATE if SERVED.is_demo else sum(SERVED.steady_mix.values())


def _answers(host: str) -> bool:
    try:
        httpx.get(f"{host}/problems/not_found", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


@contextlib.contextmanager
def _target(
    hosts: Sequence[str], settings: Settings, scenario: str, *, is_local: bool
) -> Iterator[Target]:
    """What is known of the system. While it lasts, Prometheus here shows the phases."""
    with tempfile.TemporaryDirectory(prefix="loadtest-") as directory:
        target = Target(hosts)
        if not SERVED.is_demo:
            target = replace(target, accounts_file=_accounts_file(Path(directory), hosts[0]))
            if is_local and any(one.breaks for one in SCENARIOS[scenario].at(1, None)):
                target = replace(target, owner_dsn=SERVED.admin_dsn)
        elif is_local:
            target = _of_demo(target, settings, Path(directory))
        if not is_local:
            yield target
            return
        internal = [f"http://{address}" for address in settings.service_targets]
        with _scraped(settings) as metrics_port:
            yield replace(target, internal_urls=internal, metrics_port=metrics_port)


def _accounts_file(directory: Path, host: str) -> str:
    """Signed in once, for all generators."""
    file = directory / "accounts.json"
    file.write_text(json.dumps(asyncio.run(sign_in(SERVED, api_url=host))))
    return str(file)


def _of_demo(target: Target, settings: Settings, directory: Path) -> Target:
    stage = Stage(settings, os.environ)
    tokens = directory / "tokens.json"
    tokens.write_text(json.dumps(asyncio.run(older_tokens(stage))))
    return replace(
        target,
        # Past a proxy before the service, as the report of it is read.
        hosts=[
            f"http://127.0.0.1:{settings.ports['service'] + number}"
            for number in range(read_state(settings).replicas)
        ],
        provider_url=settings.url("provider"),
        owner_dsn=stage.dsn("owner"),
        tokens_file=str(tokens),
    )


@contextlib.contextmanager
def _scraped(settings: Settings) -> Iterator[int]:
    """Let Prometheus scrape a port of the load test; gives the port, 0 where there is no Prometheus."""
    targets = settings.prometheus / "targets" / "load.json"
    if not targets.parent.is_dir():
        yield 0
        return
    metrics_port = free_port()
    labels = {"job": "loadtest", "service": "loadtest", "env": settings.service.environment}
    group = {"targets": [f"127.0.0.1:{metrics_port}"], "labels": labels}
    targets.write_text(json.dumps([group]) + "\n")
    try:
        yield metrics_port
    finally:
        targets.unlink(missing_ok=True)


if __name__ == "__main__":
    run("load", lambda: main(sys.argv[1:]))
