"""[load]: the mix, and what could be in it once a person has filled it in."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from firedrill_kit.config.traffic import ANYBODY, SIGNING_IN
from firedrill_kit.init import toml
from firedrill_kit.init.guesses import Guesses
from firedrill_kit.init.operations import Operation
from firedrill_kit.init.samples import TEXT, sample, sendable

TOTAL_RATE = 10.0
"""Requests a second of the whole mix: enough for every rule to have data, little for any service."""
SIGN_IN_RATE = 0.2
OTHER_RATE = 0.5
"""Of what is asked for by the way: checks of health, and the routes that are commented out."""


def load(guesses: Guesses) -> Iterator[str]:
    yield "[load]"
    unrelated = guesses.unrelated
    if unrelated is None:
        yield '#unrelated = "GET /health"  # none was found: a route that needs no connection to the database'
    elif unrelated.is_plain:
        yield f"unrelated = {toml.value(unrelated.name)}  # guess: it needs no connection to the database"
    else:
        yield "# Guess: it needs no connection to the database. Its line in the mix must be filled in first."
        yield f"#unrelated = {toml.value(unrelated.name)}"
    yield "deadline = {read = 2, write = 3}  # guess"
    yield ""
    yield "[load.mix]"
    yield "# Guess: equal shares of about ten requests a second. Write what the callers really send."
    sign_in = guesses.sign_in
    if sign_in is not None:
        asked = {"rate": SIGN_IN_RATE, "caller": SIGNING_IN}
        yield _line(sign_in.operation.name, asked)
    rates = iter(shares(len([one for one in guesses.mix if one not in guesses.health])))
    for one in guesses.mix:
        rate = OTHER_RATE if one in guesses.health else next(rates)
        if guesses.needs_nobody(one):
            yield _line(one.name, {"rate": rate, "caller": ANYBODY})
        else:
            yield _line(one.name, rate)
    if guesses.others:
        yield "# Guess: what these need, by their schemas. Fill it in before the # is taken away."
    for one in guesses.others:
        yield _other(one, guesses)


def shares(count: int) -> Sequence[float]:
    """Return equal rates, of a tenth at least, that add up to TOTAL_RATE as far as tenths can."""
    if not count:
        return ()
    tenths, more = divmod(round(TOTAL_RATE * 10), count)
    return [max(tenths + (number < more), 1) / 10 for number in range(count)]


def _line(name: str, asked: object) -> str:
    return f"{toml.key(name)} = {toml.value(asked)}"


def _other(operation: Operation, guesses: Guesses) -> str:
    """A line of TOML that is commented out, or prose about what the mix cannot send."""
    unsent = sorted({one["in"] for one in operation.required} & {"header", "cookie"})
    body = operation.body()
    if unsent or (body is None and operation.request_body.get("required")):
        what = f"a {unsent[0]} of its own" if unsent else "a body that is not JSON"
        return f"# {toml.quoted(operation.name)} needs {what}, which the mix cannot send."
    asked: dict[str, Any] = {"rate": OTHER_RATE}
    if operation.path != (path := _path(operation)):
        asked["path"] = path
    if body is not None:
        try:
            asked["json"] = sendable(sample(body, operation.document))
        except ValueError:
            asked["json"] = {}
    if guesses.needs_nobody(operation):
        asked["caller"] = ANYBODY
    return f"#{_line(operation.name, asked)}"


def _path(operation: Operation) -> str:
    """What is asked for: parameters as their schemas have it, and the query that must be there."""
    path, query = operation.path, {}
    for one in operation.parameters:
        value = one.get("example")
        if value is None:
            value = sample(one.get("schema", {}), operation.document)
        text = "1" if value == TEXT else str(value)
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", quote(text, safe=""))
        elif one["in"] == "query" and one.get("required"):
            query[one["name"]] = text
    return f"{path}?{urlencode(query)}" if query else path
