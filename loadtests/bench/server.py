"""A server under test, alone on its core: its CPU and memory, and how long its start and stop take."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from loadtests.world.cores import on_core
from stack.readiness import Check

READY_SECONDS = 60.0
STOP_SECONDS = 45.0
"""The SDK's exporters wait 30 s for a collector that is dead."""
LOOK_SECONDS = 0.01


class NotReadyError(Exception):
    """The server did not start; the text is the last line it wrote."""


class Server:
    """One process. ready_seconds: from its start until it was ready. core: of it alone.

    After `stop`: stop_seconds, and lines: those on its stdout.
    """

    def __init__(self, process: subprocess.Popen[bytes], core: int, ready_seconds: float) -> None:
        self.pid = process.pid
        self.core = core
        self.ready_seconds = ready_seconds
        self.stop_seconds = 0.0
        self.lines = 0
        self._process = process

    def cpu_seconds(self) -> float:
        """CPU time of all its threads since its start, ended ones included; to the nanosecond."""
        # As clock_getcpuclockid(3) makes it of a process; Python offers it for threads only.
        return time.clock_gettime(~self.pid << 3 | 2)

    def memory_bytes(self, name: str = "VmHWM") -> int:
        """Resident memory: now (VmRSS), or its peak since the start (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def stop(self) -> None:
        """SIGTERM and wait; SIGKILL after STOP_SECONDS."""
        if self._process.poll() is None:
            started = time.monotonic()
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self.stop_seconds = time.monotonic() - started


@contextlib.contextmanager
def serving(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    directory: Path,
    core: int,
    is_ready: Check,
) -> Iterator[Server]:
    """Run a server until the block ends. directory: where it is started. Raises NotReadyError."""
    with tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        try:
            with on_core(core):
                process = subprocess.Popen(
                    words,
                    cwd=directory,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
        except OSError as error:  # a script whose interpreter has moved is not found either
            raise NotReadyError(f"{Path(words[0]).name}: {error.strerror}") from error
        # A pipe that is read at once, as a container's is; counting there costs the server nothing.
        reader = subprocess.Popen(
            ["wc", "-l"],  # noqa: S607 - POSIX has it
            stdin=process.stdout,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None  # noqa: S101 - PIPE
        process.stdout.close()
        try:
            _await(process, is_ready)
            if process.poll() is not None:
                raise NotReadyError(_last_line(errors))
            server = Server(process, core, time.monotonic() - started)
            try:
                yield server
            finally:
                server.stop()
                server.lines = int(reader.communicate()[0] or 0)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            reader.wait()
            if reader.stdout is not None:
                reader.stdout.close()


def _await(process: subprocess.Popen[bytes], is_ready: Check) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while process.poll() is None and not is_ready():
        if time.monotonic() > give_up:
            process.kill()
            process.wait()
            raise NotReadyError(f"not ready within {READY_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it wrote nothing"


def busy_seconds(core: int) -> float:
    """Seconds that a core was busy since the machine started."""
    line = next(
        line
        for line in Path("/proc/stat").read_text().splitlines()
        if line.startswith(f"cpu{core} ")
    )
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, line.split()[1:])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq + steal) / ticks
