"""The request by which a caller signs in: the one of an OAuth2 scheme, else one that looks like it."""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from firedrill_kit.init.operations import FORM, JSON, Operation
from firedrill_kit.init.samples import Schema, resolved, sample, sendable

USER = (
    *("username", "email", "login", "user", "user_name", "userName", "name"),
    *("identifier", "phone", "account"),
)
PASSWORD = ("password", "passwd", "pwd", "pass")
TOKEN = (
    *("access_token", "accessToken", "token", "id_token", "idToken", "auth_token"),
    *("authToken", "jwt", "bearer"),
)
_PATH = re.compile(r"log-?_?in|sign-?_?in|token|auth|session", re.IGNORECASE)
_OTHER_PATH = re.compile(r"regist|sign-?_?up|reset|refresh|forgot|recover|verif", re.IGNORECASE)


@dataclass(frozen=True)
class SignIn:
    """is_form: else the fields are sent as JSON. why: what the guess was made of."""

    operation: Operation
    is_form: bool
    fields: Mapping[str, Any]
    token: str
    why: str


def sign_in_of(operations: Sequence[Operation]) -> SignIn | None:
    posts = [one for one in operations if one.method == "POST" and not one.required]
    posts = [one for one in posts if "{" not in one.path]
    for one in sorted(posts, key=lambda one: len(one.path)):
        if not any(one.path.rstrip("/").endswith(end) for end in _token_urls(operations)):
            continue
        for kind in (FORM, JSON):
            fields = _fields(one, kind)
            if fields is not None:
                why = "tokenUrl of the OAuth2 scheme"
                return SignIn(one, kind == FORM, fields, _token(one) or TOKEN[0], why)
    found = [
        SignIn(one, kind == FORM, fields, token, "takes a password and answers with a token")
        for one in posts
        for kind in (JSON, FORM)
        if (fields := _fields(one, kind)) is not None
        and not _OTHER_PATH.search(one.path)
        and (token := _token(one)) is not None
    ]
    return max(found, key=lambda one: bool(_PATH.search(one.operation.path)), default=None)


def api_key_headers(operations: Iterable[Operation]) -> dict[str, str]:
    """Return the headers of the schemes by which a caller sends a fixed key, each a variable."""
    return {
        scheme["name"]: f"${re.sub('[^A-Za-z0-9]+', '_', scheme['name']).upper()}"
        for document in _documents(operations)
        for scheme in _schemes(document)
        if scheme.get("type") == "apiKey" and scheme.get("in") == "header"
    }


def _documents(operations: Iterable[Operation]) -> list[Schema]:
    return list({id(one.document): one.document for one in operations}.values())


def _schemes(document: Schema) -> list[Schema]:
    return list(document.get("components", {}).get("securitySchemes", {}).values())


def _token_urls(operations: Sequence[Operation]) -> list[str]:
    """With one slash before: they are relative to the document as often as to the server."""
    urls = [
        scheme["flows"]["password"]["tokenUrl"]
        for document in _documents(operations)
        for scheme in _schemes(document)
        if "password" in scheme.get("flows", {})
    ]
    return [f"/{urlsplit(url).path.strip('./')}" for url in urls]


def _fields(operation: Operation, kind: str) -> dict[str, Any] | None:
    """What it must be sent, with the account by variable; None where it takes no name and password."""
    body = operation.body(kind)
    schema = resolved(body or {}, operation.document)
    properties = schema.get("properties", {})
    user = next((name for name in USER if name in properties), None)
    password = next((name for name in PASSWORD if name in properties), None)
    if user is None or password is None:
        return None
    others = {
        name: sample(properties[name], operation.document)
        for name in schema.get("required", ())
        if name not in {user, password} and name in properties
    }
    if "grant_type" in others:
        others["grant_type"] = "password"
    fields: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        fields = sendable(others)
    if kind == FORM:
        fields = {name: str(value) for name, value in fields.items()}
    return {user: "$PROBE_USER", password: "$PROBE_PASSWORD"} | fields


def _token(operation: Operation) -> str | None:
    """The key of the answer; where the document does not say it, what most services call it."""
    answer = operation.answer
    properties = answer.get("properties", {})
    if not properties:
        return TOKEN[0] if _PATH.search(operation.path) else None
    for name in TOKEN:
        if name in properties:
            return name
    for outer, schema in properties.items():
        inner = resolved(schema, operation.document).get("properties", {})
        for name in TOKEN:
            if name in inner and outer.isascii() and outer.isidentifier():
                return f"{outer}.{name}"
    return None
