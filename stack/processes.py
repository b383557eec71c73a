"""Processes that outlive us: started detached, recognised again later, stopped for good.

A process is known by its pid and the time it was started, so a pid that the kernel has given to
another program since is never taken for ours, and never signalled.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_SECONDS = 10.0
"""From the polite signal to SIGKILL: twice what the service takes for requests in flight."""


@dataclass(frozen=True)
class Running:
    """A process we started. identity: see identity_of. started_at: seconds since the epoch."""

    name: str
    pid: int
    identity: str
    started_at: float
    stop_signal: int
    log: str


def identity_of(pid: int) -> str | None:
    """What tells this process from any other that had or will have its pid; None if it is gone.

    A zombie is gone: nobody may ever reap it when pid 1 of a container is not an init.
    """
    try:
        # Boot and clock ticks since then: unlike a wall clock time it cannot be adjusted.
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The program's name may hold spaces and brackets, so count from its last bracket.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _identity_without_proc(pid)
    return None if state in "ZX" else f"{boot}/{rest[18]}"


def _identity_without_proc(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return None if gone else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def is_alive(running: Running) -> bool:
    return identity_of(running.pid) == running.identity


def running_as(
    name: str, pid: int, *, stop_signal: signal.Signals = signal.SIGTERM, log: str = ""
) -> Running:
    """A process that runs now. Raises psutil.NoSuchProcess."""
    started_at = psutil.Process(pid).create_time()
    return Running(name, pid, identity_of(pid) or "", started_at, int(stop_signal), log)


def start(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    directory: Path,
    user: str | None,
    stop_signal: signal.Signals,
) -> tuple[Running, subprocess.Popen[bytes]]:
    """Start a program that keeps running when we exit; both its outputs are appended to `log`.

    Appending is what lets the rotation truncate the file under it. Raises OSError.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            user=user,
            # Its own session: Ctrl-C at the terminal is for us, and we stop it in order.
            start_new_session=True,
        )
    running = Running(
        name=name,
        pid=process.pid,
        identity=identity_of(process.pid) or "",
        started_at=time.time(),
        stop_signal=int(stop_signal),
        log=str(log),
    )
    return running, process


def stop(running: Iterable[Running], *, patience_seconds: float = STOP_SECONDS) -> None:
    """Stop processes one after the other, politely first. Those that are gone are left alone."""
    for process in running:
        _stop_one(process, patience_seconds)


def _stop_one(process: Running, patience_seconds: float) -> None:
    if not is_alive(process):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, process.stop_signal)
        os.kill(process.pid, signal.SIGCONT)  # a frozen process would not hear the first signal
    if _gone_within(process, patience_seconds):
        return
    with contextlib.suppress(ProcessLookupError):
        # Its session is its group: SIGKILL reaches the children it can no longer stop itself.
        os.killpg(process.pid, signal.SIGKILL)
    _gone_within(process, patience_seconds)


def _gone_within(process: Running, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        _reap(process.pid)
        time.sleep(0.02)
    return True


def _reap(pid: int) -> None:
    """Collect our child; a process of an earlier run is not, and needs nothing."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def memory_bytes(running: Running) -> int:
    """Resident memory of a process and its children; a page shared by n processes counts 1/n.

    Plain resident memory where the platform has no proportional figure or forbids to read it.
    0 when the process has gone.
    """
    total = 0
    try:
        parent = psutil.Process(running.pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                full = process.memory_full_info()
                total += getattr(full, "pss", 0) or full.rss
            except psutil.AccessDenied:
                total += process.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total


def listener_of(port: int) -> str:
    """Who listens on a TCP port, as "pid 123 (nginx)"; "another program" when it cannot be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        is_listening = connection.status == psutil.CONN_LISTEN
        if is_listening and connection.laddr[1:] == (port,) and connection.pid:
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                break
    return "another program"
