"""`make silence`: what it silences pages nobody, and nothing else is silenced."""

import subprocess
import sys
from pathlib import Path

import pytest
import stamina

from stack.serving import free_port
from tests.integration.alertmanager_process import running_alertmanager, shipped, write_config
from tests.integration.pager_process import running_pager


def silence(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alerting.silence", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_silenced_alert_pages_nobody_and_others_do(tmp_path: Path) -> None:
    with running_pager(tmp_path / "pager.db") as pager:
        config = write_config(
            tmp_path, pager_url=pager.url, second_channel_url=pager.url, divided_by=20
        )
        with running_alertmanager(config) as alertmanager:
            url = str(alertmanager.http.base_url).rstrip("/")
            done = silence("DbPoolExhausted", "1h", "--alertmanager", url)
            assert (done.returncode, done.stderr) == (0, "")
            assert "DbPoolExhausted is silent until" in done.stdout

            alertmanager.post(shipped("DbPoolExhausted", "a"), shipped("DbQueriesTimingOut", "a"))
            for attempt in stamina.retry_context(on=AssertionError, attempts=None, timeout=60):
                with attempt:
                    assert pager.pages()

            (page,) = pager.pages()
    assert [alert["labels"]["alertname"] for alert in page["alerts"]] == ["DbQueriesTimingOut"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["DbPool", "1h"], "did you mean DbPoolExhausted, "),
        (["NoSuchAlert", "1h"], "no rule defines an alert 'NoSuchAlert'"),
        (["Watchdog", "1h"], "silencing Watchdog makes the dead-man page"),
        (["DbPoolExhausted", "soon"], "FOR must be like 90m"),
    ],
)
def test_a_silence_that_makes_no_sense_is_one_line(arguments: list[str], said: str) -> None:
    done = silence(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_an_alertmanager_it_says_where_it_looked() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    done = silence("DbPoolExhausted", "1h", "--alertmanager", url)

    assert done.returncode == 2
    assert f"no Alertmanager at {url} (ConnectError): is the system up?" in done.stderr
