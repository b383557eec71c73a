"""The settings table; `ai_models` is an optional group: the service works without the columns."""

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, DateTime, ForeignKey, Index, Integer, func
from sqlalchemy.dialects.postgresql import ENUM, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base


class Theme(enum.StrEnum):
    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Settings(Base):
    __tablename__ = "settings"

    account_id: Mapped[int] = mapped_column(
        ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True
    )
    theme: Mapped[Theme] = mapped_column(
        ENUM(
            Theme,
            name="settings_theme",
            values_callable=lambda theme: [item.value for item in theme],
        ),
        server_default=Theme.SYSTEM.value,
    )
    notifications: Mapped[bool] = mapped_column(Boolean, server_default="true")
    version: Mapped[int] = mapped_column(Integer, server_default="1")
    """Counts writes; the ETag is made of it."""
    ai_models: Mapped[Any | None] = mapped_column(
        JSONB, deferred=True, deferred_group="ai_models", deferred_raiseload=True
    )
    updated_at: Mapped[datetime] = mapped_column(DateTime(True), server_default=func.now())

    __table_args__ = (Index("settings_ai_models_idx", ai_models, postgresql_using="gin"),)
