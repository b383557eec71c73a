"""A file that cannot be used: one line for each thing that is wrong, with its key and what to write."""

from pathlib import Path

import pytest

from firedrill_kit.config import FILE, ConfigError, parse, read

NAMED = '[service]\nname = "shop"\n'
CASES = [
    (NAMED + text, expected)
    for text, _, expected in (
        block.partition("\n=> ")
        for block in Path(__file__)
        .with_name("config_errors.txt")
        .read_text()
        .strip()
        .split("\n\n")
    )
]
"""What follows a good [service], and the line that it makes."""


def lines(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def line(text: str) -> str:
    (only,) = lines(text)
    start = f"{FILE}: "
    assert only.startswith(start)
    return only.removeprefix(start)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "service: it is missing; add it: What the service is called and where it is."),
        (
            "[database]\n[service]\nname = 'shop'\n[upstream.bank]",
            "upstream.bank.address: it is missing; add it: Where it is.",
        ),
        (
            "[service",
            (
                "it is no TOML: Expected ']' at the end of a table declaration (at end of document);"
                " correct it there"
            ),
        ),
        *CASES,
    ],
)
def test_one_line_says_what_is_wrong_and_what_to_write(text: str, expected: str) -> None:
    assert line(text) == expected


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[database]\nadmin_dsn = "postgresql://admin:hunter2@db/shop"', "database.admin_dsn"),
        ('[database]\nadmin_dsn = "hunter2"', "database.admin_dsn"),
        ("[database]\nadmin_dsn = 1234567", "database.admin_dsn"),
        ('[client]\nsign_in = "POST /l"\nform = {a = "b", password = "hunter2"}', "client.form"),
        ('[client]\nsign_in = "POST /l"\njson = {user = {Secret = "hunter2"}}', "client.json"),
        ('[client]\nsign_in = "POST /l"\njson = {passwords = ["hunter2"]}', "client.json"),
        ('[client]\nsign_in = "POST /l"\njson = {password = 1234567}', "client.json"),
        ('[client]\nheaders = {Authorization = "Bearer hunter2"}', "client.headers"),
        ('[client]\nheaders = {x-api-key = "hunter2"}', "client.headers"),
        ('[load.mix]\n"POST /users" = {json = {access_token = "hunter2"}}', "load.mix."),
        ('[process]\nstart = "x"\nenvironment = {SECRET_KEY = "hunter2"}', "process.environment"),
        (
            '[process]\nstart = "x"\nenvironment = {DB = "postgresql://shop:hunter2@db/shop"}',
            "process.environment",
        ),
        ('[process]\nstart = "x --db postgresql://shop:hunter2@db/shop"', "process.start"),
        ('[process]\nstart = "x"\nprepare = ["psql http://u:hunter2@h"]', "process.prepare[1]"),
    ],
)
def test_a_secret_that_is_written_out_is_an_error_that_does_not_repeat_it(
    text: str, where: str
) -> None:
    found = line(NAMED + text)

    assert found.startswith(where)
    assert "has no place in this file" in found
    assert "hunter2" not in found
    assert "1234567" not in found


def test_an_address_with_a_password_is_an_error_that_does_not_repeat_it() -> None:
    found = line(NAMED + 'address = "http://admin:hunter2@shop"')

    assert "without user and password" in found
    assert "hunter2" not in found


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert [one.split(": ")[1] for one in lines("[service]\nname = 1\nworkers = 0\nx = 1")] == [
        "service.name",
        "service.workers",
        "service.x",
    ]


def test_drills_are_counted_from_one_and_have_names_of_their_own() -> None:
    quiet = '[[drill]]\nname = "quiet"\nbreak = {nothing = true}\nholds = 60\n'

    assert line(NAMED + quiet + quiet) == (
        "drill[2].name: another drill is called so; write another name"
    )


def test_a_name_that_would_break_the_line_is_written_as_an_escape() -> None:
    assert line(NAMED + '"a\\nb" = 1').startswith('service."a\\nb": there is no such key')


def test_a_value_that_would_break_the_line_is_written_as_an_escape() -> None:
    classes = "".join(f'[slo.class.{name}]\nroutes = ["/\\u0001"]\n' for name in "ab")

    assert r"a claims /\x01 as well" in line(NAMED + classes)


def test_a_file_whose_name_would_break_the_line_is_written_as_an_escape(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "a\nb")

    assert r"/a\nb: No such file" in str(caught.value)


@pytest.mark.parametrize("nested", ["a = " + "[" * 50_000, "a = " + "{a=" * 50_000])
def test_what_is_nested_too_deeply_is_one_line(nested: str) -> None:
    assert line(nested) == "it is nested too deeply; write it flatter"


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "other.toml")

    assert str(caught.value) == (
        f"{tmp_path}/other.toml: No such file or directory; "
        "`firedrill init` writes one, or name another file"
    )


def test_a_file_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe[")

    with pytest.raises(ConfigError, match=r"it is not UTF-8; save it as UTF-8$"):
        read(tmp_path)
