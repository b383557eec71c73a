"""One drill from an empty directory to its record: warm, break, watch, mend, watch."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import cycle

import httpx

from firedrill_kit.config.traffic import ACCOUNT
from loadtests.faults import mending
from loadtests.faults.fault import Fault
from loadtests.faults.mending import MendingFailedError
from loadtests.judge.drill import Course, Drill
from loadtests.observe import pager, runbooks, watch
from loadtests.observe.memory import watch as watch_memory
from loadtests.observe.pager import Notice
from loadtests.observe.signals import empty_now, signals
from loadtests.traffic.callers import Callers, sign_in
from loadtests.traffic.demo_callers import sign_in_demo
from loadtests.traffic.engine import Load
from loadtests.traffic.phases import Due, Phase, arrivals
from loadtests.world.description import Description
from loadtests.world.history import back_fill
from loadtests.world.interface import Mend
from loadtests.world.stage import Stage, StageError, alone
from stack.prometheus import Prometheus

GIVE_UP_FACTOR = 2.0
"""Times the deadline: so long a late page is waited for, so that the miss has a figure."""
RESOLVE_PATIENCE_SECONDS = 420.0
QUIET_PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.5

Say = Callable[[str], None]
AtPage = Callable[[Notice], Awaitable[None]]
Check = Callable[[Stage], Awaitable[None]]


async def carry_out_on_running(
    drill: Drill, stage: Stage, *, seed: int, say: Say, check: Check | None = None
) -> Course:
    """Carry a drill out on a stack that runs, and is left running.

    check: raises what keeps the fault from being caused. Raises that, StageError, MendingFailedError.
    """
    with alone(stage), mending.Guard(stage.settings.local, clean=False):
        await _mend_what_was_left(stage, say)
        return await _on(drill, stage, seed=seed, say=say, check=check)


async def _mend_what_was_left(stage: Stage, say: Say) -> None:
    """Undo what an earlier run broke and could not mend because it was killed."""
    for failure in await mending.mend(stage.settings.local):
        say(f"left by an earlier run: {failure}")


async def carry_out(
    drill: Drill,
    stage: Stage,
    *,
    seed: int,
    say: Say,
    at_page: AtPage | None = None,
    check: Check | None = None,
) -> Course:
    """Carry a drill out on a stack of its own, which is taken away at the end, whatever ends it.

    at_page: done once all that is expected has come, before the mend. check: as above. Raises StageError,
    MendingFailedError.
    """
    with alone(stage), mending.Guard(stage.settings.local, clean=True):
        await _mend_what_was_left(stage, say)
        await asyncio.to_thread(stage.clean)
        stage.settings.local.mkdir(parents=True, exist_ok=True)
        try:
            if stage.service.is_demo:
                rates = _rates(drill, stage.service)
                samples = await asyncio.to_thread(back_fill, stage.settings, rates, seed=seed)
                say(f"three hours of quiet history back-filled: {samples} samples")
            await asyncio.to_thread(stage.up)
            say("the stack is up")
            # Ends by itself with the last process of the stack.
            memory = asyncio.create_task(
                asyncio.to_thread(watch_memory, stage.settings, _longest(drill))
            )
            course = await _on(drill, stage, seed=seed, say=say, at_page=at_page, check=check)
        finally:
            await asyncio.to_thread(stage.clean)
        course.memory = await memory
        return course


async def _callers(stage: Stage) -> Callers:
    url = stage.settings.service_urls_for_others[0]
    if stage.service.is_demo:
        return await sign_in_demo(stage, api_url=url)
    accounts = await sign_in(stage.service, api_url=url)
    return Callers(stage.service, {ACCOUNT: cycle(accounts)})


async def _on(
    drill: Drill,
    stage: Stage,
    *,
    seed: int,
    say: Say,
    at_page: AtPage | None = None,
    check: Check | None = None,
) -> Course:
    """The drill itself, on a stack that runs."""
    course = Course(drill, seed)
    rates = _rates(drill, stage.service)
    dues = arrivals([Phase(drill.name, _longest(drill), rates)], seed=seed)
    callers = await _callers(stage)
    with (
        Prometheus(stage.settings.url("prometheus"), timeout_seconds=5) as prometheus,
        httpx.Client(trust_env=False, timeout=5) as http,
    ):
        urls = stage.settings.service_urls_for_others
        load = Load(urls, lambda route: callers.request(route, stage.release))
        course.started = time.time()
        say(f"{sum(rates.values()):.0f} requests a second; {drill.warm_seconds:.0f} s to warm up")
        async with _sending(load, dues):
            # Where in the interval of the scrapes the fault begins is up to the seed.
            jitter = random.Random(seed).uniform(0, 5)  # noqa: S311 - not a secret
            await asyncio.sleep(drill.warm_seconds + jitter)
            await _quiet(prometheus)
            if check:
                await check(stage)
            async with _broken(course, stage, say):
                await _watch_pages(course, stage, http, say)
                empty = await _empty(stage, drill, start=course.started)
                expected = {*drill.expects, *drill.tickets}
                course.confirmed = await asyncio.to_thread(
                    runbooks.confirmed, prometheus, sorted(expected)
                )
                if at_page and course.rang:
                    await at_page(course.rang[0])
            await _watch_resolution(course, stage, http, say)
        course.ended = time.time()
        course.samples = load.samples
        span = {"start": course.injected, "end": course.ended}
        course.fired = watch.fired(prometheus, **span)
        course.first_bad = watch.first_above_zero(prometheus, drill.evidence, **span)
        course.references = watch.references(prometheus, start=course.injected, end=course.mended)
        if stage.service.is_demo:
            course.signals = await signals(
                stage, drill.name, start=course.started, end=course.ended, empty_before=empty
            )
    return course


async def _empty(stage: Stage, drill: Drill, *, start: float) -> set[str] | None:
    """The panels of the demo's dashboards without data; None: they are not those of the service."""
    return await empty_now(stage, drill.name, start=start) if stage.service.is_demo else None


def _rates(drill: Drill, service: Description) -> dict[str, float]:
    mix = {route: rate * drill.mix_ratio for route, rate in service.steady_mix.items()}
    return {**mix, **drill.rates}


async def _quiet(prometheus: Prometheus) -> None:
    """Until no page is pending or firing: what fires before the break would be taken for its effect.

    Raises StageError.
    """
    give_up = time.monotonic() + QUIET_PATIENCE_SECONDS
    while alerts := await asyncio.to_thread(watch.paging_now, prometheus):
        if time.monotonic() > give_up:
            names = ", ".join(sorted(alerts))
            raise StageError(
                f"void: {names} before anything was broken; run it on a machine with less to do"
            )
        await asyncio.sleep(LOOK_SECONDS)


def _longest(drill: Drill) -> float:
    return (
        drill.warm_seconds
        + QUIET_PATIENCE_SECONDS
        + max(drill.deadline_seconds * GIVE_UP_FACTOR, drill.holds_seconds)
        + drill.holds_seconds
        + RESOLVE_PATIENCE_SECONDS
        + drill.watch_after_seconds
        + 60
    )


@contextlib.asynccontextmanager
async def _sending(load: Load, dues: Iterable[Due]) -> AsyncIterator[None]:
    sending = asyncio.create_task(load.run(dues))
    try:
        yield
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending


@contextlib.asynccontextmanager
async def _broken(course: Course, stage: Stage, say: Say) -> AsyncIterator[None]:
    """What undoes the breaks is on disk before the first of them. Raises MendingFailedError."""
    local = stage.settings.local
    breaks = [(one, one.mends(stage)) for one in course.drill.breaks]
    mending.write_down(local, [mend for _, mends in breaks for mend in mends])
    course.load_average = os.getloadavg()[0]
    course.injected = time.time()
    try:
        # A break that fails ends the drill at once: without it there is no page to wait for.
        async with asyncio.TaskGroup() as causing:
            for one, mends in breaks:
                causing.create_task(_cause(course, stage, one, mends, say))
            yield
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        stage.release = None
        failed = await mending.mend(local)
        course.mended = time.time()
        say(f"{course.mended - course.injected:5.0f} s  mended")
        if failed:
            raise MendingFailedError("; ".join(failed))


async def _cause(
    course: Course, stage: Stage, one: Fault, mends: Sequence[Mend], say: Say
) -> None:
    """Raises MendingFailedError where it ends by itself."""
    await asyncio.sleep(one.after_seconds)
    say(f"{time.time() - course.injected:5.0f} s  broken: {one.what}")
    await one.cause(stage)
    if one.lasts_seconds is not None:
        await asyncio.sleep(one.lasts_seconds)
        failed = await mending.undo(mends)
        say(f"{time.time() - course.injected:5.0f} s  mended: {one.what}")
        if failed:
            raise MendingFailedError("; ".join(failed))


async def _watch_pages(course: Course, stage: Stage, http: httpx.Client, say: Say) -> None:
    """Until all that is expected has come and the fault has lasted its time, or it is too late."""
    drill = course.drill
    last_break = max((one.after_seconds for one in drill.breaks), default=0.0)
    until = max(drill.deadline_seconds * GIVE_UP_FACTOR + last_break, drill.holds_seconds)
    while True:
        await _look(course, stage, http, say)
        past = time.time() - course.injected
        if past >= until:
            return
        if not drill.is_silent and past >= drill.holds_seconds and _all_came(course):
            return
        await asyncio.sleep(LOOK_SECONDS)


def _all_came(course: Course) -> bool:
    came = {
        name
        for notice in course.found
        if notice.status == "firing" and notice.at >= course.injected
        for name in notice.alerts
    }
    return came.issuperset({*course.drill.expects, *course.drill.tickets})


async def _watch_resolution(course: Course, stage: Stage, http: httpx.Client, say: Say) -> None:
    """Until every page is resolved, and for a while after it: nothing may page any more.

    A page of that while is waited for as well: it may take until its own resolution.
    """
    give_up = time.time() + RESOLVE_PATIENCE_SECONDS
    end = time.time() + course.drill.watch_after_seconds
    while True:
        await _look(course, stage, http, say)
        now = time.time()
        if now < give_up and pager.open_groups(course.found, since=course.injected):
            end = now + course.drill.watch_after_seconds
        elif now >= end:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _look(course: Course, stage: Stage, http: httpx.Client, say: Say) -> None:
    """Take what is new from the pagers, and say it."""
    known = {(one.at, one.receiver, one.group) for one in course.found}
    for notice in await asyncio.to_thread(pager.notices, stage.settings, http):
        if (notice.at, notice.receiver, notice.group) in known:
            continue
        course.found.append(notice)
        if notice.at < course.injected:
            continue
        kind = "PAGE" if notice.is_page else notice.receiver
        say(
            f"{notice.at - course.injected:5.0f} s  {kind}: {', '.join(notice.alerts)}"
            f" {notice.status}"
        )
        if notice.is_page:
            say(f"         {notice.text}")
    course.found.sort(key=lambda one: one.at)
