"""Logs stay bounded while somebody appends to them."""

import os
from pathlib import Path

from stack.logrotation import copy_and_empty, rotate


def append(file: Path, content: bytes) -> None:
    with file.open("ab") as output:
        output.write(content)


def total(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


def test_a_writer_that_keeps_the_file_open_goes_on_at_its_start(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"before\n")

        copy_and_empty(log)
        writer.write(b"after\n")

    assert log.read_bytes() == b"after\n"
    assert (tmp_path / "part.log.1").read_bytes() == b"before\n"


def test_a_file_at_its_limit_stays_and_one_above_is_rotated(tmp_path: Path) -> None:
    append(tmp_path / "small.log", b"x" * 100)
    append(tmp_path / "large.log", b"x" * 101)

    rotate(tmp_path, limit_bytes=1000, file_bytes=100)

    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert sizes == {"small.log": 100, "large.log": 0, "large.log.1": 101}


def test_a_copy_that_was_not_finished_is_no_log(tmp_path: Path) -> None:
    append(tmp_path / ".rotating-large", b"x" * 500)

    rotate(tmp_path, limit_bytes=1000, file_bytes=100)

    assert [file.name for file in tmp_path.iterdir()] == [".rotating-large"]


def test_over_the_limit_of_all_the_oldest_rotated_file_goes_first(tmp_path: Path) -> None:
    for age, name in enumerate(["new.log.1", "old.log.1"]):
        append(tmp_path / name, b"x" * 60)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))

    rotate(tmp_path, limit_bytes=100)

    assert [file.name for file in tmp_path.iterdir()] == ["new.log.1"]


def test_live_files_alone_over_the_limit_lose_the_largest(tmp_path: Path) -> None:
    for name, size in (("a.log", 80), ("b.log", 90), ("c.log", 10)):
        append(tmp_path / name, b"x" * size)

    rotate(tmp_path, limit_bytes=100)

    assert total(tmp_path) <= 100
    assert {file.name for file in tmp_path.iterdir()} == {"a.log", "b.log", "c.log"}
    assert (tmp_path / "b.log").stat().st_size == 0
