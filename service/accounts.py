"""Accounts and sessions: the tables that security and the domains share."""

import enum
from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, Text, func
from sqlalchemy.dialects.postgresql import BYTEA, ENUM
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base

MAX_ACCOUNT_ID = 2**63 - 1


class Role(enum.StrEnum):
    USER = "user"
    ADMIN = "admin"


class Account(Base):
    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(Text)
    """As the owner wrote it, NFC; compared by its casefolded form, unique by lower(email)."""
    password_hash: Mapped[str] = mapped_column(Text)
    role: Mapped[Role] = mapped_column(
        ENUM(
            Role, name="account_role", values_callable=lambda role: [item.value for item in role]
        ),
        server_default=Role.USER.value,
    )
    created_at: Mapped[datetime] = mapped_column(DateTime(True), server_default=func.now())

    __table_args__ = (Index("accounts_email_key", func.lower(email), unique=True),)


class LoginSession(Base):
    __tablename__ = "sessions"

    id: Mapped[bytes] = mapped_column(BYTEA, primary_key=True)
    """SHA-256 of the cookie's secret: reading the table does not let anybody in."""
    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(DateTime(True), server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(DateTime(True), index=True)
