"""The other processes that a conductor talks to: the one that breaks things, and the provider.

Imported by Locust only: it waits with gevent.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
from gevent import subprocess as gevent_subprocess

from loadtests.traffic.launch import OWNER_DSN, PROVIDER_URL

ACCESS_NEEDED = f"it needs the local stack (no HOST), or {OWNER_DSN} and {PROVIDER_URL} of another"
LOCK = "lock "
"""What a break begins with that needs the database alone."""


class BreakFailedError(Exception):
    """A phase could not break what it must, or mend it."""


class Breaking:
    """The process that breaks things. It is started before the clock, and mends when this one ends."""

    def __init__(self, breaks: Iterable[str]) -> None:
        """breaks: all that is to come. Raises BreakFailedError where nobody has said where to break it."""
        needed = {OWNER_DSN} | {PROVIDER_URL for one in breaks if not one.startswith(LOCK)}
        if not all(map(os.environ.get, needed)):
            # It would find the stack of this checkout, which is not the system under test.
            raise BreakFailedError(f"the scenario breaks things: {ACCESS_NEEDED}")
        self._active: tuple[str, ...] = ()
        self._process = gevent_subprocess.Popen(
            [sys.executable, "-m", "loadtests.faults"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
            text=True,
        )

    def become(self, wanted: tuple[str, ...]) -> None:
        """Break what is not broken yet. Raises BreakFailedError."""
        for what in wanted:
            if what not in self._active:
                self._order("break", what)
        self._active = wanted

    def keep(self, wanted: tuple[str, ...]) -> None:
        """Mend all but these. An expiry has nothing to mend, and comes again. Raises BreakFailedError."""
        for what in self._active:
            if what not in wanted and what != "expire":
                self._order("mend", what)
        self._active = tuple(w for w in self._active if w in wanted and w != "expire")

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _order(self, order: str, what: str) -> None:
        self._process.stdin.write(f"{order} {what}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if answer != f"{'broken' if order == 'break' else 'mended'} {what}":
            raise BreakFailedError(
                f"cannot {order} {what} ({answer or 'no access'}): {ACCESS_NEEDED}"
            )


def ask_provider(method: str, path: str) -> dict[str, Any]:
    """Ask the provider simulator; empty where there is none. Raises httpx.HTTPError."""
    base = os.environ.get(PROVIDER_URL)
    if not base:
        return {}
    answer = httpx.request(method, f"{base}{path}", timeout=10, trust_env=False)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found
