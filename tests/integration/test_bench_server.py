"""A server under test is alone on its core, and what it writes and takes is counted."""

import os
import sys
from pathlib import Path

import pytest

from loadtests.bench.server import NotReadyError, serving
from stack.readiness import is_open
from stack.serving import free_port

CORE = min(os.sched_getaffinity(0))
SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("one\\ntwo\\nthree", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), None).serve_forever()
"""


def test_lines_cpu_and_memory_are_those_of_the_server(tmp_path: Path) -> None:
    port = free_port()
    words = [sys.executable, "-c", SERVER, str(port)]

    with serving(
        words, os.environ, directory=tmp_path, core=CORE, is_ready=is_open(port)
    ) as server:
        assert os.sched_getaffinity(server.pid) == {CORE}
        assert server.cpu_seconds() > 0
        resident = server.memory_bytes("VmRSS")  # first: it may still grow
        assert server.memory_bytes() >= resident > 1_000_000

    assert server.lines == 3
    assert server.ready_seconds > 0
    assert not is_open(port)()


def test_a_server_that_ends_says_why_in_its_last_line(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "raise SystemExit('first\\nthe reason')"]

    with (
        pytest.raises(NotReadyError, match=r"^the reason$"),
        serving(words, os.environ, directory=tmp_path, core=CORE, is_ready=lambda: False),
    ):
        pass


def test_a_script_whose_interpreter_has_moved_is_a_server_that_does_not_start(
    tmp_path: Path,
) -> None:
    script = tmp_path / "moved"
    script.write_text(f"#!{tmp_path}/away/python\n")
    script.chmod(0o755)

    with (
        pytest.raises(NotReadyError, match=r"^moved: No such file"),
        serving([str(script)], os.environ, directory=tmp_path, core=CORE, is_ready=lambda: False),
    ):
        pass
