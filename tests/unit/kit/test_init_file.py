"""The file that `firedrill init` writes: the reader takes it, also with every # taken away."""

import re
from enum import Enum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI, File, Form, Header, Query
from fastapi.security import (
    APIKeyHeader,
    HTTPBearer,
    OAuth2PasswordBearer,
    OAuth2PasswordRequestForm,
)

from firedrill_kit.config import parse
from firedrill_kit.init.application import Application
from firedrill_kit.init.document import text_of
from firedrill_kit.init.guesses import Guesses, guesses_of
from firedrill_kit.init.load import TOTAL_RATE, shares
from service.app import Service
from tests.contracts.test_app_contract import service
from tests.unit.kit.foreign import foreign

__all__ = ["service"]


class Size(Enum):
    SMALL = "small size"


def guessed(app: FastAPI) -> Guesses:
    return guesses_of(Application(app, "shop.main:app", is_made=False))


def written(app: FastAPI) -> str:
    return text_of(guessed(app), Path("firedrill.toml"))


def uncommented(text: str) -> str:
    return re.sub(r"(?m)^#(?=\S)", "", text)


def test_the_file_of_the_demo_is_read_and_says_what_its_own_file_says(service: Service) -> None:
    text = written(service.app)

    config, filled_in = parse(text), parse(uncommented(text))

    assert config.client
    assert config.client.sign_in == "POST /api/v1/auth/token"
    assert config.client.form == {"username": "$PROBE_USER", "password": "$PROBE_PASSWORD"}
    assert config.client.token == "access_token"
    assert config.scope.pattern == "/api/v[0-9]+/([^/]+)"
    assert list(config.probes) == [
        "POST /api/v1/auth/token",
        "GET /api/v1/auth/csrf",
        "GET /api/v1/profile",
        "GET /api/v1/calendar/connection",
    ]
    assert config.routes["POST /api/v1/auth/token"].caller == "signing_in"
    assert config.routes["GET /api/v1/settings"].caller == "account"
    assert {"accounts", "profiles", "settings"} <= config.lockable
    assert filled_in.load.unrelated == "GET /problems/{code}"
    assert filled_in.routes["GET /problems/{code}"].path == "/problems/validation_failed"
    assert filled_in.routes["GET /problems/{code}"].caller == "anybody"
    described = {
        f"{method.upper()} {path}"
        for path, item in service.app.openapi()["paths"].items()
        for method in item
    }
    assert set(filled_in.routes) == described


def test_the_drill_locks_the_table_that_most_routes_name(service: Service) -> None:
    (drill,) = parse(uncommented(written(service.app))).drills

    assert drill.breaks.lock == "accounts"
    assert drill.load == {"GET /api/v1/profile": 25}


def test_the_document_that_the_application_keeps_is_not_touched(service: Service) -> None:
    kept = service.app.openapi()

    guessed(service.app)

    assert service.app.openapi_schema is kept


@pytest.mark.parametrize("own_errors", [False, True])
def test_the_file_of_any_application_is_read(own_errors: bool) -> None:
    app = foreign(own_errors=own_errors)
    text = written(app)

    config, filled_in = parse(text), parse(uncommented(text))

    assert config.service.name == "foreign"
    assert config.client is None
    assert {"GET /", "GET /slash/"} < set(config.routes)
    assert sum(route.rate for route in config.routes.values()) == pytest.approx(TOTAL_RATE)
    added = {name: one.path for name, one in filled_in.routes.items() if name not in config.routes}
    assert added == {
        "GET /sync/{number}": "/sync/1",
        "GET /typed/{number}/{rest}": "/typed/1/1",
        "POST /items": "/items",
        "DELETE /items": "/items",
        "GET /status/{status}": "/status/1",
        "GET /stream": "/stream",
        "GET /stream/broken": "/stream/broken",
        "GET /inner/thing/{name}": "/inner/thing/1",
    }
    assert filled_in.routes["POST /items"].body == {"name": "text"}
    assert app.openapi_schema is None


def test_every_guess_says_so() -> None:
    # Tables are those of the whole process, and so of other tests.
    text, _, _ = written(foreign()).partition("[database]")
    values = re.findall(r"(?m)^([a-z_]+ = .*)$", text)

    assert [one for one in values if "# guess" not in one] == [
        "metrics_port = 9464",
        'otlp = "http://127.0.0.1:4318"',
        'logs = "add"',
        # Under a comment of their own.
        "objective = 0.999",
        "fast_within = 0.25",
        "routes = [",
    ]


def test_an_application_without_anything_has_a_file() -> None:
    app = FastAPI()

    config = parse(written(app))
    filled_in = parse(uncommented(written(app)))

    assert config.service.name == re.sub(r"[^a-z0-9]+", "-", Path.cwd().name.lower()).strip("-")
    assert config.routes == config.probes == {}
    assert filled_in.process


def test_what_the_mix_cannot_send_is_said() -> None:
    app = FastAPI(title="Uploads")

    @app.post("/pictures")
    def upload(picture: Annotated[bytes, File()]) -> None: ...

    @app.post("/forms")
    def form(name: Annotated[str, Form()]) -> None: ...

    @app.get("/own")
    def own(x_tenant: Annotated[str, Header()]) -> None: ...

    text = written(app)

    assert '# "POST /pictures" needs a body that is not JSON, which the mix cannot send.' in text
    assert '# "POST /forms" needs a body that is not JSON' in text
    assert '# "GET /own" needs a header of its own' in text
    assert parse(uncommented(text)).routes == {}


def test_what_needs_a_token_is_probed_and_what_needs_nothing_is_unrelated() -> None:
    app = FastAPI()
    token = Depends(OAuth2PasswordBearer(tokenUrl="login"))

    @app.post("/login")
    def login(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> None: ...

    @app.get("/a/users", dependencies=[token])
    @app.get("/c/users", dependencies=[token])
    @app.get("/logout", dependencies=[token])
    @app.get("/a/open")
    @app.get("/b/open")
    def users() -> None: ...

    config = parse(written(app))

    assert list(config.probes) == ["POST /login", "GET /c/users", "GET /a/users", "GET /b/open"]
    assert config.load.unrelated == "GET /b/open"
    assert config.routes["GET /a/users"].caller == "account"
    assert config.routes["GET /a/open"].caller == "anybody"
    assert "GET /logout" not in config.routes


def test_what_streams_or_ends_a_session_is_nothing_to_be_asked_again_and_again() -> None:
    app = FastAPI()

    @app.get("/about")
    @app.get("/download")
    def route() -> None: ...

    @app.get("/export")
    def export() -> None: ...

    config = parse(written(app))

    assert config.load.unrelated == "GET /about"
    assert list(config.routes) == list(config.probes) == ["GET /about"]


def test_what_is_mounted_twice_is_one_route() -> None:
    app, inner = FastAPI(), FastAPI()

    @inner.get("/part")
    def part() -> None: ...

    for _ in range(2):
        app.mount("/inner", inner)

    assert list(parse(written(app)).routes) == ["GET /inner/part"]


def test_a_fixed_key_is_sent_by_every_caller() -> None:
    app = FastAPI()

    @app.get("/me")
    def me(key: Annotated[str, Depends(APIKeyHeader(name="X-Api-Key"))]) -> None: ...

    config = parse(written(app))

    assert config.client
    assert config.client.headers == {"X-Api-Key": "$X_API_KEY"}
    assert config.routes["GET /me"].caller == "account"


def test_without_a_sign_in_what_needs_a_token_is_commented_out() -> None:
    app = FastAPI()
    token = Depends(HTTPBearer())

    @app.get("/me", dependencies=[token])
    @app.get("/open")
    def route() -> None: ...

    text = written(app)

    assert list(parse(text).routes) == ["GET /open"]
    assert '#"GET /me" = {rate = 0.5}' in text


def test_a_path_is_filled_in_as_its_schema_says() -> None:
    app = FastAPI()

    @app.get("/{size}/{key}/{number}")
    def find(
        size: Size, key: UUID, number: int, q: str, page: Annotated[int, Query(ge=5)]
    ) -> None: ...

    (route,) = parse(uncommented(written(app))).routes.values()

    assert route.path == "/small%20size/00000000-0000-4000-8000-000000000000/1?q=1&page=5"


@pytest.mark.parametrize("count", [0, 1, 3, 7, 100, 500])
def test_shares_add_up_and_none_is_nothing(count: int) -> None:
    found = shares(count)

    assert len(found) == count
    assert all(rate >= 0.1 for rate in found)
    if 0 < count <= 100:
        assert sum(found) == pytest.approx(TOTAL_RATE)
