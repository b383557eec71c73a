"""Signing in and out over HTTP."""

from typing import Annotated, Literal

from fastapi import Form, Request, Response
from pydantic import BaseModel, ConfigDict

from service import failures
from service.domains.auth import operations
from service.domains.auth.operations import SignIn
from service.problems import problems
from service.provided import provided
from service.schemas import Text, router
from service.security import Security, UnitOfWork, Work
from service.security.authentication import check_sender
from service.security.csrf import CsrfRejected
from service.security.rejections import refuse_forgery

routes = router("/api/v1/auth", "auth")

_NO_STORE = {"Cache-Control": "no-store"}


class PasswordForm(BaseModel):
    """The form of RFC 6749 §4.3.2, whose servers must ignore fields they do not know.

    username: the e-mail address.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    grant_type: Literal["password"] = "password"
    username: Annotated[str, Text(min_length=1, max_length=254)]
    password: Annotated[str, Text(min_length=1, max_length=1024, strip=False)]


class TokenOut(BaseModel):
    """The answer of RFC 6749 §5.1. expires_in: seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the field's name is RFC 6749's
    expires_in: int


class CsrfOut(BaseModel):
    """expires_in: seconds."""

    csrf_token: str
    expires_in: int


@routes.post(
    "/token",
    responses=problems(
        failures.LOGIN_FAILED,
        failures.RATE_LIMITED,
        failures.CSRF_FAILED,
        caller=False,
        body=True,
        write=True,
    ),
)
async def sign_in(
    form: Annotated[PasswordForm, Form()], request: Request, response: Response
) -> TokenOut:
    """Sign in with e-mail and password: returns an access token and sets the session cookie."""
    security = provided(request, Security)
    _refuse_foreign_page(security, request)
    address = request.client.host if request.client else ""
    signing_in = provided(request, SignIn)
    signed_in = await signing_in.with_password(form.username, form.password, address=address)
    token = security.issuer.enhanced(signed_in.account_id, signed_in.email, signed_in.role)
    response.headers.update(_NO_STORE)
    response.headers.append("Set-Cookie", security.cookies.session(signed_in.secret))
    return TokenOut(access_token=token, expires_in=security.issuer.lifetime_seconds)


@routes.get("/csrf", responses=problems())
async def read_csrf_token(work: Work, request: Request, response: Response) -> CsrfOut:
    """Return a CSRF token for the session, and set it as a cookie; a change has to send both."""
    security = provided(request, Security)
    own_session_id = _session_id(work)
    await work.caller()
    token = security.csrf.issue(own_session_id)
    response.headers.update(_NO_STORE)
    response.headers.append("Set-Cookie", security.cookies.csrf(token))
    return CsrfOut(csrf_token=token, expires_in=security.csrf.lifetime_seconds)


@routes.post("/logout", status_code=204, responses=problems(write=True))
async def sign_out(work: Work, request: Request, response: Response) -> None:
    """End the session; access tokens live on until they expire."""
    security = provided(request, Security)
    await work.write(operations.end_session, own_session_id=_session_id(work))
    for line in security.cookies.cleared():
        response.headers.append("Set-Cookie", line)


def _session_id(work: UnitOfWork) -> bytes:
    """Return the caller's session, which the policy of these routes asks for."""
    own_session_id = work.identity.session_id
    assert own_session_id is not None  # noqa: S101 - narrows the declared type
    return own_session_id


def _refuse_foreign_page(security: Security, request: Request) -> None:
    """Refuse a page of another site that would sign its visitor in to an account of its own.

    Clients that are no browsers send neither header and are let through.
    """
    try:
        check_sender(security.csrf, request.scope["headers"], is_proof_needed=False)
    except CsrfRejected as rejected:
        raise refuse_forgery(rejected) from rejected
