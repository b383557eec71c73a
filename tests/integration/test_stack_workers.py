"""How many workers a stack finds of a service that runs already, on real ports."""

import contextlib
import socket
from pathlib import Path

from stack.settings import Settings, read_settings


def read(folder: Path, text: str) -> Settings:
    (folder / "firedrill.toml").write_text(text)
    return read_settings({"SERVICE": str(folder)})


def test_workers_that_the_file_does_not_count_are_those_that_show_metrics(tmp_path: Path) -> None:
    """Three of four ports in a row answer, and one beyond the gap is somebody else's."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(listening(0)).getsockname()[1]
            try:
                for port in (first + 1, first + 2, first + 4):
                    stack.enter_context(listening(port))
            except OSError:
                continue
            text = f"""[service]\nname = "shop"\nmetrics_port = {first}\n"""
            found = read(tmp_path, text)
            assert found.service_targets == [f"127.0.0.1:{first + one}" for one in range(3)]
            one = read(tmp_path, f"{text}workers = 1\n")
            assert one.service_targets == [f"127.0.0.1:{first}"]
            started = read(tmp_path, f'{text}[process]\nstart = "true"\n')
            assert len(started.service_targets) == 1
            break
    assert read(tmp_path, text).service_targets == [f"127.0.0.1:{first}"]


def listening(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))
