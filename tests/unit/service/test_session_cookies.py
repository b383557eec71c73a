from service.security.sessions import (
    Cookies,
    cookie_values,
    new_secret,
    secret_in,
    session_id,
)


def test_the_session_cookie_is_kept_from_scripts_and_from_other_sites() -> None:
    line = Cookies(is_secure=False, lifetime_seconds=28800).session("secret")

    assert line == "session=secret; Max-Age=28800; Path=/; SameSite=Lax; HttpOnly"


def test_over_tls_the_cookies_are_bound_to_the_host() -> None:
    cookies = Cookies(is_secure=True, lifetime_seconds=60)

    assert cookies.session("s") == (
        "__Host-session=s; Max-Age=60; Path=/; SameSite=Lax; HttpOnly; Secure"
    )
    assert cookies.csrf("t") == "__Host-csrf=t; Max-Age=60; Path=/; SameSite=Lax; Secure"


def test_the_page_can_read_the_csrf_cookie() -> None:
    assert "HttpOnly" not in Cookies(is_secure=False, lifetime_seconds=60).csrf("t")


def test_signing_out_clears_both_cookies() -> None:
    cleared = Cookies(is_secure=False, lifetime_seconds=60).cleared()

    assert [line.split(";")[:2] for line in cleared] == [
        ["session=", " Max-Age=0"],
        ["csrf=", " Max-Age=0"],
    ]


def test_a_fresh_secret_is_found_again() -> None:
    secret = new_secret()
    headers = [(b"host", b"x"), (b"cookie", f"theme=dark; session={secret}; a=b".encode())]

    assert secret_in(cookie_values(headers, "session")) == secret
    assert len(session_id(secret)) == 32


def test_cookies_in_several_headers_are_all_seen() -> None:
    headers = [(b"cookie", b"a=1; session=x"), (b"cookie", b"session=y"), (b"cookie", b"session")]

    assert cookie_values(headers, "session") == [b"x", b"y", b""]


def test_a_name_that_only_ends_alike_is_another_cookie() -> None:
    assert cookie_values([(b"cookie", b"my-session=x; Session=y")], "session") == []


def test_another_programs_session_cookie_is_not_ours() -> None:
    ours = new_secret().encode()

    assert secret_in([b"eyJ1c2VyIjoxfQ.Zm9v"]) is None
    assert secret_in([b"eyJ1c2VyIjoxfQ.Zm9v", ours]) == ours.decode()
    assert secret_in([ours + b"="]) is None
    assert secret_in([ours[:-1] + b"\n"]) is None


def test_two_different_sessions_are_none() -> None:
    one, other = new_secret().encode(), new_secret().encode()

    assert secret_in([one, other]) is None
    assert secret_in([one, one]) == one.decode()
