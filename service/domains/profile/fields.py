"""What the fields of a profile may be: an IANA zone, a BCP 47 language tag, an address."""

import unicodedata
from importlib.resources import files
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from service.security.claims import MAX_EMAIL_CHARACTERS, is_email

TIME_ZONES = frozenset(files("tzdata").joinpath("zones").read_text("ascii").split()) - {"Factory"}
"""IANA's names. A machine's own folder of zones also has `localtime` and `posixrules`, which mean
something else on each machine; `Factory` is IANA's word for "not set"."""

_ALNUM = "[A-Za-z0-9]"
_PRIVATE = f"[xX](?:-{_ALNUM}{{1,8}})+"
_IRREGULAR = (
    "en-GB-oed|i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)"
    "|sgn-(?:BE-FR|BE-NL|CH-DE)"
)
# RFC 5646 §2.1, in its order: language, script, region, variants, extensions, private use.
LANGUAGE_TAG = (
    "^(?:(?:[A-Za-z]{2,3}(?:-[A-Za-z]{3}){0,3}|[A-Za-z]{4,8})"
    "(?:-[A-Za-z]{4})?"
    "(?:-(?:[A-Za-z]{2}|[0-9]{3}))?"
    f"(?:-(?:{_ALNUM}{{5,8}}|[0-9]{_ALNUM}{{3}}))*"
    f"(?:-[0-9A-WY-Za-wy-z](?:-{_ALNUM}{{2,8}})+)*"
    f"(?:-{_PRIVATE})?"
    f"|{_PRIVATE}|{_IRREGULAR})$"
)
LANGUAGE_TAG_MAX = 35
"""Characters that everybody has to keep (RFC 5646 §4.4.1)."""


def _in_iana(value: str) -> str:
    if value not in TIME_ZONES:
        message = "must be an IANA time zone"
        raise ValueError(message)
    return value


def _without_repetition(value: str) -> str:
    """Refuse what a pattern cannot: an extension or a variant that is there twice (§2.2.9)."""
    tag = value.lower().partition("-x-")[0]
    before_extensions = []
    singletons = []
    for part in tag.split("-")[1:]:
        if len(part) == 1:
            singletons.append(part)
        elif not singletons and (len(part) >= 5 or (len(part) == 4 and part[0].isdigit())):
            before_extensions.append(part)
    for parts in (singletons, before_extensions):
        if len(parts) != len(set(parts)):
            message = "must not repeat a part"
            raise ValueError(message)
    return value


def _address(value: str) -> str:
    if not is_email(value):
        message = "must be an e-mail address"
        raise ValueError(message)
    return unicodedata.normalize("NFC", value)


TimeZone = Annotated[
    str,
    StringConstraints(min_length=1, max_length=64, strip_whitespace=True),
    AfterValidator(_in_iana),
    Field(
        description="A name of the IANA time zone database.",
        examples=["Europe/London"],
        json_schema_extra={"format": "iana-time-zone"},
    ),
]
Locale = Annotated[
    str,
    StringConstraints(
        min_length=2, max_length=LANGUAGE_TAG_MAX, strip_whitespace=True, pattern=LANGUAGE_TAG
    ),
    AfterValidator(_without_repetition),
    Field(
        description="A BCP 47 language tag.",
        examples=["zh-Hant-TW"],
        json_schema_extra={"format": "bcp47"},
    ),
]
Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=MAX_EMAIL_CHARACTERS, strip_whitespace=True),
    AfterValidator(_address),
    Field(json_schema_extra={"format": "email"}),
]
