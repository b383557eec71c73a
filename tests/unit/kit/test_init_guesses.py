"""The guesses of `firedrill init` one by one: the sign-in, the scope, skeletons of bodies, values of TOML."""

import tomllib
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI, Header
from fastapi.security import APIKeyHeader, OAuth2PasswordBearer, OAuth2PasswordRequestForm
from fastapi.security import OAuth2PasswordRequestFormStrict as StrictForm
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, Field, IPvAnyAddress

from firedrill_kit.init import toml
from firedrill_kit.init.operations import operations_of
from firedrill_kit.init.samples import sample, sendable
from firedrill_kit.init.scope import scope_pattern
from firedrill_kit.init.sign_in import api_key_headers, sign_in_of

Form = Annotated[OAuth2PasswordRequestForm, Depends()]


class Credentials(BaseModel):
    email: str
    password: str
    device: Literal["phone"]
    remember: bool = False


class Token(BaseModel):
    token: str


class Wrapped(BaseModel):
    data: Token | None
    ok: bool


def found(app: FastAPI) -> tuple[str, bool, dict[str, Any], str] | None:
    sign_in = sign_in_of(list(operations_of(app)))
    if sign_in is None:
        return None
    return sign_in.operation.name, sign_in.is_form, dict(sign_in.fields), sign_in.token


@pytest.mark.parametrize("url", ["login", "./login", "/login", "https://shop.test/login"])
def test_the_route_of_an_oauth2_scheme_is_the_sign_in(url: str) -> None:
    app = FastAPI()
    bearer = OAuth2PasswordBearer(tokenUrl=url)

    @app.post("/register")
    def register(new: Credentials) -> Token:
        raise NotImplementedError

    @app.post("/login")
    def login(form: Form) -> dict[str, str]:
        raise NotImplementedError

    @app.get("/me")
    def me(token: Annotated[str, Depends(bearer)]) -> None: ...

    form = {"username": "$PROBE_USER", "password": "$PROBE_PASSWORD"}
    assert found(app) == ("POST /login", True, form, "access_token")


def test_a_form_that_must_say_its_grant_says_it() -> None:
    app = FastAPI()

    @app.post("/token")
    def token(form: Annotated[StrictForm, Depends()]) -> Token:
        raise NotImplementedError

    assert found(app) == (
        "POST /token",
        True,
        {"username": "$PROBE_USER", "password": "$PROBE_PASSWORD", "grant_type": "password"},
        "token",
    )


def test_a_json_request_that_takes_a_password_and_gives_a_token_is_the_sign_in() -> None:
    app = FastAPI()

    @app.post("/users")
    def create(new: Credentials) -> None: ...

    @app.post("/auth/register")
    def register(new: Credentials) -> Token:
        raise NotImplementedError

    @app.post("/accounts")
    def accounts(new: Credentials) -> Token:
        raise NotImplementedError

    @app.post("/v1/sign-in")
    def sign_in(given: Credentials) -> Wrapped:
        raise NotImplementedError

    body = {"email": "$PROBE_USER", "password": "$PROBE_PASSWORD", "device": "phone"}
    assert found(app) == ("POST /v1/sign-in", False, body, "data.token")


def test_what_gives_no_token_is_no_sign_in() -> None:
    app = FastAPI()

    @app.post("/users")
    def create(new: Credentials) -> Credentials:
        raise NotImplementedError

    @app.post("/login/{realm}")
    def login(realm: str, new: Credentials) -> Token:
        raise NotImplementedError

    @app.post("/tokens")
    def tokens(new: Token) -> Token:
        raise NotImplementedError

    assert found(app) is None


def test_a_fixed_key_is_a_header_with_a_variable() -> None:
    app = FastAPI()

    @app.get("/me")
    def me(key: Annotated[str, Depends(APIKeyHeader(name="X-Api-Key"))]) -> None: ...

    assert api_key_headers(operations_of(app)) == {"X-Api-Key": "$X_API_KEY"}


def test_who_must_be_signed_in_is_told_by_scheme_or_header() -> None:
    app = FastAPI()
    bearer = Depends(OAuth2PasswordBearer(tokenUrl="login"))
    optional: dict[str, Any] = {"security": [{"OAuth2PasswordBearer": []}, {}]}

    @app.get("/by-scheme", dependencies=[bearer])
    @app.get("/may", openapi_extra=optional)
    @app.get("/open")
    def routes() -> None: ...

    @app.get("/by-header")
    def by_header(authorization: Annotated[str, Header()]) -> None: ...

    @app.get("/other-header")
    def other_header(x_tenant: Annotated[str, Header()]) -> None: ...

    told = {one.path: (one.needs_token, one.is_plain) for one in operations_of(app)}

    assert told == {
        "/by-scheme": (True, True),
        "/may": (False, True),
        "/open": (False, True),
        "/by-header": (True, True),
        "/other-header": (False, False),
    }


@pytest.mark.parametrize(
    ("paths", "pattern"),
    [
        (["/api/v1/users/me", "/api/v1/items/", "/health"], "/api/v[0-9]+/([^/]+)"),
        (["/api/v1/users", "/api/v2/users", "/api/v2/items"], "/api/v[0-9]+/([^/]+)"),
        (["/items", "/items/{id}"], "/([^/]+)"),
        (["/items/{id}/parts", "/items/{id}/prices"], "/([^/]+)"),
        (["/my.shop/items", "/my.shop/users"], r"/my\.shop/([^/]+)"),
        (["/my-shop/v2/items", "/my-shop/v2/users"], "/my-shop/v[0-9]+/([^/]+)"),
        (["/users/me", "/users/all", "/items", "/orders"], "/([^/]+)"),
        (["/api/items"], "/api/([^/]+)"),
        (["/"], "/([^/]+)"),
        ([], "/([^/]+)"),
    ],
)
def test_the_scope_is_the_first_segment_in_which_routes_differ(
    paths: list[str], pattern: str
) -> None:
    assert scope_pattern(paths) == pattern


class Colour(Enum):
    RED = "red"


class Part(BaseModel):
    label: Annotated[str, Field(min_length=10, max_length=12)]
    parts: "list[Part]" = []


class Everything(BaseModel):
    name: str = Field(max_length=2)
    text: str = Field(min_length=300)
    colour: Colour
    one_of: Literal["a", "b"]
    key: UUID
    email: str = Field(json_schema_extra={"format": "email"}, pattern="@")
    at: datetime
    aware: AwareDatetime
    host: IPvAnyAddress
    price: Decimal = Field(ge=5)
    above: int = Field(gt=1)
    below: int = Field(lt=0)
    between: float = Field(gt=0, lt=1)
    even: int = Field(ge=3, multiple_of=4)
    flag: bool
    several: list[int] = Field(min_length=2)
    part: Part
    either: int | str
    nothing: str | None
    prices: dict[str, float]
    shown: str = Field(examples=["as shown"], pattern="^as")


def test_a_skeleton_is_what_the_model_takes() -> None:
    schema = Everything.model_json_schema()

    made = sample(schema, schema)

    Everything.model_validate(made)
    assert made["shown"] == "as shown"
    assert made["part"] == {"label": "texttextte"}


def test_where_nothing_must_be_given_the_skeleton_shows_what_can_be() -> None:
    class Change(BaseModel):
        title: str | None = None
        count: int = 3

    schema = Change.model_json_schema()

    assert sample(schema, schema) == {"title": "text", "count": 3}


def test_a_model_that_holds_itself_ends() -> None:
    schema = {
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/Node"}},
                "required": ["next"],
            },
            "Loop": {"$ref": "#/$defs/Loop"},
        },
        "anyOf": [{"$ref": "#/$defs/Node"}, {"$ref": "#/$defs/Loop"}],
    }

    assert sample(schema, schema)["next"]["next"]
    assert sample(schema["$defs"]["Loop"], schema) == "text"  # type: ignore[index]


def test_secrets_are_variables_and_dollars_are_dollars() -> None:
    given = {"password": "x", "api-key": 3, "note": "costs $5", "none": None, "in": [{"pwd": ""}]}

    assert sendable(given) == {
        "password": "$PROBE_PASSWORD",
        "api-key": "$PROBE_API_KEY",
        "note": "costs $$5",
        "in": [{"pwd": "$PROBE_PWD"}],
    }
    with pytest.raises(ValueError, match="secret"):
        sendable({"dsn_of": "postgresql://a:b@host"})


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TREES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_a_value_is_read_as_it_was_written(tree: object) -> None:
    line = f"value = {toml.value(tree)}"

    assert tomllib.loads(line)["value"] == tree


def test_half_of_a_character_is_written_as_something() -> None:
    assert tomllib.loads(f"value = {toml.quoted(chr(0xD800))}") == {"value": "?"}
