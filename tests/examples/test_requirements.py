"""Between them the examples have the newest and the oldest versions that are served."""

import re

import pytest

from stack.settings import ROOT
from tests.examples.environments import EXAMPLES

PIN = re.compile(r"([a-z0-9.-]+)==([0-9][a-z0-9.]*)")


def pins(text: str) -> dict[str, str]:
    found = filter(None, map(PIN.match, text.splitlines()))
    return {pin[1]: pin[2] for pin in found}


def requirements(name: str) -> str:
    return (EXAMPLES / name / "requirements.txt").read_text()


@pytest.mark.parametrize("name", ["shop", "notes"])
def test_every_line_is_an_exact_version(name: str) -> None:
    lines = requirements(name).splitlines()

    assert [line for line in lines if not PIN.fullmatch(line)] == []


@pytest.mark.parametrize("library", ["fastapi", "starlette", "pydantic", "sqlalchemy", "uvicorn"])
def test_the_shop_has_the_versions_of_the_lock(library: str) -> None:
    lock = pins((ROOT / "requirements.lock").read_text())

    assert pins(requirements("shop"))[library] == lock[library]


def test_the_notebook_has_the_oldest_versions() -> None:
    oldest = pins(requirements("notes"))

    assert oldest["fastapi"] == "0.115.0"
    assert oldest["sqlalchemy"].startswith("2.0.")
