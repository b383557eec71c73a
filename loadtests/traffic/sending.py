"""The load of a drill: the resilience harness' open-loop arrivals, sent by several client versions."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from itertools import cycle

import asyncpg

from loadtests.traffic import callers
from loadtests.traffic.callers import VERSIONS, Callers, Request
from loadtests.traffic.engine import Load, Outcome, arrivals
from loadtests.world.description import DEMO
from loadtests.world.stage import Stage

RATES: Mapping[str, float] = DEMO.steady_mix
"""Requests a second by route, 38.5 in all."""
PATIENCE_SECONDS = 20.0
"""A request without an answer for so long is given up: the longest deadline is 15 s."""
BIN_SECONDS = 5


def route_of(route: str) -> tuple[str, str]:
    """(method, template) of a route as the mix names it."""
    method, _, template = route.partition(" ")
    return method, template


async def signed_in(stage: Stage) -> Callers:
    """Sign the demo users in, before the clock starts."""
    owner = await asyncpg.connect(stage.dsn("owner"))
    try:
        return await callers.sign_in(
            stage.config,
            owner=owner,
            api_url=stage.settings.url("service"),
            provider_url=stage.settings.url("provider"),
            sign_outs=0,
            connections=0,
        )
    finally:
        await owner.close()


class Sending:
    """Makes the requests: each version in turn, and what a broken release sends instead."""

    def __init__(self, stage: Stage, senders: Callers) -> None:
        self._stage = stage
        self._senders = senders
        self._versions = cycle(VERSIONS)

    def request(self, route: str) -> Request:
        version = next(self._versions)
        made = self._senders.request(route)
        headers = {**made.headers, "X-Client-Version": f"{version}.0"}
        release = self._stage.release
        if release is None or not release.is_of(version):
            return replace(made, headers=headers)
        if "Authorization" in headers:
            headers |= release.headers
        return replace(made, headers=headers, json=release.bodies.get(route, made.json))


def load_on(stage: Stage, senders: Callers) -> Load:
    return Load(
        stage.settings.service_ports_for_others,
        Sending(stage, senders).request,
        timeout_seconds=PATIENCE_SECONDS,
    )


def due_for(rates: Mapping[str, float], *, seconds: float, seed: int) -> list[tuple[float, str]]:
    return arrivals(rates, seconds=seconds, chance=random.Random(seed))  # noqa: S311 - arrivals


def by_time(outcomes: list[Outcome]) -> list[dict[str, int]]:
    """Requests in bins of BIN_SECONDS: how many there were, and what became of them."""
    bins: dict[int, Counter[str]] = {}
    for outcome in outcomes:
        counts = bins.setdefault(int(outcome.due // BIN_SECONDS), Counter())
        counts["sent"] += 1
        counts[_kind(outcome)] += 1
    return [{"at": number * BIN_SECONDS, **counts} for number, counts in sorted(bins.items())]


def _kind(outcome: Outcome) -> str:
    if outcome.status == 0:
        return "no_answer"
    if outcome.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return "422"
    return f"{outcome.status // 100}xx"
