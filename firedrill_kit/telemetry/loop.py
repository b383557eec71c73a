"""How late the event loop is, and since when it has not turned at all."""

import asyncio
import time

from prometheus_client import Histogram

from firedrill_kit.telemetry.guard import guard

INTERVAL_SECONDS = 0.1


class LoopMonitor:
    """Samples the lag of the running loop, and keeps the heartbeat that liveness asks for."""

    def __init__(self, lag: Histogram, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._lag = lag
        self._interval = interval_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._beat = time.monotonic()
        self.lag_seconds = 0.0
        """How late the last sample was."""

    def start(self) -> None:
        """Begin on the running loop, and end on the one before it."""
        self.stop()
        self._schedule(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def age_seconds(self) -> float:
        """Time since the loop last turned; may be read from any thread."""
        return time.monotonic() - self._beat

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = time.monotonic()
        due = loop.time() + self._interval
        self._timer = loop.call_at(due, self._tick, loop, due)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        with guard("http"):
            self.lag_seconds = max(0.0, loop.time() - due)
            self._lag.observe(self.lag_seconds)
        self._schedule(loop)
