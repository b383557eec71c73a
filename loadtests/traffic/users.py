"""Who: the demo users, signed in before the clock starts, and the generator that sends what is due.

One Locust user is one generator, not one caller: its single task starts each request when it is due, on a
greenlet of its own, and counts time from then. With `-u 4` four generators send a quarter each; distributed,
that is one for each worker. Imported by Locust only: gevent replaces sockets where this is imported.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task
from locust.exception import StopUser

from loadtests.judge.limits import Sample
from loadtests.traffic.callers import (
    VERSIONS,
    Callers,
    Request,
    SignedIn,
)
from loadtests.traffic.phases import Due, arrivals
from stack.demo import email_of, password_of

SIGNED_IN = 20
"""Callers of one generator; half of them have a calendar."""
SIGN_INS_AT_ONCE = 2
"""Half of what the service admits: others sign in as well."""
REQUESTS_MAX = 5_000
"""Under way at a time; an arrival beyond it is dropped, and the result void."""
PATIENCE_SECONDS = 20.0
"""A request without an answer for so long is given up: the longest deadline is 15 s."""
CONNECT_SECONDS = 5.0
SIGN_IN_TRIES = 50
CONTRACT = SimpleNamespace(
    read_deadline_seconds=2.0,
    write_deadline_seconds=3.0,
    login_deadline_seconds=5.0,
    calendar_deadline_seconds=15.0,
)
"""What the API promises, wherever it runs."""
TOKENS_FILE = "LOADTEST_LEGACY_TOKENS"
"""Of a file with tokens of the older format by e-mail address: a third of the callers still have it."""


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
        self._versions = cycle(f"{version}.0" for version in VERSIONS)
        self._hosts = cycle([self.host, *course.also])
        self._seed = f"{course.seed}:{self._number()}"
        self._chance = random.Random(f"{self._seed}:ids")  # noqa: S311 - trace ids
        course.owe(self._arrivals())
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
        for due in self._arrivals():
            while self._goes_on() and (pause := started + due.at - time.perf_counter()) > 0:
                gevent.sleep(min(pause, 0.5))
            if not self._goes_on():
                # Nobody waits for the answers, and Locust for nobody: it ends a slow stop with a traceback.
                pool.kill()
                break
            if pool.free_count() == 0:
                course.dropped += 1
                continue
            pool.spawn(self._send, due, started)
        pool.join(timeout=PATIENCE_SECONDS + CONNECT_SECONDS)
        raise StopUser

    def _goes_on(self) -> bool:
        return self._state != "stopping" and not self.environment.course.problem

    def _arrivals(self) -> Iterator[Due]:
        """All that this generator owes, the same each time."""
        course = self.environment.course
        chance = random.Random(self._seed)  # noqa: S311 - arrivals
        return arrivals(course.phases, share=1 / course.generators, chance=chance)

    def _send(self, due: Due, started: float) -> None:
        course = self.environment.course
        phase = course.phases[due.phase]
        request = self._callers.request(due.route)
        version = next(self._versions)
        if due.route in phase.altered and version == phase.altered_version:
            request = replace(request, json=phase.altered[due.route])
        at = due.at
        for attempt in range(phase.retries + 1):
            late = time.perf_counter() - started - at
            status, code, trace_id, retry_after = self._ask(request, version, started + at)
            seconds = time.perf_counter() - started - at
            course.samples.append(
                Sample(
                    at,
                    due.phase,
                    due.route,
                    seconds,
                    status,
                    code,
                    late,
                    request.deadline_seconds,
                    version,
                    trace_id,
                    due.is_at_once,
                    attempt,
                )
            )
            if status not in {0, 429, 503}:
                return
            if phase.heeds_retry_after:
                gevent.sleep(retry_after)
            at = time.perf_counter() - started

    def _ask(self, request: Request, version: str, due: float) -> tuple[int, str, str, float]:
        """Return status (0: no answer), code of the problem, trace id and seconds of `Retry-After`."""
        trace_id = f"{self._chance.getrandbits(128):032x}"
        headers = {
            **request.headers,
            "X-Client-Version": version,
            "User-Agent": f"firedrill-loadtest/{self.environment.course.run_id}",
            "traceparent": f"00-{trace_id}-{self._chance.getrandbits(64) or 1:016x}-01",
        }
        body: dict[str, Any] = {}
        if request.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body["data"] = urlencode(request.form)
        elif request.json is not None:
            body["json"] = request.json
        url = f"{next(self._hosts)}{request.path}"
        with self.client.request(
            request.method,
            url,
            name=request.route.partition(" ")[2],
            headers=headers,
            catch_response=True,
            **body,
        ) as answer:
            answer.request_meta["response_time"] = (time.perf_counter() - due) * 1000
            status = answer.status_code or 0
            code = _code(status, answer)
            retry_after = float((answer.headers or {}).get("retry-after") or 0)
            if code:
                answer.failure(code)
            else:
                answer.success()
        return status, code, trace_id, retry_after

    def _number(self) -> int:
        """Of this generator among all: seeds differ by it."""
        worker = getattr(self.environment.runner, "worker_index", 0)
        course = self.environment.course
        course.started += 1
        return int(worker) * 1000 + int(course.started)

    def _signed_in(self) -> Callers:
        numbers = list(range(1, SIGNED_IN + 1))
        pool = Pool(SIGN_INS_AT_ONCE)
        answers = list(pool.imap(self._sign_in, numbers))
        older = _older_tokens()
        tokens = [
            older.get(email_of(number), token) if number % 3 == 0 else token
            for number, (token, _) in zip(numbers, answers, strict=True)
        ]
        browser = SignedIn({"Cookie": answers[0][1]})
        return Callers(tokens, browser=browser, leaving=[], codes=[], config=CONTRACT)

    def _sign_in(self, number: int) -> tuple[str, str]:
        """Return (token, session cookie). Raises SignInFailedError."""
        form = urlencode({"username": email_of(number), "password": password_of(number)})
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
            if answer.status_code == 200:
                cookie = (answer.headers.get("set-cookie") or "").partition(";")[0]
                return json.loads(answer.text)["access_token"], cookie
            status = answer.status_code
            if status not in {429, 503}:
                break
            gevent.sleep(0.2)
        raise SignInFailedError(
            f"{self.host} does not sign {email_of(number)} in (status {status}): is it the API, with"
            " the demo users?"
        )


def _code(status: int, answer: Any) -> str:
    if status == 0:
        return f"no answer: {type(answer.error).__name__}"
    if status < 400:
        return ""
    try:
        return str(json.loads(answer.text)["code"])
    except (ValueError, KeyError, TypeError):
        return f"status {status}, not a problem"


def _older_tokens() -> dict[str, str]:
    file = os.environ.get(TOKENS_FILE)
    if not file:
        return {}
    found: dict[str, str] = json.loads(Path(file).read_text())
    return found
