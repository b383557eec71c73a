"""The most memory that each part of a stack took.

A part that is started again in between is followed; a page that n processes share counts 1/n.
"""

import contextlib
import time
from dataclasses import dataclass, field

from stack.processes import memory_bytes
from stack.settings import Settings
from stack.state import read_state

SAMPLE_SECONDS = 1.0


@dataclass
class Peaks:
    """Highest memory, in bytes. all_parts: of one sample, not the sum of the parts' own peaks."""

    parts: dict[str, int] = field(default_factory=dict)
    all_parts: int = 0
    samples: int = 0

    def add(self, sample: dict[str, int]) -> None:
        self.samples += 1
        self.all_parts = max(self.all_parts, sum(sample.values()))
        for name, count in sample.items():
            self.parts[name] = max(self.parts.get(name, 0), count)


def watch(settings: Settings, seconds: float) -> Peaks:
    """Sample until the time is over, the stack has gone, or Ctrl-C."""
    peaks = Peaks()
    deadline = time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while time.monotonic() < deadline and (alive := read_state(settings).alive):
            peaks.add({name: memory_bytes(process) for name, process in alive.items()})
            time.sleep(SAMPLE_SECONDS)
    return peaks
