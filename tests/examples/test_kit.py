"""The wheel of the kit in the newest and the oldest versions that it takes, and in both examples."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import httpx
import psutil
import pytest

from stack.serving import LOOPBACK
from stack.settings import ROOT
from stack.waiting import until
from tests.examples.environments import EXAMPLES, kit, programs_of, pytest_for_others
from tests.examples.running import PASSWORD, USER, Example

COPIED = (
    "tests/__init__.py",
    "tests/signals.py",
    "tests/unit/__init__.py",
    "tests/unit/kit",
    "tests/unit/telemetry/__init__.py",
    "tests/unit/telemetry/instruments.py",
)
RUN_PYTEST = (
    "import sys; sys.path.append({place!r}); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
)
OF_KIT = (
    *("test_answers_unchanged.py", "test_signals.py", "test_engines.py"),
    *("test_settings.py", "test_init_command.py"),
)


@pytest.mark.parametrize("name", ["shop", "notes"])
def test_the_tests_of_the_kit_pass_with_its_wheel_in_these_versions(
    name: str, tmp_path: Path
) -> None:
    """Far from the checkout, so that nothing but the wheel can be imported."""
    for place in COPIED:
        target = tmp_path / place
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / place).is_dir() else shutil.copy
        copy(ROOT / place, target)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\naddopts = --import-mode=importlib\npythonpath = .\n"
    )
    python = programs_of(EXAMPLES / name / "requirements.txt") / "python"

    done = subprocess.run(
        [
            str(python),
            *("-c", RUN_PYTEST.format(place=str(pytest_for_others()))),
            *("-q", "-p", "no:cacheprovider"),
            *(f"tests/unit/kit/{file}" for file in OF_KIT),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(kit()), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert " passed" in done.stdout


def test_the_wheel_has_the_kit_alone(tmp_path: Path) -> None:
    installed = {path.name for path in kit().iterdir()} - {"finished", "bin"}

    assert {name.partition("-")[0] for name in installed} == {"firedrill_kit"}
    assert (kit() / "firedrill_kit" / "py.typed").exists()
    assert not zipfile.is_zipfile(kit())


def metrics_of(example: Example, worker: int = 0) -> str:
    try:
        return httpx.get(f"http://{LOOPBACK}:{example.metrics_port + worker}/metrics").text
    except httpx.TransportError:
        return ""


@pytest.mark.usefixtures("shop_process")
def test_each_worker_of_the_shop_shows_its_own_metrics(shop: Example) -> None:
    until(lambda: all(metrics_of(shop, worker) for worker in range(4)), "four workers' metrics")

    for worker in range(4):
        assert 'db_client_connection_max{db_client_connection_pool_name="app"} 15' in metrics_of(
            shop, worker
        )
        assert "db_up" not in metrics_of(shop, worker)


def test_a_sign_in_of_the_shop_is_counted_by_one_of_its_workers(
    shop: Example, shop_process: psutil.Process
) -> None:
    del shop_process
    answer = httpx.post(
        f"{shop.url}/api/v1/login/access-token", data={"username": USER, "password": PASSWORD}
    )
    assert answer.status_code == 200

    route = 'http_route="/api/v1/login/access-token",url_scheme="http"} 1.0'
    until(
        lambda: any(
            line.endswith(route)
            for worker in range(4)
            for line in metrics_of(shop, worker).splitlines()
            if line.startswith("http_server_request_duration_seconds_count")
        ),
        "the sign-in in the metrics of a worker",
    )


def test_the_notebook_answers_in_its_own_way_and_says_what_it_did(notes: Example) -> None:
    refused = httpx.post(f"{notes.url}/auth/login", json={"name": 1})
    missing = httpx.get(f"{notes.url}/nowhere")

    assert (refused.status_code, list(refused.json())) == (422, ["error"])
    assert (missing.status_code, list(missing.json())) == (404, ["error"])
    text = metrics_of(notes)
    assert 'app_failures_total{code="validation_failed",http_route="/auth/login"} 1.0' in text
    assert 'field="body.password",http_route="/auth/login"} 1.0' in text
    assert '"event":"request_finished"' in notes.log.read_text()
