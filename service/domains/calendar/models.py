"""The Google grant of an account and the events pulled with it."""

import enum
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import BYTEA, ENUM
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base


class GrantStatus(enum.StrEnum):
    OK = "ok"
    REAUTH_REQUIRED = "reauth_required"
    MISCONFIGURED = "misconfigured"


class Grant(Base):
    """A grant and the lease on its refresh. Times are the database's, never an application's."""

    __tablename__ = "oauth_grants"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    access_token_enc: Mapped[bytes] = mapped_column(BYTEA)
    refresh_token_enc: Mapped[bytes] = mapped_column(BYTEA)
    expires_at: Mapped[datetime] = mapped_column(DateTime(True))
    token_version: Mapped[int] = mapped_column(Integer, server_default="1")
    status: Mapped[GrantStatus] = mapped_column(
        ENUM(
            GrantStatus,
            name="grant_status",
            values_callable=lambda status: [item.value for item in status],
        ),
        server_default=GrantStatus.OK.value,
    )
    lease_owner: Mapped[UUID | None]
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(True))
    attempt_id: Mapped[UUID | None]
    attempt_sent_at: Mapped[datetime | None] = mapped_column(DateTime(True))
    last_error: Mapped[str | None] = mapped_column(Text)
    sync_token: Mapped[str | None] = mapped_column(Text)
    """None: the next sync asks for everything."""
    page_token: Mapped[str | None] = mapped_column(Text)
    """Where a listing that was cut short goes on; None: none is under way."""
    listed_at: Mapped[datetime | None] = mapped_column(DateTime(True))
    """When the latest listing of everything began, or the calendar was connected: decides the window of the
    listing, and what is gone by its end."""
    listed_pages: Mapped[int] = mapped_column(Integer, server_default="0")
    """Pages of the listing under way that are stored."""
    synced_at: Mapped[datetime | None] = mapped_column(DateTime(True))

    __table_args__ = (
        UniqueConstraint("account_id", "provider", name="oauth_grants_account_id_provider_key"),
    )


class Event(Base):
    __tablename__ = "calendar_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    provider_event_id: Mapped[str] = mapped_column(Text)
    etag: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    summary: Mapped[str | None] = mapped_column(Text)
    starts_at: Mapped[datetime] = mapped_column(DateTime(True))
    ends_at: Mapped[datetime] = mapped_column(DateTime(True))
    all_day: Mapped[bool] = mapped_column(Boolean, server_default="false")
    updated_at: Mapped[datetime] = mapped_column(DateTime(True), server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(DateTime(True), server_default=func.now())
    """When a listing of everything last had it."""

    __table_args__ = (
        UniqueConstraint(
            "account_id",
            "provider_event_id",
            name="calendar_events_account_id_provider_event_id_key",
        ),
        Index("calendar_events_account_id_starts_at_idx", "account_id", "starts_at", "id"),
    )
