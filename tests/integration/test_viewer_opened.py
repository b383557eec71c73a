"""A trace as it is read: spans, events and log lines are opened in a browser, at a desk and on a phone."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from playwright.sync_api import Browser, Locator, Page, expect

from stack.viewer.app import create_app
from tests.browser import WIDTHS, chromium, needs_chromium, opened, overflow, served
from tests.spans import OTHER, PROTOBUF, TRACE, attributes, log_request, record, span, span_request

pytestmark = needs_chromium

BEGAN = time.time() - 60
SQL = "SELECT user_id, display_name\nFROM profiles\nWHERE user_id = $1"
EVIL = "<img src=x onerror=document.title='owned'><script>1</script>"
NOBODY = "http://127.0.0.1:9"
OBJECT = "[object"


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("viewer") / "traces.db"
    with served(lambda: create_app(file, None, prometheus=NOBODY, alertmanager=NOBODY)) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Browser, viewer: str) -> Iterator[Page]:
    with opened(browser, viewer, request.param) as page:
        yield page
        assert overflow(page) == 0


@pytest.fixture
def desk(browser: Browser, viewer: str) -> Iterator[Page]:
    with opened(browser, viewer) as page:
        yield page


_trace_ids = (f"{number:032x}" for number in range(1, 1000))


@pytest.fixture
def trace_id() -> str:
    """One that no other test has used."""
    return next(_trace_ids)


def send(viewer: str, *spans: Span) -> None:
    httpx.post(f"{viewer}/v1/traces", content=span_request(*spans), headers=PROTOBUF)


def send_lines(viewer: str, *bodies: object, trace_id: str) -> None:
    records = [record(body, trace_id) for body in bodies]
    httpx.post(f"{viewer}/v1/logs", content=log_request(*records), headers=PROTOBUF)


def value(place: Locator, name: str) -> Locator:
    """The value beside a name."""
    return place.locator(f'dt:text-is("{name}") + dd')


def open_first(page: Page, kind: str) -> Locator:
    found = page.locator(f".{kind}").first
    found.locator("summary").click()
    expect(found).not_to_contain_text(OBJECT)
    return found


def test_a_span_is_opened_and_its_statement_read(viewer: str, page: Page, trace_id: str) -> None:
    root = span(1, began=BEGAN, trace_id=trace_id, keep=True)
    query = span(
        2, began=BEGAN, trace_id=trace_id, parent=1, more={"db.query.text": SQL, "rows": 0}
    )
    send(viewer, root, query)

    page.goto(f"/trace/{trace_id}")
    page.locator(".span", has_text="span 2").locator("summary").click()

    inside = page.locator(".span[open]")
    expect(value(inside, "db.query.text")).to_have_text(SQL, use_inner_text=True)
    expect(value(inside, "rows")).to_have_text("0")
    expect(inside).not_to_contain_text(OBJECT)


def test_an_event_of_a_span_is_read_with_its_time(viewer: str, page: Page, trace_id: str) -> None:
    root = span(1, began=BEGAN, trace_id=trace_id, keep=True)
    event = root.events.add(name="validation_failed")
    event.time_unix_nano = root.start_time_unix_nano + 500_000
    event.attributes.extend(attributes({"field": "body.name", "event": "not the name"}))
    send(viewer, root)

    page.goto(f"/trace/{trace_id}")
    inside = open_first(page, "span")

    expect(inside.locator("h3")).to_have_text("event validation_failed 500 µs after the start")
    expect(value(inside, "field")).to_have_text("body.name")
    expect(value(inside, "event")).to_have_text("not the name")


def test_only_links_to_kept_traces_can_be_followed(viewer: str, page: Page, trace_id: str) -> None:
    kept = next(_trace_ids)
    send(viewer, span(1, began=BEGAN, trace_id=kept, keep=True))
    root = span(1, began=BEGAN, trace_id=trace_id, keep=True)
    root.links.add(trace_id=bytes.fromhex(OTHER), span_id=bytes(7) + b"\1")
    root.links.add(trace_id=bytes.fromhex(kept), span_id=bytes(7) + b"\1")
    send(viewer, root)

    page.goto(f"/trace/{trace_id}")
    inside = open_first(page, "span")

    expect(inside).to_contain_text(f"{OTHER}, which is not kept")
    inside.get_by_role("link").click()
    page.wait_for_url(f"**/trace/{kept}")


def test_a_log_line_is_opened_and_its_fields_read(viewer: str, page: Page, trace_id: str) -> None:
    send(viewer, span(1, began=BEGAN, trace_id=trace_id, keep=True))
    line = {
        "timestamp": "2026-01-31T12:00:00.123456Z",
        "level": "info",
        "event": "request_finished",
        "db_ms": 0.0,
        "caller": None,
        "degraded": [["a", None, 0], {"b": False}],
    }
    send_lines(viewer, json.dumps(line), trace_id=trace_id)

    page.goto(f"/trace/{trace_id}")
    row = page.locator(".line")
    box = row.bounding_box()
    inside = open_first(page, "line")

    assert box is not None
    assert box["width"] > 300
    expect(value(inside, "event")).to_have_text("request_finished")
    expect(value(inside, "db_ms")).to_have_text("0")
    expect(value(inside, "caller")).to_have_text("null")
    expect(value(inside, "degraded")).to_have_text('[["a",null,0],{"b":false}]')
    expect(inside.locator("summary time")).to_have_text("12:00:00.123")


def test_every_kind_of_value_is_read_as_text(viewer: str, desk: Page, trace_id: str) -> None:
    values = {
        "html": (EVIL, EVIL),
        "directions": ("abc \u202e evil \x07 \u2066x", "abc \\u202e evil \\u0007 \\u2066x"),
        "scripts": ("שלום 👩‍👩‍👧 é", "שלום 👩‍👩‍👧 é"),
        "list": (["a", None, 0, ["b", False]], '["a",null,0,["b",false]]'),
        "map": ({"key": {"inner": [1.5]}}, '{"key":{"inner":[1.5]}}'),
        "large": (2**53 + 1, "9007199254740993"),
        "zero": (0, "0"),
        "no": (False, "false"),
        "not_a_number": (float("nan"), "nan"),
        "nothing": (None, "null"),
        "empty": ("", ""),
        "long": ("x" * 50_000, "x" * 50_000),
        "empty_map": ({}, "{}"),
    }
    given = {name: given for name, (given, _) in values.items()}
    send(viewer, span(1, began=BEGAN, trace_id=trace_id, keep=True, more=given))
    send_lines(viewer, given, trace_id=trace_id)

    desk.goto(f"/trace/{trace_id}")

    for inside in (open_first(desk, "span"), open_first(desk, "line")):
        for name, (_, shown) in values.items():
            assert value(inside, name).text_content() == shown
    expect(desk.locator("main img, main script")).to_have_count(0)
    assert desk.title() != "owned"


def test_names_of_our_own_hide_no_attribute(viewer: str, desk: Page, trace_id: str) -> None:
    named = {"kind": "theirs", "status": "theirs too", "__proto__": "x", "style": "color: red"}
    send(viewer, span(1, began=BEGAN, trace_id=trace_id, keep=True, more=named))

    desk.goto(f"/trace/{trace_id}")
    inside = open_first(desk, "span")

    expect(inside.locator(".inside p")).to_contain_text("kind SERVER, status UNSET")
    for name, given in named.items():
        expect(value(inside, name)).to_have_text(given)


def test_a_kind_and_a_status_without_a_name_are_shown_as_their_numbers(
    viewer: str, desk: Page, trace_id: str
) -> None:
    odd = span(1, began=BEGAN, trace_id=trace_id, keep=True)
    odd.kind, odd.status.code = 6, 7  # type: ignore[assignment]
    send(viewer, odd)

    desk.goto(f"/trace/{trace_id}")

    expect(open_first(desk, "span")).to_contain_text("kind 6, status 7")


def test_spans_without_a_parent_here_and_rings_of_parents_are_shown(
    viewer: str, desk: Page, trace_id: str
) -> None:
    send(
        viewer,
        span(1, began=BEGAN, trace_id=trace_id, keep=True),
        span(2, began=BEGAN, trace_id=trace_id, parent=77),
        span(3, began=BEGAN, trace_id=trace_id, parent=4),
        span(4, began=BEGAN, trace_id=trace_id, parent=3),
        span(5, began=BEGAN, trace_id=trace_id, parent=5),
    )

    desk.goto(f"/trace/{trace_id}")

    expect(desk.locator(".span")).to_have_count(5)
    orphan = desk.locator(".span", has_text="span 2")
    orphan.locator("summary").click()
    expect(orphan).to_contain_text(f"its parent {77:016x} is not here")


def test_a_thousand_nested_spans_and_lines_are_shown(
    viewer: str, desk: Page, trace_id: str
) -> None:
    send(
        viewer,
        span(1, began=BEGAN, trace_id=trace_id, keep=True),
        *(span(n, began=BEGAN, trace_id=trace_id, parent=n - 1) for n in range(2, 1001)),
    )
    send_lines(viewer, *(f"line {n}" for n in range(1000)), trace_id=trace_id)

    desk.goto(f"/trace/{trace_id}")

    expect(desk.locator(".span")).to_have_count(1000)
    expect(desk.locator(".line")).to_have_count(1000)
    last = desk.locator(".span", has_text="span 1000")
    last.locator("summary").click()
    expect(last.locator(".name")).to_be_in_viewport()
    expect(value(last, "http.route")).to_have_text("/api/v1/profile")


def test_the_keyboard_opens_a_span(viewer: str, desk: Page, trace_id: str) -> None:
    send(viewer, span(1, began=BEGAN, trace_id=trace_id, keep=True))

    desk.goto(f"/trace/{trace_id}")
    desk.locator(".span summary").focus()
    desk.keyboard.press("Enter")

    expect(value(desk.locator(".span"), "http.route")).to_be_visible()


def test_a_trace_that_is_not_kept_says_so_at_once(viewer: str, desk: Page) -> None:
    desk.goto(f"/trace/{TRACE}")

    expect(desk.locator(".problem")).to_contain_text("nothing of it is here")
