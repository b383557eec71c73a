"""What is looked at from beside the containers: their images, files and memory, and the profiles."""

import json
import re
import time
from typing import Any

import httpx

from tests.compose import images
from tests.compose.engine import Unusable, await_that, run
from tests.compose.signal_check import Missing
from tests.compose.stack import DURATION_SECONDS, PROJECT, RATE, WORKERS, Stack

LOGS = "/var/lib/firedrill/logs"
VERSION = "0.1.0"


def restart_first_replica(stack: Stack) -> float:
    """Stop it by SIGTERM; returns the seconds until it had exited. Raises Missing, Unusable."""
    container = stack.container("service-1")
    started = time.monotonic()
    run("docker", "stop", "--time", "15", container)
    seconds = time.monotonic() - started
    code = stack.states()["service-1"]["ExitCode"]
    if code != 0:
        raise Missing(f"service-1 exited {code} on SIGTERM")
    run("docker", "start", container)
    return seconds


def inside(stack: Stack) -> str:
    """What the image of the service must be: small rights, nothing to build with, a closed disk."""
    script = (
        "import os, shutil, json\n"
        "try:\n open('/app/x', 'w'); writable = True\n"
        "except OSError: writable = False\n"
        "print(json.dumps([os.getuid(), [c for c in ('cc', 'gcc', 'g++', 'make')"
        " if shutil.which(c)], writable]))"
    )
    user, compilers, writable = json.loads(_python(stack, "service-1", script))
    if user == 0 or compilers or writable:
        raise Missing(f"uid {user}, found {compilers}, writable root: {writable}")
    return f"uid {user}, no compiler, read-only root"


def sizes(figures: dict[str, Any]) -> str:
    named = {
        "service": f"firedrill/service:{VERSION}",
        "load": f"firedrill/load:{VERSION}",
        "base": f"{images.PREFIX}/python:latest",
    }
    size = ("docker", "image", "inspect", "--format", "{{.Size}}")
    megabytes = {name: round(int(run(*size, image)) / 1e6) for name, image in named.items()}
    figures["image_megabytes"] = megabytes
    return (
        f"service {megabytes['service']} MB, load {megabytes['load']} MB, of which"
        f" {megabytes['base']} MB are the stand-in base"
    )


def memory(figures: dict[str, Any]) -> str:
    """What each container takes of its limit."""
    listed = run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    name = re.compile(rf"{PROJECT}[_-](\S+?)[_-]\d+ (\S+) / (\S+)")
    figures["memory"] = {
        part: {"used": used, "limit": limit} for part, used, limit in sorted(name.findall(listed))
    }
    over = [
        part
        for part, one in figures["memory"].items()
        if _mebibytes(one["used"]) >= _mebibytes(one["limit"])
    ]
    if over or not figures["memory"]:
        raise Missing(f"at their limit: {over}" if over else "no container of the project")
    return f"{len(figures['memory'])} parts, each under its limit"


def _mebibytes(text: str) -> float:
    """As Docker writes it: 37.18MiB, 1.2GiB. Raises ValueError."""
    units = {"GiB": 1024.0, "MiB": 1.0, "KiB": 1 / 1024, "B": 1 / 1024**2}
    unit = next(one for one in units if text.endswith(one))
    return float(text.removesuffix(unit)) * units[unit]


def lines_in_log(stack: Stack) -> str:
    """The file that the collector reads has the same lines as the container's own output."""
    count = _python(
        stack,
        "service-1",
        f"import json; lines = [json.loads(l) for l in open('{LOGS}/service-1.jsonl')];"
        "print(len(lines), sum('trace_id' in l for l in lines))",
    ).split()
    if int(count[1]) == 0:
        raise Missing("no line with a trace_id")
    return f"{count[0]} lines, {count[1]} with a trace_id"


def log_is_rotated(stack: Stack) -> str:
    """A file that has grown beyond its share is emptied in place. Not a .jsonl: nobody reads it."""
    file = f"{LOGS}/filler.log"
    _python(stack, "service-1", f"open('{file}', 'w').write('x' * 6_000_000)")
    look = f"import os; print(os.path.getsize('{file}'), os.path.exists('{file}.1'))"
    seconds = await_that(
        "an emptied file", lambda: _python(stack, "service-1", look).split() == ["0", "True"], 60
    )
    _python(stack, "service-1", f"import os; os.remove('{file}'); os.remove('{file}.1')")
    return f"6 MB emptied within {seconds:.0f} s"


def fault_proxy(stack: Stack) -> str:
    """Healthy; lets PostgreSQL through, and does not when it is asked to block."""
    stack.compose("up", "-d", "fault-proxy")

    def is_healthy() -> bool:
        return bool(stack.states()["fault-proxy"]["Health"]["Status"] == "healthy")

    def reaches_postgres() -> bool:
        asked = ("pg_isready", "-q", "-t", "3", "-h", "fault-proxy", "-p", "6543")
        try:
            run("docker", "exec", stack.container("postgres"), *asked, "-U", "postgres")
        except Unusable:
            return False
        return True

    seconds = await_that("a healthy fault proxy", is_healthy, 60)
    if not reaches_postgres():
        raise Missing("PostgreSQL does not answer through it")
    httpx.post(stack.url("FAULT_PROXY"), json={"mode": "blackhole"}, timeout=10).raise_for_status()
    if reaches_postgres():
        raise Missing("PostgreSQL answers through a black hole")
    return f"healthy after {seconds:.0f} s; PostgreSQL answers through it, and not when asked to block"


def load(stack: Stack) -> str:
    """A master and its workers, without the page. At least half of the answers must be good ones."""
    scale = ("--scale", f"load-worker={WORKERS}")
    stack.compose("up", "-d", *scale, "load-master", "load-worker")
    await_that(
        "the end of the load", lambda: stack.states()["load-master"]["Status"] == "exited", 180
    )
    code = str(stack.states()["load-master"]["ExitCode"])
    printed = run("docker", "logs", stack.container("load-master"))
    totals = re.findall(r"Aggregated +(\d+) +(\d+)\(", printed)
    last = printed.strip().splitlines()[-1:]
    if not totals:
        raise Missing(f"no table, exit {code}: {' '.join(last)}")
    sent, failed = map(int, totals[-1])
    if sent - failed < RATE * DURATION_SECONDS / 2:
        raise Missing(f"{sent} requests, {failed} failed, exit {code}: {' '.join(last)}")
    verdict = {"0": "every limit held", "1": "a limit is broken", "2": "no result"}.get(code, code)
    why = re.findall(r"load: no result: (.+)", printed)
    said = f"{verdict}: {why[0]}" if why else verdict
    return f"{WORKERS} workers, {sent} requests in {DURATION_SECONDS} s, {failed} failed; {said}"


def _python(stack: Stack, service: str, script: str) -> str:
    return run("docker", "exec", stack.container(service), "python", "-c", script)
