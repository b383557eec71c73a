"""An answer is the same, byte for byte, with and without the kit: status, headers, parts, exceptions."""

from typing import Any

import pytest

import firedrill_kit
from tests.unit.kit.asking import Asked, answered
from tests.unit.kit.foreign import STATUSES, foreign

JSON = {"content-type": "application/json"}
REQUESTS = [
    *(Asked(f"/status/{status}") for status in STATUSES),
    *(
        Asked(path)
        for path in (
            *("/", "/sync/3", "/sync/x", "/typed/4/a/b", "/typed/a/b", "/nowhere", "/slash"),
            *("/teapot", "/broken", "/group", "/stream", "/stream/broken", "/status/x"),
            *("/middleware/before", "/middleware/after", "/openapi.json", "/docs"),
            *("/inner/thing/a", "/inner/nowhere", "/plain/", "/plain/nowhere"),
        )
    ),
    Asked("/items", "POST", b'{"name": "a", "prices": {"x": 1.5}}', JSON),
    Asked("/items", "POST", b'{"name": "far too long a name", "prices": {"x": "y"}}', JSON),
    Asked("/items", "POST", b"{not json", JSON),
    Asked("/items", "POST", b'{"name": "\xff"}', JSON),
    Asked("/items", "POST"),
    Asked("/items", "DELETE"),
    Asked("/items", "PUT"),
    Asked("/", "HEAD"),
    Asked(
        "/",
        "OPTIONS",
        headers={"origin": "https://a.test", "access-control-request-method": "GET"},
    ),
    Asked("/", headers={"origin": "https://a.test"}),
    Asked("/", "BREW"),
    Asked("/", headers={"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}),
    Asked("/", headers={"traceparent": "nonsense", "x-client-version": "web/1.2"}),
    Asked("/echo", kind="websocket"),
    Asked("/nowhere", kind="websocket"),
]


@pytest.mark.parametrize("own_errors", [False, True], ids=["fastapi's errors", "own errors"])
@pytest.mark.parametrize(
    "asked", REQUESTS, ids=lambda asked: f"{asked.kind}-{asked.method}-{asked.path}"
)
async def test_an_answer_is_the_same_with_and_without_the_kit(
    asked: Asked, own_errors: bool
) -> None:
    bare, seen = foreign(own_errors=own_errors), foreign(own_errors=own_errors)
    firedrill_kit.instrument(seen, metrics_port=0, logs="off")

    expected = await answered(bare, asked)
    found = await answered(seen, asked)

    assert found == expected
    assert seen.state.done == bare.state.done


async def test_what_is_added_after_the_call_is_still_inside() -> None:
    bare, seen = foreign(), foreign()
    firedrill_kit.instrument(seen, metrics_port=0, logs="off")
    for app in (bare, seen):
        app.middleware("http")(_refusing)

    assert await answered(seen, Asked("/")) == await answered(bare, Asked("/"))


async def _refusing(_request: Any, _call_next: Any) -> Any:
    raise ValueError


async def test_nothing_is_put_on_an_application_when_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FIREDRILL_DISABLED", "1")
    app = foreign()
    build = app.build_middleware_stack

    firedrill_kit.instrument(app)

    assert app.build_middleware_stack == build
