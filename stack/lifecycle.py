"""Bringing a stack up and down: in order, awaited, and all or nothing.

Whatever ends `up` before the table is printed - a part that dies, a taken port, Ctrl-C, a full
disk - stops everything that this `up` has started, and nothing that was running before.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import NoReturn

from stack import postgres, processes
from stack.part import Part
from stack.parts import parts_of
from stack.processes import Running
from stack.programs import CACHE, CACHE_EXPORTER, COLLECTOR, Programs, require_programs
from stack.serving import is_taken
from stack.settings import Settings, SettingsError, read_settings, variable
from stack.state import State, locked, read_state, write_state

DISK_FREE_MEGABYTES = 500
"""A fresh stack takes 250 MB (PostgreSQL 60, Prometheus' first head and log, our logs 50)."""
_WRITTEN = (
    *("logs", "prometheus", "alertmanager", "pager", "viewer", "postgres", "collector", "cache"),
    *("dashboards", "provider.json", "credentials.json", "state.json", "lock"),
)
"""What a stack writes into its run-time directory."""
_POLL_SECONDS = 0.05
_LOG_LINES = 8


class StackError(Exception):
    """Why the stack is not up; the text says what to do about it."""


@dataclass
class _Attempt:
    """One `up`: what it has started, and the signal that asks it to give up."""

    started: list[Running] = field(default_factory=list)
    interrupted_by: str = ""

    def check(self) -> None:
        """Raises KeyboardInterrupt once a signal has come.

        Not from the handler: it could strike between a start and its entry in the list.
        """
        if self.interrupted_by:
            raise KeyboardInterrupt(self.interrupted_by)


def settings_of_running(settings: Settings, state: State) -> Settings:
    """The settings a running stack was started with, so that no command needs them repeated.

    Raises StackError when the environment asks for something else.
    """
    if not state.alive:
        return settings
    down = f"run {settings.service.make('down')} first"
    if state.fingerprint != settings.service.fingerprint:
        raise StackError(
            f"{settings.local} has the stack of another service, or of another"
            f" {settings.service.file.name} than this one is now: {down}"
        )
    ports = {**settings.ports, **state.ports}
    for name in sorted(settings.explicit - {"replicas", "proxies"}):
        if settings.ports[name] != ports[name]:
            raise StackError(
                f"{variable(name)}: the running stack has {ports[name]}, not "
                f"{settings.ports[name]}: {down}"
            )
    if "proxies" in settings.explicit and settings.proxies != state.proxies:
        raise StackError(
            f"FAULT_PROXIES: the running stack has {', '.join(state.proxies) or 'none'}: {down}"
        )
    replicas = settings.replicas if "replicas" in settings.explicit else state.replicas
    replicas = max(replicas, state.replicas)
    has_exporter = settings.service.has_exporter or "postgres-exporter" in state.alive
    service = replace(settings.service, has_exporter=has_exporter)
    return replace(
        settings, service=service, ports=ports, replicas=replicas, proxies=state.proxies
    )


def running(settings: Settings) -> tuple[Settings, State]:
    """The settings and the state of the stack that is up. Raises StackError."""
    state = read_state(settings)
    if not state.alive:
        raise StackError(f"nothing is running; {settings.service.make('up')} starts it")
    return settings_of_running(settings, state), state


def programs_of_running(programs: Programs, state: State) -> Programs:
    """The programs without a collector or a cache that came after the stack was started without it."""
    if not state.alive:
        return programs
    missing = set() if state.has_collector else {COLLECTOR}
    if "cache" not in state.parts:
        missing |= {CACHE, CACHE_EXPORTER}
    return {name: path for name, path in programs.items() if name not in missing}


def up(settings: Settings) -> list[Part]:
    """Start whatever does not run, and wait until every part is ready.

    Returns the parts of the stack that is up. Raises StackError, and the errors of the modules
    that prepare a part.
    """
    programs = require_programs()
    with locked(settings):
        state = read_state(settings)
        programs = programs_of_running(programs, state)
        settings = settings_of_running(settings, state)
        parts = parts_of(settings, programs, os.environ)
        alive = state.alive
        missing = [part for part in parts if not part.is_task and part.name not in alive]
        if missing:
            _check_disk(settings)
            _check_ports(missing)
            settings.logs.mkdir(exist_ok=True)
        shape = (dict(settings.ports), settings.replicas, COLLECTOR in programs, settings.proxies)
        state = State(alive, *shape, settings.service.fingerprint)
        with _all_or_nothing(settings, state) as attempt:
            _bring_up(settings, state, parts, attempt)
    return parts


def down(settings: Settings) -> list[str]:
    """Stop every process of the stack, last started first. Returns the names of those stopped."""
    with locked(settings):
        return _stop(settings)


def clean(settings: Settings) -> None:
    """Stop the stack and delete all it has written, the database included."""
    with locked(settings):
        _stop(settings)
        if settings.service.is_demo:
            postgres.remove(settings.local)
        # In somebody's own directory, what else is in it is not ours to delete.
        is_ours = settings.local == settings.service.local
        names = [entry.name for entry in settings.local.iterdir()] if is_ours else _WRITTEN
        for name in names:
            entry = settings.local / name
            # Stacks around other services stand below the demo's directory.
            if name != "services" or not settings.service.is_demo:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            settings.local.rmdir()


def _stop(settings: Settings) -> list[str]:
    alive = read_state(settings).alive
    processes.stop(reversed(alive.values()))
    settings.state_file.unlink(missing_ok=True)
    return list(alive)


def _bring_up(settings: Settings, state: State, parts: Sequence[Part], attempt: _Attempt) -> None:
    needed = _needed(parts, state.alive)
    waiting = {part.name: part for part in parts if part.name in needed}
    running: dict[str, tuple[Part, subprocess.Popen[bytes] | None, float]] = {
        part.name: (part, None, time.monotonic())
        for part in parts
        if part.name in state.alive and part.name not in needed
    }
    ready: set[str] = {part.name for part in parts if part.name not in needed | running.keys()}
    while waiting or running:
        for name, part in list(waiting.items()):
            if ready.issuperset(part.after):
                del waiting[name]
                running[name] = (
                    part,
                    _start(settings, state, part, attempt),
                    time.monotonic(),
                )
        for name, (part, process, since) in list(running.items()):
            if _is_ready(settings, part, process, since):
                del running[name]
                ready.add(name)
                if process is not None:
                    print(f"  {name:<18} ready after {time.monotonic() - since:5.1f} s")
        attempt.check()
        time.sleep(_POLL_SECONDS)


def _needed(parts: Sequence[Part], alive: Mapping[str, Running]) -> set[str]:
    """Parts that do not run, and the tasks that must be done before them."""
    by_name = {part.name: part for part in parts}
    needed = {part.name for part in parts if not part.is_task and part.name not in alive}
    for name in list(needed):
        queue = list(by_name[name].after)
        while queue:
            before = by_name[queue.pop()]
            queue += before.after
            if before.is_task:
                needed.add(before.name)
    return needed


def _start(
    settings: Settings, state: State, part: Part, attempt: _Attempt
) -> subprocess.Popen[bytes]:
    attempt.check()
    if part.prepare is not None:
        part.prepare()
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
    process, handle = processes.start(
        part.name,
        part.command,
        log=part.log(settings),
        environment={**inherited, "PYTHONUNBUFFERED": "1", **part.environment},
        directory=part.directory,
        user=part.user,
        stop_signal=part.stop_signal,
    )
    attempt.started.append(process)
    if not part.is_task:
        state.parts[part.name] = process
        write_state(settings, state)
    return handle


def _is_ready(
    settings: Settings, part: Part, process: subprocess.Popen[bytes] | None, since: float
) -> bool:
    exit_code = process.poll() if process is not None else None
    if part.is_ready is None:
        if exit_code:
            _fail(settings, part, f"failed with exit code {exit_code}")
        return exit_code == 0
    if exit_code is not None:
        _fail(settings, part, f"exited with code {exit_code} before it was ready")
    if part.is_ready():
        return True
    if time.monotonic() - since > part.ready_seconds:
        _fail(settings, part, f"is not ready after {part.ready_seconds:.0f} s")
    return False


def _fail(settings: Settings, part: Part, what: str) -> NoReturn:
    log = part.log(settings)
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = text.strip().splitlines()[-_LOG_LINES:]
    shown = "".join(f"\n  | {line[:300]}" for line in lines)
    raise StackError(f"{part.name} {what}; the end of {log}:{shown}")


@contextlib.contextmanager
def _all_or_nothing(settings: Settings, state: State) -> Iterator[_Attempt]:
    """If the block does not end well, stop what it has started. Signals wait for `check`."""
    attempt = _Attempt()

    def interrupt(number: int, _: FrameType | None) -> None:
        attempt.interrupted_by = signal.Signals(number).name

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield attempt
    except BaseException as error:
        processes.stop(reversed(attempt.started))
        state.parts = state.alive
        with contextlib.suppress(OSError):  # the disk may be full; what is dead is seen as dead
            write_state(settings, state)
        if attempt.interrupted_by:  # Ctrl-C also reaches initdb, whose failure is not the story
            raise KeyboardInterrupt(attempt.interrupted_by) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_disk(settings: Settings) -> None:
    places = {settings.local}
    if settings.service.is_demo:
        places.add(postgres.home_of(settings.local))
    for place in places:
        free = shutil.disk_usage(place).free // 1_000_000
        if free < DISK_FREE_MEGABYTES:
            raise StackError(
                f"{free} MB free at {place}: a stack needs {DISK_FREE_MEGABYTES} MB; "
                "make room, or set FIREDRILL_LOCAL to a directory on another disk"
            )


def _check_ports(parts: Sequence[Part]) -> None:
    for part in parts:
        for name, port in part.ports:
            if is_taken(port):
                raise StackError(
                    f"port {port} for {part.name} is taken by {processes.listener_of(port)}: "
                    f"set {name} to another port{_or_an_offset()}"
                )


def _or_an_offset() -> str:
    """Advise an offset that has been tried: one that moves every port to a free one."""
    for offset in range(1000, 17_000, 100):
        try:
            moved = read_settings(os.environ | {"PORT_OFFSET": str(offset)})
        except SettingsError:
            continue
        if not any(is_taken(port) for _, port in moved.every_port()):
            return f", or PORT_OFFSET={offset} to move them all"
    return ""
