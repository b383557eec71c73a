"""Where the kit's settings come from: the call, the environment, firedrill.toml, else the application."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

import firedrill_kit
from firedrill_kit import config
from firedrill_kit.settings import (
    FILE,
    Settings,
    SettingsError,
    described_settings,
    settings_of,
)

DESCRIBED = """
[service]
name = "shop"
environment = "staging"
metrics_port = 9500
workers = 4
otlp = "http://10.0.0.1:4318"
logs = "off"
"""


def test_an_application_that_says_nothing_is_called_by_its_title() -> None:
    assert settings_of("The Shop (v2)", {}, {}) == Settings(service="the-shop-v2")
    assert settings_of("Café Zoë", {}, {}).service == "cafe-zoe"
    assert settings_of("", {}, {}).service == "app"


def test_the_call_comes_before_the_environment() -> None:
    environment = {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
        "FIREDRILL_METRICS_PORT": "9500",
        "FIREDRILL_LOGS": "off",
    }

    found = settings_of("Title", {"logs": "take_over"}, environment)

    assert (found.service, found.metrics_port, found.logs) == ("shop", 9500, "take_over")
    assert found.otlp_endpoint == "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("given", "environment", "message"),
    [
        ({"port": 1}, {}, "port: no such setting; there are "),
        ({}, {"FIREDRILL_METRICS_PORT": "x"}, "metrics_port='x': set FIREDRILL_METRICS_PORT"),
        ({"metrics_port": 70_000}, {}, "metrics_port=70000: set FIREDRILL_METRICS_PORT"),
        ({}, {"FIREDRILL_LOGS": "json"}, "logs='json': set FIREDRILL_LOGS to add, take_over, off"),
        (
            {},
            {"FIREDRILL_LOG_LEVEL": "loud"},
            "log_level='loud': set FIREDRILL_LOG_LEVEL to debug",
        ),
        (
            {},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "otlp_endpoint='collector:4318': set OTEL_EXPORTER_OTLP_ENDPOINT to an address such as http://",
        ),
        ({"base_ratio": 5}, {}, "base_ratio=5: set base_ratio to a share from 0 to 1"),
        ({"queue_spans": 0}, {}, "queue_spans=0: set queue_spans to a number from 1"),
        ({"workers_max": "two"}, {}, "workers_max='two': set workers_max to a number from 1"),
        ({"trusted_networks": "10.0.0.0/8"}, {}, "trusted_networks='10.0.0.0/8': set trusted_"),
        (
            {"trusted_networks": ["10.0/8"]},
            {},
            "trusted_networks=['10.0/8']: set trusted_networks",
        ),
        ({"version": None}, {}, "version=None: set FIREDRILL_VERSION to a text"),
    ],
)
def test_a_setting_that_cannot_be_used_says_what_to_set(
    given: dict[str, object], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of("Shop", given, environment)

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_settings_are_read_as_generously_as_they_are_meant() -> None:
    found = settings_of(
        "Shop", {"trusted_networks": ["10.0.0.0/8"]}, {"FIREDRILL_LOG_LEVEL": "WARNING"}
    )

    assert (found.trusted_networks, found.log_level) == (("10.0.0.0/8",), "warning")


def test_a_kit_that_is_off_starts_with_any_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREDRILL_METRICS_PORT", "x")
    monkeypatch.setenv("FIREDRILL_DISABLED", "1")

    assert firedrill_kit.instrument(FastAPI(title="Shop")).settings.service == "shop"


@pytest.mark.parametrize(
    ("app", "engine", "message"),
    [
        ("shop", None, "app='shop': instrument takes a FastAPI application"),
        (
            FastAPI(),
            "sqlite://",
            "engine='sqlite://': instrument takes an Engine or AsyncEngine of",
        ),
        (FastAPI(), {"shop": 1}, "engine=1: instrument takes an Engine or AsyncEngine of"),
    ],
)
def test_what_cannot_be_instrumented_is_one_sentence(app: Any, engine: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        firedrill_kit.instrument(app, engine=engine)

    assert str(caught.value).startswith(message)


def test_the_file_of_the_current_directory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert described_settings({}) == {}
    (tmp_path / FILE).write_text(DESCRIBED)

    found = settings_of("Title", {}, {}, described_settings({}))

    assert found == Settings(
        service="shop",
        environment="staging",
        metrics_port=9500,
        workers_max=4,
        otlp_endpoint="http://10.0.0.1:4318",
        logs="off",
    )
    assert described_settings({"FIREDRILL_CONFIG": ""}) == {}
    assert config.FILE == FILE


def test_a_mistake_in_what_is_sent_or_broken_is_no_matter_of_the_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / FILE
    file.write_text(DESCRIBED + "[load]\nunrelated = 1\n[laod]\n[slo]\nobjective = 2\n")
    monkeypatch.setenv("FIREDRILL_CONFIG", str(file))

    assert firedrill_kit.instrument(FastAPI()).settings.service == "shop"
    with pytest.raises(config.ConfigError):
        config.read(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[load]\n", "service: it is missing"),
        ("service = 1\n", "service: it must be a table"),
        ('[service]\nname = ""\n', "service.name: "),
        ('[service]\nname = "shop"\nmetric_port = 1\n', "service.metric_port: "),
        ("[service\n", "it is no TOML"),
    ],
)
def test_a_mistake_in_its_own_section_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / FILE
    file.write_text(text)

    with pytest.raises(SettingsError) as caught:
        described_settings({"FIREDRILL_CONFIG": str(file)})

    assert str(caught.value).startswith(f"{file}: {message}")
    assert "\n" not in str(caught.value)


def test_what_the_file_leaves_out_is_as_its_reference_says(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('[service]\nname = "shop"\n')

    described = described_settings({"FIREDRILL_CONFIG": str(file)})

    assert settings_of("Title", {}, {}, described) == Settings(
        service="shop", otlp_endpoint="http://127.0.0.1:4318", workers_max=32
    )


def test_the_call_comes_before_the_environment_and_that_before_the_file() -> None:
    described = {"service": "file", "environment": "file", "logs": "off", "metrics_port": 1}
    environment = {"FIREDRILL_ENVIRONMENT": "variable", "FIREDRILL_METRICS_PORT": "2"}

    found = settings_of("Title", {"metrics_port": 3}, environment, described)

    assert (found.service, found.environment, found.metrics_port) == ("file", "variable", 3)


def test_an_empty_variable_says_nothing_but_that_no_span_leaves() -> None:
    described = {"service": "file", "otlp_endpoint": "http://127.0.0.1:4318"}
    environment = {"OTEL_SERVICE_NAME": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""}

    found = settings_of("Title", {}, environment, described)

    assert (found.service, found.otlp_endpoint) == ("file", "")


def test_instrument_reads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIREDRILL_CONFIG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).write_text(DESCRIBED)

    instrumentation = firedrill_kit.instrument(FastAPI(), service="call")

    assert instrumentation.settings.service == "call"
    assert instrumentation.settings.workers_max == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name", "shop.toml: it is no TOML: "),
        ("[service]\nname = 1", "shop.toml: service.name: it must be text; write it in quotes"),
        (
            '[service]\nname = "shop"\nport = 1\nlogs = "json"',
            "shop.toml: service.logs: there is no such choice; write 'add', 'take_over' or 'off' (and 1 more",
        ),
        (None, "shop.toml: No such file or directory; `firedrill init` writes one"),
    ],
)
def test_a_file_with_mistakes_is_one_line_and_not_read_where_the_kit_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIREDRILL_CONFIG", "shop.toml")
    if text is not None:
        (tmp_path / "shop.toml").write_text(text)

    with pytest.raises(SettingsError) as caught:
        firedrill_kit.instrument(FastAPI())
    monkeypatch.setenv("FIREDRILL_DISABLED", "1")
    firedrill_kit.instrument(FastAPI())

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_process_stays_as_it_is_and_models_of_the_file_are_loaded_only_for_one(
    tmp_path: Path,
) -> None:
    program = (
        "import os, sys, fastapi, firedrill_kit, prometheus_client\n"
        "before = dict(os.environ)\n"
        "firedrill_kit.instrument(fastapi.FastAPI())\n"
        "assert os.environ == before\n"
        "assert prometheus_client.metrics._use_created\n"
        "sys.exit('firedrill_kit.config' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(config.__file__).parents[2])}

    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, check=False
    )

    assert result.returncode == 0
