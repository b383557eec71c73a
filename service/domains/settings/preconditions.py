"""`If-Match` and `If-None-Match`: lists of entity tags, compared as RFC 9110 §13.1 says."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from starlette.datastructures import Headers

ANY = "*"

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(_TAG)
# Lists may have empty elements (§5.6.1), and a tag may have a comma in it.
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t]*(?:{_TAG})?)*[ \t]*")


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The two headers of one request, None where it does not have them."""

    if_match: str | None
    if_none_match: str | None

    @classmethod
    def of(cls, headers: Headers) -> Self:
        """Several lines of one header are one list."""

        def joined(name: str) -> str | None:
            return ", ".join(headers.getlist(name)).strip() if name in headers else None

        return cls(joined("if-match"), joined("if-none-match"))

    def __bool__(self) -> bool:
        return self.if_match is not None or self.if_none_match is not None

    def match(self, etag: str, *, exists: bool) -> bool:
        """Tell whether `If-Match` lets the request pass. A weak tag never matches (strong comparison).

        etag: of the current representation, strong. exists: whether there is one, for `*`.
        """
        return self.if_match is None or _names(self.if_match, etag, exists=exists, of=str)

    def none_match(self, etag: str, *, exists: bool) -> bool:
        """Tell whether `If-None-Match` lets the request pass (weak comparison)."""
        return self.if_none_match is None or not _names(
            self.if_none_match, etag, exists=exists, of=lambda tag: tag.removeprefix("W/")
        )


def _names(header: str, etag: str, *, exists: bool, of: Callable[[str], str]) -> bool:
    """Tell whether the header names the tag; what is no list of tags names none."""
    if header == ANY:
        return exists
    return _LIST.fullmatch(header) is not None and etag in map(of, _TAGS.findall(header))
