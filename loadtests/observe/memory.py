"""`python -m loadtests.observe.memory`: the most memory that each part took while this ran.

Samples every part of the running stack once a second until --seconds are over, Ctrl-C, or the stack
has gone, and writes docs/memory.json and, from it, docs/memory.md. A part that is started again in
between is followed; a page that n processes share counts 1/n.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from stack.processes import memory_bytes
from stack.settings import ROOT, Settings, SettingsError, read_settings
from stack.state import read_state

RECORD = ROOT / "docs" / "memory.json"
PAGE = ROOT / "docs" / "memory.md"
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


def page(record: dict[str, Any]) -> str:
    """The page, from the record alone."""
    peaks = sorted(record["parts"].items(), key=lambda part: -part[1])
    rows = "\n".join(f"| {name} | {count / 1e6:.0f} |" for name, count in peaks)
    return f"""# Memory of each part, at its peak

Written by `python -m loadtests.observe.memory` from docs/memory.json: {record["date"]}, {record["machine"]},
{record["samples"]} samples, one a second, while: {record["during"]}.

| part | MB |
| --- | ---: |
{rows}
| **all, at the same moment** | **{record["all_parts"] / 1e6:.0f}** |
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.observe.memory")
    parser.add_argument("--seconds", type=float, default=3600.0, help="the longest it watches")
    parser.add_argument("--during", default="nothing in particular", help="what goes on meanwhile")
    given = parser.parse_args()
    try:
        peaks = watch(read_settings(), given.seconds)
    except SettingsError as error:
        print(f"memory: {error}", file=sys.stderr)
        return 2
    if not peaks.samples:
        print("memory: nothing is running; `make up` starts it", file=sys.stderr)
        return 1
    record = {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "during": given.during,
        **asdict(peaks),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(page(record))
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
