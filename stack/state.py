"""What runs, written down: one file, changed under one lock."""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from stack.processes import Running, is_alive
from stack.settings import Settings


@dataclass
class State:
    """The processes of a stack by part name, in the order they were started, and its shape."""

    parts: dict[str, Running] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    replicas: int = 1
    has_collector: bool = False
    """Decided at the first `up`: it has the ports on which the viewer receives otherwise."""
    proxies: tuple[str, ...] = ()
    """Decided then too: others have their addresses."""
    fingerprint: str = ""
    """Hash of the firedrill.toml that the stack stands around; empty for the demo."""

    @property
    def alive(self) -> dict[str, Running]:
        return {name: process for name, process in self.parts.items() if is_alive(process)}


def read_state(settings: Settings) -> State:
    """What the file says; an empty state when there is none or it is damaged.

    A file of a machine that has crashed is harmless: its processes are not alive.
    """
    try:
        content = json.loads(settings.state_file.read_text())
        parts = {name: Running(**process) for name, process in content["parts"].items()}
        shape = (content["ports"], content["replicas"], content.get("has_collector", False))
        proxies = tuple(content.get("proxies", ()))
        return State(parts, *shape, proxies, content.get("fingerprint", ""))
    except FileNotFoundError:
        return State()
    except (ValueError, TypeError, KeyError, AttributeError):
        print(f"{settings.state_file} is damaged and ignored", file=sys.stderr)
        return State()


def write_state(settings: Settings, state: State) -> None:
    unfinished = settings.state_file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(asdict(state), indent=1))
    unfinished.rename(settings.state_file)


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """One `make up`, `down` or `clean` at a time; the next waits for the one at work."""
    settings.local.mkdir(parents=True, exist_ok=True)
    with settings.lock_file.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            print(f"another command is at work (pid {file.read() or '?'}): waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
