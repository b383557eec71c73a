"""`$NAME`: a variable of the environment, read when it is used."""

import pytest

from firedrill_kit.config import MissingVariableError, Variable, filled, filled_text, parse

ENVIRONMENT = {"USER_NAME": "ada", "PASSWORD": "hunter2", "ODD": "{token} $USER_NAME $$"}


def test_a_variable_is_read_when_it_is_used() -> None:
    config = parse('[service]\nname = "shop"\n[database]\nadmin_dsn = "$SHOP_DSN"\n')

    assert config.database is not None
    assert config.database.admin_dsn == Variable("SHOP_DSN")
    assert (
        config.database.admin_dsn.read({"SHOP_DSN": "postgresql:///shop"}) == "postgresql:///shop"
    )


def test_a_config_says_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")

    config = parse(
        '[service]\nname = "shop"\n[client]\nsign_in = "POST /l"\nform = {password = "$PASSWORD"}\n'
    )

    assert "hunter2" not in f"{config!r} {config.model_dump_json()}"
    assert config.client is not None
    assert filled(config.client.form) == {"password": "hunter2"}


@pytest.mark.parametrize("environment", [{}, {"SHOP_DSN": ""}])
def test_a_variable_that_is_not_set_is_named(environment: dict[str, str]) -> None:
    with pytest.raises(MissingVariableError, match=r"^SHOP_DSN is not set; "):
        Variable("SHOP_DSN").read(environment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$USER_NAME", "ada"),
        ("Bearer {token}", "Bearer t"),
        ("$USER_NAME@example.com", "ada@example.com"),
        ("load{n}@example.com", "load7@example.com"),
        ("$$USER_NAME", "$USER_NAME"),
        ("costs $5 or {other}", "costs $5 or {other}"),
        ("$", "$"),
        ('{"a": "{n}"}', '{"a": "7"}'),
        # What a variable holds is nobody's template.
        ("$ODD", "{token} $USER_NAME $$"),
    ],
)
def test_text_is_filled_in_one_pass(text: str, expected: str) -> None:
    assert filled_text(text, ENVIRONMENT, n=7, token="t") == expected


def test_a_tree_is_filled_to_its_leaves_and_keeps_its_types() -> None:
    tree = {"user": {"name": "$USER_NAME", "ids": ["{n}", 1, 2.5, True, None]}}

    assert filled(tree, ENVIRONMENT, n=7) == {
        "user": {"name": "ada", "ids": ["7", 1, 2.5, True, None]}
    }


@pytest.mark.parametrize(
    "harmless",
    [
        'json = {grant_type = "password", token_type = "bearer", max_tokens = 5, user = "a"}',
        'json = {password = "$P", has_password = true}',
        'json = {see = "http://127.0.0.1:8000/a@b"}',
    ],
)
def test_what_is_no_secret_may_stand_in_the_file(harmless: str) -> None:
    config = parse(f'[service]\nname = "shop"\n[client]\nsign_in = "POST /l"\n{harmless}\n')

    assert config.client is not None
    assert isinstance(config.client.json_body, dict)
