"""One service process, from its configuration to its end.

Exit 0 after a stop, 1 when it cannot run or would run blind, 2 when its configuration is wrong.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import stamina
import structlog
import uvicorn
import uvloop

from firedrill_kit import metrics as core_metrics
from firedrill_kit.telemetry import logs
from service.app import SHIPPED, InstrumentationInactiveError, Parts, Service
from service.config import Config, read_config, require_secrets
from service.health import Health, InternalServer
from service.server import limited_protocol

LEAVE_SHARE, ANSWER_SHARE, END_SHARE = 0.2, 0.82, 0.92
"""Shares of STOP_SECONDS, counted from the signal.

LEAVE: so long the port stays open, so that a balancer sees `/readyz` fail and sends nothing more to
connections that are about to be closed (1 of 311 requests was lost without it, measured). ANSWER: until then
requests in flight are waited for; those of the last moment have a write's deadline of 3 s. END: then the
process ends, whatever still hangs in the closing, which takes 0.2 s when nothing does (measured).
"""


STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class PublicServer(uvicorn.Server):
    """uvicorn that says when its port is open, and leaves signals to `serve`."""

    def __init__(self, config: uvicorn.Config, health: Health) -> None:
        super().__init__(config)
        self._health = health

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # A signal may have come while the service was still starting: then it stays out of the balancer.
        if self.started and self._health.phase == "starting":
            self._health.phase = "running"

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main(parts: Parts = SHIPPED) -> int:
    config = read_config()
    try:
        require_secrets(config)
    except ValueError as error:
        sys.stderr.write(f"configuration: {error}\n")
        return 2
    writer = logs.configure(
        service=config.service_name,
        version=config.service_version,
        instance=config.instance,
        environment=config.environment,
        level=config.log_level,
        format_=config.log_format,
        capacity=config.log_queue_records,
        records=core_metrics.LOG_RECORDS,
    ).writer
    # Its default hooks log an exception's text and register a metric outside the catalogue.
    stamina.instrumentation.set_on_retry_hooks(())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(config, parts))
    except (OSError, InstrumentationInactiveError, ValueError) as error:
        structlog.get_logger().error("service_not_started", reason=str(error))
        sys.stderr.write(f"service: {error}\n")
        return 1
    finally:
        writer.stop()


async def serve(config: Config, parts: Parts) -> int:
    """Serve until SIGTERM or SIGINT, then answer what is in flight; the end comes within STOP_SECONDS."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.on_loop_error)
    service = Service(config, parts=parts)
    internal = InternalServer(config, service.health)
    public = PublicServer(
        uvicorn.Config(
            service.asgi,
            host=config.service_host,
            port=config.service_port,
            http=limited_protocol(config),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Requests of one connection must not inherit each other's trace.
            reset_contextvars=True,
            timeout_graceful_shutdown=(ANSWER_SHARE - LEAVE_SHARE) * config.stop_seconds,  # type: ignore[arg-type]
            # A far backstop only: it counts idle connections too (measured).
            limit_concurrency=None,
        ),
        service.health,
    )

    def stop() -> None:
        service.health.phase = "stopping"
        loop.call_later(LEAVE_SHARE * config.stop_seconds, setattr, public, "should_exit", True)
        backstop = threading.Timer(END_SHARE * config.stop_seconds, _end)
        backstop.daemon = True
        backstop.start()

    for number in STOPPING_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        internal.start()
        await service.start()
        # Objects of the start live for ever: the collector need not look at them again
        # (p99 of a database read 46 → 22 ms, measured).
        gc.collect()
        gc.freeze()
        gc.enable()  # `python -m service` imports without it
        await public.serve()
    except SystemExit:
        message = f"port {config.service_port} cannot be opened: set SERVICE_PORT to a free one"
        raise OSError(message) from None
    finally:
        await service.stop()
        internal.stop()
        for number in STOPPING_SIGNALS:
            loop.remove_signal_handler(number)
    return 0


def _end() -> None:
    """A collector, a database or a refresh that hangs must not keep a process that has stopped serving."""
    os.write(2, b"service: stopped without waiting for what hangs\n")
    os._exit(0)
