"""The schema for editors and the reference: as written from the sections, and of one mind with the reader."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest

from firedrill_kit import config
from firedrill_kit.config.__main__ import main, schema_text
from firedrill_kit.config.reference import examples, reference

ROOT = Path(__file__).parents[3]
SCHEMA = Path(config.__file__).with_name("firedrill.schema.json")
NAMED = '[service]\nname = "shop"\n'


@pytest.fixture(scope="module")
def by_schema() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))


def test_the_schema_is_that_of_the_sections() -> None:
    assert SCHEMA.read_text() == schema_text(), "run make reference"


def test_the_reference_is_that_of_the_sections() -> None:
    assert (ROOT / "docs" / "firedrill-toml.md").read_text() == reference(), "run make reference"


def test_every_key_is_described() -> None:
    rows = [row for row in reference().splitlines() if row.startswith("| `")]

    assert [row for row in rows if row.endswith("|  |")] == []
    assert len(rows) > 70


def test_a_section_is_one_screen() -> None:
    sections = reference().split("\n## ")

    assert max(len(section.splitlines()) for section in sections) <= 40


def test_the_demo_names_the_schema_for_editors() -> None:
    first = (ROOT / "firedrill.toml").read_text().partition("\n")[0]

    assert ROOT / first.removeprefix("#:schema ") == SCHEMA


@pytest.mark.parametrize("text", [NAMED, examples(), (ROOT / "firedrill.toml").read_text()])
def test_the_schema_takes_what_the_reader_takes(
    text: str, by_schema: jsonschema_rs.Validator
) -> None:
    config.parse(text)

    by_schema.validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        NAMED + "adress = 1",
        NAMED + "workers = true",
        NAMED + 'logs = "ad"',
        NAMED + '[database]\nadmin_dsn = "postgresql://db"',
        NAMED + '[load.mix]\n"get /x" = 1',
        NAMED + '[load.mix]\n"GET /x" = {rat = 1}',
        NAMED + '[upstream.Bad]\naddress = "http://a"',
        NAMED + "[slo.class.a]\nroutes = []",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_reader_refuses(
    text: str, by_schema: jsonschema_rs.Validator
) -> None:
    with pytest.raises(config.ConfigError):
        config.parse(text)

    assert not by_schema.is_valid(tomllib.loads(text))


def test_the_command_ends_with_two_and_the_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "firedrill.toml").write_text(NAMED + "adress = 1")

    assert main([str(tmp_path)]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f'{tmp_path}/firedrill.toml: service.adress: there is no such key; write "address"\n'
    )


def test_the_command_says_that_a_file_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "firedrill.toml").write_text(NAMED)

    assert main([str(tmp_path)]) == 0

    assert "is well: shop, 0 routes in the mix, 0 drills" in capsys.readouterr().out


def test_reading_needs_none_of_the_libraries_of_telemetry() -> None:
    """A tool that only reads the file starts as fast as pydantic does."""
    heavy = "{'opentelemetry', 'sqlalchemy', 'fastapi', 'structlog', 'prometheus_client'}"
    code = f"import sys, firedrill_kit.config; print(sorted({heavy} & set(sys.modules)))"

    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert loaded.stdout == "[]\n"
