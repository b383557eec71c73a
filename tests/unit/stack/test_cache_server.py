from pathlib import Path

import pytest

from stack import cache
from stack.cache import CacheServer


def test_a_server_that_is_interrupted_while_it_starts_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    server = CacheServer(tmp_path, 1, str(program))

    def interrupted(_port: int, _password: str) -> bool:
        assert server.pid
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "is_ready", interrupted)

    with pytest.raises(KeyboardInterrupt), server:
        raise AssertionError("it never started")
    assert server.pid == 0
