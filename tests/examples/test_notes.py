"""The notebook answers in its own shapes, and does what FastAPI offers beside plain routes."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from websocket import WebSocket, create_connection

from stack.waiting import until
from tests.examples.descriptions import unknown_names
from tests.examples.running import PASSWORD, USER, Example

CREDENTIALS = {"name": USER, "password": PASSWORD}
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) [a-z.]+ .+")


@pytest.fixture(scope="module")
def token(notes: Example) -> str:
    answer = httpx.post(f"{notes.url}/auth/login", json=CREDENTIALS, timeout=60)
    assert list(answer.json()) == ["access_token"]
    token: str = answer.json()["access_token"]
    return token


@pytest.fixture(scope="module")
def client(notes: Example, token: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=notes.url, headers=headers, timeout=60) as opened:
        yield opened


@pytest.fixture
def socket(notes: Example) -> Iterator[WebSocket]:
    opened = create_connection(f"ws{notes.url.removeprefix('http')}/notes/count", timeout=60)
    yield opened
    opened.shutdown()  # type: ignore[no-untyped-call]


def test_a_note_is_created_listed_and_read(client: httpx.Client) -> None:
    created = client.post("/notes", json={"text": "one two three"})
    note = created.json()
    listed = client.get("/notes", params={"limit": 1})
    read = client.get(f"/notes/{note['id']}")

    assert (created.status_code, note["text"]) == (201, "one two three")
    assert [each["id"] for each in listed.json()] == [note["id"]]
    assert (read.status_code, read.json()["text"]) == (200, "one two three")


def test_the_words_of_a_note_come_to_be_counted(notes: Example, client: httpx.Client) -> None:
    note = client.post("/notes", json={"text": "four words and more"}).json()

    words = until(lambda: client.get(f"/notes/{note['id']}").json()["words"], "the count")

    assert (note["words"], words) == (None, 4)
    told = f"INFO notes.notebook counted the words of a note note={note['id']} words=4"
    until(lambda: told in notes.log.read_text(), "the line of the count")


def test_lines_are_in_its_own_format(notes: Example, client: httpx.Client) -> None:
    client.get("/ping")
    until(lambda: '"GET /ping HTTP/1.1" 200' in notes.log.read_text(), "the line of the request")

    lines = notes.log.read_text().splitlines()

    # Firedrill adds lines of its own, one of JSON a request.
    own = [line for line in lines if not line.startswith("{")]
    assert [line for line in own if not LINE.fullmatch(line)] == []
    assert len(own) < len(lines)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/auth/login", CREDENTIALS | {"password": "wrong"}, 401, "wrong_credentials"),
        ("POST", "/auth/login", CREDENTIALS | {"name": "nobody"}, 401, "wrong_credentials"),
        ("POST", "/auth/login", {"name": USER}, 422, "invalid_request"),
        ("GET", "/notes/x", None, 422, "invalid_request"),
        ("GET", "/notes/2000000000", None, 404, "no_such_note"),
        ("GET", "/nowhere", None, 404, "no_such_page"),
        ("DELETE", "/notes", None, 405, "http_error"),
    ],
)
def test_errors_have_its_own_shape(
    client: httpx.Client, method: str, path: str, body: object, status: int, code: str
) -> None:
    answer = client.request(method, path, json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert list(answer.json()) == ["error"]


def test_an_invalid_field_is_named(client: httpx.Client) -> None:
    answer = client.post("/notes", json={"txt": "x"})

    assert (answer.status_code, answer.json()["error"]["fields"]) == (
        422,
        {"body.text": "Field required"},
    )


def test_a_forged_token_is_refused(client: httpx.Client) -> None:
    answer = client.get("/notes", headers={"Authorization": "Bearer x"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_signed_in")


def test_the_export_is_streamed_line_by_line(client: httpx.Client) -> None:
    texts = ["first", "second"]
    for text in texts:
        client.post("/notes", json={"text": text})

    answer = client.get("/notes/export")

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers
    assert [json.loads(line)["text"] for line in answer.text.splitlines()][-2:] == texts


def test_the_socket_says_how_many_notes_there_are(
    socket: WebSocket, client: httpx.Client, token: str
) -> None:
    def count() -> int:
        socket.send("how many?")
        number: int = json.loads(socket.recv())["notes"]
        return number

    socket.send(token)
    before = count()
    client.post("/notes", json={"text": "one more"})

    assert count() == before + 1


def test_the_socket_is_closed_on_a_forged_token(socket: WebSocket) -> None:
    socket.send("x")

    _, frame = socket.recv_data_frame(control_frame=True)

    assert int.from_bytes(frame.data[:2], "big") == 1008


def test_the_mounted_application_has_errors_of_its_own(client: httpx.Client) -> None:
    assert client.get("/about/version").json() == {"version": "1"}
    assert client.get("/about/nowhere").json() == {"detail": "Not Found"}


def test_preparing_again_changes_nothing(notes: Example) -> None:
    done = notes.prepare({"FIRST_PASSWORD": "another password"})

    assert [each.returncode for each in done] == [0]
    assert httpx.post(f"{notes.url}/auth/login", json=CREDENTIALS, timeout=60).is_success


def test_a_missing_variable_is_named_in_one_line(notes: Example) -> None:
    [done] = notes.prepare({"SECRET_KEY": ""})

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "notes: set the environment variable SECRET_KEY\n"


async def test_its_description_names_what_it_has(notes: Example) -> None:
    assert await unknown_names(notes) == []
