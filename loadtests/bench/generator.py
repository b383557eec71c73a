"""The load: h2load, whose every request is in its log. In C, so that it is not what is measured."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.judge.limits import percentile
from stack.programs import Source, require_programs

PROGRAMS: Mapping[str, Source] = {"h2load": Source(["h2load"], "nghttp2-client", "nghttp2")}
CLIENTS = 16
"""Connections, kept alive."""


class GeneratorError(Exception):
    """h2load did not do its work; the text says why."""


@dataclass(frozen=True)
class Ask:
    """A request. body: JSON or a form, with its content type in `headers`."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: str = field(default="", repr=False)


@dataclass(frozen=True)
class Answers:
    """seconds: how long it was loaded. sent: requests, those included that were under way at its end.
    statuses: answers by status (-1: none). microseconds: of each, sorted.
    """

    seconds: float
    sent: int
    statuses: Mapping[int, int]
    microseconds: Sequence[int]

    @property
    def count(self) -> int:
        return len(self.microseconds)

    @property
    def refused(self) -> int:
        """How many answers have a status other than 2xx."""
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)

    def percentile(self, fraction: float) -> float:
        """In milliseconds. Raises GeneratorError without answers."""
        if not self.count:
            raise GeneratorError(f"no request was answered in {self.seconds:g} s")
        return percentile(self.microseconds, fraction) / 1000


def require_generator() -> None:
    """Install h2load where it is missing. Raises stack.programs.ProgramsMissing."""
    require_programs(PROGRAMS)


def load(
    port: int, ask: Ask, *, seconds: float, clients: int = CLIENTS, rate: float | None = None
) -> Answers:
    """Send as fast as it is answered, or `rate` requests a second. Raises GeneratorError.

    At a rate every request is waited for, so `seconds` may become more.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        log = Path(directory) / "log"
        words = [
            *("h2load", "--h1", "-t", "1", "-c", str(clients)),
            f"--log-file={log}",
            *(word for name, value in ask.headers.items() for word in ("-H", f"{name}: {value}")),
        ]
        if rate is None:
            words += ["-D", f"{seconds * 1000:.0f}ms"]
        else:
            words += [f"--rps={rate / clients:g}", "-n", f"{rate * seconds:.0f}"]
        if ask.method != "GET":
            words += ["-H", f":method: {ask.method}"]
        if ask.body:
            (Path(directory) / "body").write_text(ask.body)
            words += ["-d", str(Path(directory) / "body")]
        done = subprocess.run(
            [*words, f"http://127.0.0.1:{port}{ask.path}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not log.exists():
            last = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()
            raise GeneratorError(f"h2load: {last[-1]}")
        sent = re.search(r"(\d+) started", done.stdout)
        return answers_of(log.read_text(), seconds, sent=int(sent[1]) if sent else 0)


def answers_of(log: str, seconds: float, *, sent: int) -> Answers:
    """Read h2load's log: start, status (-1: none), microseconds, a tab between them."""
    rows = [line.split("\t") for line in log.splitlines()]
    return Answers(
        seconds,
        sent,
        Counter(int(status) for _, status, *_ in rows),
        sorted(int(taken) for _, _, taken, *_ in rows),
    )
