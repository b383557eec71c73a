"""The pager's page, rendered here and nowhere else; jinja2 escapes everything that arrived."""

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stack.pager.pager import Pager

SHOWN_NOTIFICATIONS = 100

_HERE = Path(__file__).parent
STYLE = (_HERE / "pager.css").read_text(encoding="utf-8")
SCRIPT = (_HERE / "pager.js").read_text(encoding="utf-8")


def is_web_address(text: str) -> bool:
    """Whether a link may be made of it: an annotation could hold `javascript:`."""
    return text.startswith(("http://", "https://"))


def ago(seconds: float) -> str:
    """How long ago, in the one unit that matters: `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%F %T} UTC"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"ago": ago, "utc": utc}
_ENVIRONMENT.tests["web_address"] = is_web_address


def render_page(pager: Pager, *, name: str) -> str:
    firing = pager.firing()
    return _ENVIRONMENT.get_template("page.html").render(
        name=name,
        now=datetime.fromtimestamp(pager.clock(), UTC),
        deadman=pager.deadman,
        beat_age_seconds=pager.beat_age_seconds(),
        pages=[group for group in firing if group.receiver != "ticket"],
        tickets=[group for group in firing if group.receiver == "ticket"],
        unknown=pager.unknown(),
        history=pager.store.newest(limit=SHOWN_NOTIFICATIONS),
    )
