"""Who sends under Locust: one user is one generator, not one caller.

Its single task starts each request when it is due, on a greenlet of its own, and counts time from then. With
`-u 4` four generators send a quarter each; distributed, that is one for each worker. Imported by Locust only:
gevent replaces sockets where this is imported.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task
from locust.exception import StopUser

from loadtests.traffic.callers import Callers, Request
from loadtests.traffic.demo_callers import LEGACY_EVERY, demo_callers
from loadtests.traffic.engine import PATIENCE_SECONDS
from loadtests.traffic.launch import ACCOUNTS_FILE, TOKENS_FILE
from loadtests.traffic.phases import Due, arrivals
from loadtests.traffic.sample import Sample, problem_code, says_degraded
from loadtests.world.description import DEMO, SERVED

SIGNED_IN = 20
"""Callers of one generator; half of them have a calendar."""
SIGN_INS_AT_ONCE = 2
"""Half of what the service admits: others sign in as well."""
SIGN_IN_TRIES = 50
REQUESTS_MAX = 5_000
"""Under way at a time; an arrival beyond it is dropped, and the result void."""
CONNECT_SECONDS = 5.0


class SignInFailedError(Exception):
    """The host does not sign the demo users in."""


class Generator(FastHttpUser):
    """Sends its share of the scenario's arrivals."""

    concurrency = REQUESTS_MAX  # Locust's default of 10 would close the loop
    network_timeout = PATIENCE_SECONDS
    connection_timeout = CONNECT_SECONDS

    def on_start(self) -> None:
        course = self.environment.course
        self.client.client.cookiejar = None  # each request carries its own caller
        self._hosts = cycle([self.host, *course.also])
        course.started += 1
        worker = int(getattr(self.environment.runner, "worker_index", 0))
        self._seed = f"{course.options.seed}:{worker * 1000 + course.started}"
        self._chance = random.Random(f"{self._seed}:ids")  # noqa: S311 - trace ids
        course.owe(self._dues())
        try:
            self._callers = self._signed_in()
        except SignInFailedError as error:
            course.fail(str(error))

    @task
    def generate(self) -> None:
        """Send all that is due from the start of the scenario to its end, and wait for the answers."""
        course = self.environment.course
        pool = Pool(REQUESTS_MAX)
        started = time.perf_counter() + (course.begins_at - time.time())
        for due in self._dues():
            while self._goes_on() and (pause := started + due.at - time.perf_counter()) > 0:
                gevent.sleep(min(pause, 0.5))
            if not self._goes_on():
                # Nobody waits for the answers, and Locust for nobody: it ends a slow stop with a traceback.
                pool.kill()
                break
            if pool.free_count() == 0:
                course.run.dropped += 1
                continue
            pool.spawn(self._send, due, started)
        pool.join(timeout=PATIENCE_SECONDS + CONNECT_SECONDS)
        raise StopUser

    def _goes_on(self) -> bool:
        return self._state != "stopping" and not self.environment.course.problem

    def _dues(self) -> Iterator[Due]:
        """All that this generator owes, the same each time."""
        course = self.environment.course
        return arrivals(course.run.phases, seed=self._seed, share=1 / course.generators)

    def _send(self, due: Due, started: float) -> None:
        run = self.environment.course.run
        phase = run.phases[due.phase]
        request = self._callers.request(due.route, phase.release)
        at = due.at
        for attempt in range(phase.retries + 1):
            late = time.perf_counter() - started - at
            trace_id = f"{self._chance.getrandbits(128):032x}"
            status, body, code, retry_after = self._ask(request, trace_id, started + at)
            sample = Sample(
                at,
                due.route,
                time.perf_counter() - started - at,
                status,
                code,
                late,
                request.deadline_seconds,
                due.phase,
                request.version,
                trace_id,
                due.is_at_once,
                attempt,
                says_degraded(body),
            )
            run.samples.append(sample)
            if status and not sample.is_refused:
                return
            if phase.heeds_retry_after:
                gevent.sleep(retry_after)
            at = time.perf_counter() - started

    def _ask(self, request: Request, trace_id: str, due: float) -> tuple[int, bytes, str, float]:
        """Return status (0: no answer), body, code of the problem and seconds of `Retry-After`."""
        headers = {
            **request.headers,
            "User-Agent": f"firedrill-loadtest/{self.environment.course.run_id}",
            "traceparent": f"00-{trace_id}-{self._chance.getrandbits(64) or 1:016x}-01",
        }
        content: dict[str, Any] = {}
        if request.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            content["data"] = urlencode(request.form)
        elif request.json is not None:
            content["json"] = request.json
        with self.client.request(
            request.method,
            f"{next(self._hosts)}{request.path}",
            name=request.route.partition(" ")[2],
            headers=headers,
            catch_response=True,
            **content,
        ) as answer:
            answer.request_meta["response_time"] = (time.perf_counter() - due) * 1000
            status, body = answer.status_code or 0, answer.content or b""
            code = problem_code(status, body)
            if status == 0:
                code = f"no answer: {type(answer.error).__name__}"
            retry_after = float((answer.headers or {}).get("retry-after") or 0)
            if code:
                answer.failure(code)
            else:
                answer.success()
        return status, body, code, retry_after

    def _signed_in(self) -> Callers:
        if not SERVED.is_demo:
            return _already_signed_in()
        numbers = range(1, SIGNED_IN + 1)
        answers = list(Pool(SIGN_INS_AT_ONCE).imap(self._sign_in, numbers))
        file = os.environ.get(TOKENS_FILE)
        older: dict[str, str] = json.loads(Path(file).read_text()) if file else {}
        tokens = [
            token if number % LEGACY_EVERY else older.get(DEMO.email_of(number), token)
            for number, (token, _) in zip(numbers, answers, strict=True)
        ]
        return demo_callers(tokens, browser={"Cookie": answers[0][1]})

    def _sign_in(self, number: int) -> tuple[str, str]:
        """Return (token, session cookie). Raises SignInFailedError."""
        user = DEMO.email_of(number)
        form = urlencode(DEMO.sign_in_body(number))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        status = 0
        for _ in range(SIGN_IN_TRIES):
            answer: Any = self.client.request(
                "POST",
                f"{self.host}/api/v1/auth/token",
                name="(sign in, before the clock)",
                data=form,
                headers=headers,
            )
            status = answer.status_code
            if status == 200:
                cookie = (answer.headers.get("set-cookie") or "").partition(";")[0]
                return json.loads(answer.text)["access_token"], cookie
            if status not in {429, 503}:
                break
            gevent.sleep(0.2)
        raise SignInFailedError(
            f"{self.host} does not sign {user} in (status {status}): is it the API, with the demo users?"
        )


def _already_signed_in() -> Callers:
    """The accounts of a firedrill.toml, whose sign-in `loadtests.__main__` has done for every generator."""
    file = os.environ.get(ACCOUNTS_FILE)
    accounts: list[dict[str, str]] = json.loads(Path(file).read_text()) if file else []
    return Callers(SERVED, {"account": cycle(accounts)})
