"""Every command answers wrong input in one line, with exit code 2 and without a traceback."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from stack.command_line import run

LABORATORY = (
    *("loadtests.costs.collector", "loadtests.costs.first_data", "loadtests.costs.memory"),
    *("loadtests.costs.request", "loadtests.costs.scaling", "loadtests.costs.scaling_page"),
    *("loadtests.drills.__main__", "loadtests.drills.runner.demo"),
    *("loadtests.drills.runner.screenshots", "loadtests.observe.exemplars"),
    "loadtests.record.__main__",
)
SMALL = (
    *("stack.pager.__main__", "stack.prober.__main__", "stack.proxy.__main__"),
    *("stack.viewer.__main__", "stack.runbooks", "stack.logrotation", "stack.__main__"),
    "service.migrations.__main__",
)
PARSED = (
    *("loadtests.__main__", "loadtests.bench.__main__", "loadtests.costs.cache"),
    *("loadtests.report", "loadtests.resilience.__main__"),
)
"""Those that run on an event loop, and read their arguments before it."""


def refused(main: Callable[[], int | None], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line that a command ends with."""
    with pytest.raises(SystemExit) as ended:
        run("command", main, ValueError)
    said = capsys.readouterr()
    assert ended.value.code == 2, said
    assert said.err.count("\n") == 1, said.err
    return said.err


@pytest.mark.parametrize("name", [*LABORATORY, *SMALL])
@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense", "--more"]])
def test_an_argument_that_there_is_not_is_refused(
    name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(name).main

    refused(lambda: main(arguments), capsys)


@pytest.mark.parametrize("name", PARSED)
def test_likewise_before_an_event_loop_starts(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parse = importlib.import_module(name).parse

    refused(lambda: parse(["--nonsense"]), capsys)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("loadtests.costs.cache", ["--rounds", "0"]),
        ("loadtests.costs.cache", ["--seconds", "nan"]),
        ("loadtests.report", ["--rate", "0"]),
        ("loadtests.report", ["--only", "stedy"]),
        ("loadtests.resilience.__main__", ["--seconds", "x"]),
        ("loadtests.resilience.__main__", ["--only", "x"]),
        ("loadtests.__main__", ["steady", "--host", "http://"]),
        ("loadtests.__main__", ["steady", "--host", "http://api:port"]),
        ("loadtests.__main__", ["steady", "--host", "http://api:99999"]),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_anything_starts(
    name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parse = importlib.import_module(name).parse

    refused(lambda: parse(arguments), capsys)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("loadtests.costs.memory", ["--seconds", "-1"]),
        ("loadtests.drills.__main__", ["quiet", "--lane", "-1"]),
        ("loadtests.drills.__main__", ["quiet", "--seed", "x"]),
        ("loadtests.observe.exemplars", ["--minutes", "nan"]),
        ("stack.logrotation", ["--directory", ".", "--megabytes", "-1"]),
        ("stack.runbooks", ["--port", "65536"]),
        ("stack.prober.__main__", ["--port", "65536"]),
        ("stack.viewer.__main__", ["--db", "x", "--port", "65536"]),
        ("stack.viewer.__main__", ["--db", "/proc/none/traces.db", "--port", "1"]),
        ("stack.pager.__main__", ["--db", "x", "--port", "-1"]),
        ("stack.proxy.__main__", ["--listen", "1", "--control", "2", "--target", "a:99999"]),
        ("stack.proxy.__main__", ["--listen", "70000", "--control", "2", "--target", "a:1"]),
    ],
)
def test_likewise_of_those_that_start_by_themselves(
    name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(name).main

    refused(lambda: main(arguments), capsys)


def test_a_file_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "no" / "directory"

    said = refused(lambda: file.write_text("") and None, capsys)

    assert said == f"command: {file}: No such file or directory\n"


def test_an_interrupted_command_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run("drill", main, interrupted="interrupted; what was broken is mended")

    assert ended.value.code == 130
    assert capsys.readouterr().err == "drill: interrupted; what was broken is mended\n"
