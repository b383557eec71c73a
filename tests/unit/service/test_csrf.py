"""The CSRF checks, without a server."""

import pytest

from service.security.csrf import Csrf, CsrfRejected

NOW = 1_800_000_000
KEY = b"session-key-of-at-least-32-bytes-000"
ORIGIN = "http://127.0.0.1:8000"
MINE, OTHERS = b"m" * 32, b"o" * 32


def csrf(*, now: float = NOW, key: bytes = KEY) -> Csrf:
    return Csrf(key, origin=ORIGIN, lifetime_seconds=600, clock=lambda: now)


def reason_of(
    header: str | None, cookie: str | None, *, now: float = NOW, session_id: bytes = MINE
) -> str | None:
    try:
        csrf(now=now).verify(
            session_id,
            header=header if header is None else header.encode(),
            cookie=cookie if cookie is None else cookie.encode(),
        )
    except CsrfRejected as rejected:
        return rejected.reason
    return None


def test_a_token_of_the_own_session_in_header_and_cookie_is_accepted() -> None:
    token = csrf().issue(MINE)

    assert reason_of(token, token) is None


def test_a_token_missing_in_either_place_is_missing() -> None:
    token = csrf().issue(MINE)

    assert reason_of(None, token) == "missing"
    assert reason_of(token, None) == "missing"
    assert reason_of("", token) == "missing"
    assert reason_of(None, None) == "missing"


def test_a_token_of_another_session_is_refused() -> None:
    token = csrf().issue(OTHERS)

    assert reason_of(token, token) == "session"


def test_two_different_tokens_of_the_own_session_are_refused() -> None:
    assert reason_of(csrf().issue(MINE), csrf().issue(MINE)) == "cookie"


def test_a_token_under_another_key_is_refused() -> None:
    token = csrf(key=b"x" * 32).issue(MINE)

    assert reason_of(token, token) == "signature"


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_token_changed_in_any_part_is_refused(part: int) -> None:
    parts = csrf().issue(MINE).split(".")
    parts[part] = ("1" if parts[part][0] != "1" else "2") + parts[part][1:]
    token = ".".join(parts)

    assert reason_of(token, token) == "signature"


@pytest.mark.parametrize(
    "token", ["x", "a.b.c", "a.b.c.d.e", "....", "é.b.c.d", "a.b.c." + "d" * 300]
)
def test_what_is_no_token_is_malformed(token: str) -> None:
    assert reason_of(token, token) == "malformed"


def test_a_token_is_good_until_it_expires() -> None:
    token = csrf().issue(MINE)

    assert reason_of(token, token, now=NOW + 599.9) is None
    assert reason_of(token, token, now=NOW + 600) == "expired"


def test_a_token_does_not_show_the_key_of_the_sessions_row() -> None:
    token = csrf().issue(MINE)

    assert "m" * 8 not in token
    assert MINE.hex() not in token


OTHER_SITE = b"http://evil.example"
OURS = ORIGIN.encode()
SENDERS = [
    # Sec-Fetch-Site, Sec-Fetch-Mode, Origin, refused with proof needed, refused without
    (b"same-origin", b"cors", OURS, None, None),
    (b"same-origin", None, None, None, None),
    (b"none", b"navigate", None, None, None),
    (b"none", b"cors", None, "fetch_site", "fetch_site"),
    (b"none", None, None, "fetch_site", "fetch_site"),
    (b"same-site", b"cors", OURS, "fetch_site", "fetch_site"),
    (b"cross-site", b"navigate", OURS, "fetch_site", "fetch_site"),
    (b"cross-site", b"cors", OTHER_SITE, "fetch_site", "fetch_site"),
    (b"Same-Origin", b"cors", None, "fetch_site", "fetch_site"),
    (b"", None, OURS, "fetch_site", "fetch_site"),
    (None, None, OURS, None, None),
    (None, None, OTHER_SITE, "origin", "origin"),
    (None, None, b"null", "origin", "origin"),
    (None, None, b"", "origin", "origin"),
    (None, None, OURS + b"/", "origin", "origin"),
    (None, None, OURS + b".evil.example", "origin", "origin"),
    (None, None, b"https://127.0.0.1:8000", "origin", "origin"),
    (None, None, None, "origin", None),
]


@pytest.mark.parametrize(("site", "mode", "origin", "strict", "lenient"), SENDERS)
def test_the_sender_has_to_be_our_own_page(
    site: bytes | None,
    mode: bytes | None,
    origin: bytes | None,
    strict: str | None,
    lenient: str | None,
) -> None:
    def refusal(*, is_proof_needed: bool) -> str | None:
        try:
            csrf().check_sender(
                fetch_site=site, fetch_mode=mode, origin=origin, is_proof_needed=is_proof_needed
            )
        except CsrfRejected as rejected:
            return rejected.reason
        return None

    assert refusal(is_proof_needed=True) == strict
    assert refusal(is_proof_needed=False) == lenient


def test_the_configured_origin_may_end_in_a_slash() -> None:
    checked_by = Csrf(KEY, origin=ORIGIN + "/", lifetime_seconds=600, clock=lambda: NOW)

    checked_by.check_sender(fetch_site=None, fetch_mode=None, origin=OURS, is_proof_needed=True)
