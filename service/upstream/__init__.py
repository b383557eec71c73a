"""The calendar provider, from our side of the wire."""

from service.upstream.client import CalendarProvider, open_http

__all__ = ["CalendarProvider", "open_http"]
