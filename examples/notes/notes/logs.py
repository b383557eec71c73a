"""Our own logging: `time LEVEL logger message key=value`, for uvicorn's lines as well."""

import logging
import logging.config


class LineFormatter(logging.Formatter):
    """Appends what the caller gave as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        return " ".join([super().format(record), *(f"{k}={v!r}" for k, v in fields.items())])


_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": LineFormatter, "format": _FORMAT}},
    "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["out"]},
    # uvicorn has brought handlers of its own: two formats in one output.
    "loggers": {
        name: {"handlers": [], "propagate": True} for name in ("uvicorn", "uvicorn.access")
    },
}


def set_up() -> None:
    logging.config.dictConfig(_CONFIG)
