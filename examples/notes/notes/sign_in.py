"""Passwords, tokens, `POST /auth/login`, and who is calling."""

import asyncio
import hashlib
import hmac
import time
from typing import Annotated

import jwt
from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel
from sqlalchemy import select

from notes.database import Author, Session
from notes.errors import NotesError
from notes.settings import SECRET_KEY, TOKEN_SECONDS

router = APIRouter(prefix="/auth", tags=["auth"])


class Credentials(BaseModel):
    name: str
    password: str


class Token(BaseModel):
    access_token: str


def hash_password(password: str, salt: bytes) -> bytes:
    return salt + hashlib.scrypt(password.encode(), salt=salt, n=2**13, r=8, p=1)


def author_of(token: str) -> int:
    """Return the id of the author. Raises NotesError."""
    try:
        return int(jwt.decode(token, SECRET_KEY, algorithms=["HS256"])["sub"])
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise NotesError(401, "not_signed_in", "Sign in again") from None


async def caller_of(authorization: Annotated[str, Header()] = "") -> int:
    return author_of(authorization.removeprefix("Bearer "))


Caller = Annotated[int, Depends(caller_of)]


@router.post("/login")
async def login(credentials: Credentials, session: Session) -> Token:
    author = await session.scalar(select(Author).where(Author.name == credentials.name))
    known = author.password if author else bytes(80)
    made = await asyncio.to_thread(hash_password, credentials.password, known[:16])
    if author is None or not hmac.compare_digest(made, known):
        raise NotesError(401, "wrong_credentials", "Name or password is wrong")
    claims = {"sub": str(author.id), "exp": int(time.time()) + TOKEN_SECONDS}
    return Token(access_token=jwt.encode(claims, SECRET_KEY, algorithm="HS256"))
