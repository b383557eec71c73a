import pytest

from firedrill_kit.telemetry.labels import UNMATCHED
from service.routes import Policy, RouteTable, policy_of

TABLE = RouteTable(
    [
        ("GET", "/api/v1/profile"),
        ("PUT", "/api/v1/profile"),
        ("POST", "/api/v1/auth/token"),
        ("GET", "/problems/{code}"),
    ]
)


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/api/v1/profile", "/api/v1/profile"),
        ("/problems/not_found", "/problems/{code}"),
        ("/problems/a/b", UNMATCHED),
        ("/api/v1/profile/", UNMATCHED),
        ("/", UNMATCHED),
    ],
)
def test_a_path_has_the_template_that_claims_it(path: str, template: str) -> None:
    assert TABLE.resolve(path).template == template


def test_reads_need_a_caller_and_no_csrf_token() -> None:
    assert TABLE.resolve("/api/v1/profile").policy("GET") == Policy("read", "user", csrf=False)


def test_writes_read_json_and_need_a_csrf_token() -> None:
    policy = TABLE.resolve("/api/v1/profile").policy("PUT")

    assert policy == Policy("write", "user", csrf=True, body="application/json")


def test_signing_in_reads_a_form_and_needs_no_caller() -> None:
    policy = policy_of("POST", "/api/v1/auth/token")

    assert (policy.admission, policy.auth, policy.body) == (
        "login",
        "none",
        "application/x-www-form-urlencoded",
    )


def test_a_method_that_the_path_does_not_take_asks_for_nothing() -> None:
    assert TABLE.resolve("/api/v1/profile").policy("DELETE").auth == "none"
