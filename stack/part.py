"""One program of a stack: how it is started, when it is ready, what it shows."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stack.readiness import Check
from stack.settings import ROOT, Settings


@dataclass(frozen=True)
class Part:
    """One program.

    is_ready: None for a task that does its work and exits 0. ports: (variable that moves it, port).
    after: parts that must be ready first. prepare: runs just before the start, and must be quick.
    log_name: of the file without its suffix; the part's name when empty.
    """

    name: str
    command: Sequence[str]
    is_ready: Check | None
    ports: Sequence[tuple[str, int]] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    after: Sequence[str] = ()
    prepare: Callable[[], None] | None = None
    url: str = ""
    look_at: str = ""
    user: str | None = None
    directory: Path = ROOT
    stop_signal: signal.Signals = signal.SIGTERM
    log_name: str = ""
    log_suffix: str = "log"
    ready_seconds: float = 60.0

    @property
    def is_task(self) -> bool:
        return self.is_ready is None

    def log(self, settings: Settings) -> Path:
        return settings.logs / f"{self.log_name or self.name}.{self.log_suffix}"


def python(*arguments: str | int | Path) -> list[str]:
    """The command of one of our modules."""
    return [sys.executable, "-m", *map(str, arguments)]
