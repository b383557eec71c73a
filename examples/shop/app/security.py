"""Passwords, tokens, and who is calling."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from fastapi import Depends, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from pwdlib import PasswordHash

from app.config import settings
from app.database import SessionDep
from app.models import User

passwords = PasswordHash.recommended()
_ALGORITHM = "HS256"
_bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/login/access-token")


def new_token(user_id: uuid.UUID) -> str:
    expires = datetime.now(UTC) + timedelta(minutes=settings.token_minutes)
    claims = {"sub": str(user_id), "exp": expires}
    return jwt.encode(claims, settings.secret_key, algorithm=_ALGORITHM)


def current_user(session: SessionDep, token: Annotated[str, Depends(_bearer)]) -> User:
    try:
        claims = jwt.decode(token, settings.secret_key, algorithms=[_ALGORITHM])
        user_id = uuid.UUID(claims["sub"])
    except (jwt.InvalidTokenError, KeyError, ValueError):
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Could not validate credentials") from None
    user = session.get(User, user_id)
    if user is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "User not found")
    if not user.is_active:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, "Inactive user")
    return user


CurrentUser = Annotated[User, Depends(current_user)]
