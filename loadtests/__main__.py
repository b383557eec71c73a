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
from datetime import datetime
from pathlib import Path

import asyncpg
import httpx

from loadtests.scenarios import SCENARIOS
from loadtests.traffic import launch
from loadtests.traffic.callers import older_tokens
from loadtests.traffic.launch import RATE, Target, above_zero
from loadtests.world.stage import Stage
from stack.command_line import Parser
from stack.credentials import CredentialsError
from stack.serving import free_port
from stack.settings import Settings, SettingsError, read_settings
from stack.state import read_state

WEB_PORT = 8089


def whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 64")
    return int(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="load", description="Open-loop load, with limits that set the exit code.")
    names = "\n".join(f"  {name:16} {one.what}" for name, one in SCENARIOS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"scenarios:\n{names}"
    parser.add_argument("scenario", metavar="SCENARIO", help="see below")
    parser.add_argument("--host", metavar="URL", help="of the API (the stack of this checkout)")
    parser.add_argument("--rate", type=above_zero, default=RATE, help=f"requests/s ({RATE:g})")
    parser.add_argument("--duration", type=above_zero, help="seconds (the scenario's own)")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (1)")
    parser.add_argument("--workers", type=whole, default=1, help="processes that send (1)")
    parser.add_argument("--web", action="store_true", help="open Locust's web page instead")
    given = parser.parse_args(arguments)
    if given.scenario not in SCENARIOS:
        parser.error(f"no scenario is called {given.scenario!r}: {', '.join(SCENARIOS)}")
    if given.host and not given.host.startswith(("http://", "https://")):
        parser.error(f"HOST={given.host}: a URL is needed, as http://127.0.0.1:8000")
    return given


def main(arguments: Sequence[str]) -> int:
    given = parse(arguments)
    settings = read_settings(os.environ)
    host = (given.host or settings.url("service")).rstrip("/")
    if not _answers(host):
        hint = "is it up?" if given.host else "`make up` starts it, HOST=http://... names another"
        print(f"load: nothing answers at {host}: {hint}", file=sys.stderr)
        return 2
    with _target(host, settings, is_local=given.host is None) as target:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")  # noqa: DTZ005 - for people
        reports = settings.local / "reports" / f"{given.scenario}-{stamp}"
        reports.parent.mkdir(parents=True, exist_ok=True)
        words = launch.command(
            given.scenario,
            target,
            rate=given.rate,
            seconds=given.duration,
            seed=given.seed,
            processes=given.workers,
            reports=reports,
            web_port=WEB_PORT if given.web else None,
        )
        code = launch.run(words, target, record=reports.with_suffix(".json"))
        if not given.web and code != 130:
            print(f"reports: {reports}.html and .json")
        return code


def _answers(host: str) -> bool:
    try:
        httpx.get(f"{host}/problems/not_found", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


@contextlib.contextmanager
def _target(host: str, settings: Settings, *, is_local: bool) -> Iterator[Target]:
    """What is known of the system. While it lasts, Prometheus here shows the phases."""
    if not is_local:
        yield Target([host])
        return
    replicas = range(read_state(settings).replicas)
    port, internal = settings.ports["service"], settings.ports["service_internal"]
    targets = settings.prometheus / "targets" / "load.json"
    stage = Stage(settings, os.environ)
    with tempfile.TemporaryDirectory(prefix="loadtest-") as directory:
        tokens = Path(directory) / "tokens.json"
        tokens.write_text(json.dumps(asyncio.run(older_tokens(stage))))
        metrics_port = free_port()
        labels = {"job": "loadtest", "service": "loadtest", "env": "local"}
        group = {"targets": [f"127.0.0.1:{metrics_port}"], "labels": labels}
        targets.write_text(json.dumps([group]) + "\n")
        try:
            yield Target(
                [f"http://127.0.0.1:{port + number}" for number in replicas],
                [f"http://127.0.0.1:{internal + number}" for number in replicas],
                settings.url("provider"),
                stage.dsn("owner"),
                str(tokens),
                metrics_port,
            )
        finally:
            targets.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (SettingsError, CredentialsError, asyncpg.PostgresError, OSError) as error:
        print(f"load: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
