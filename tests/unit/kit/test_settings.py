"""What the kit is told: by the call, by the environment, else by the application."""

import pytest

from firedrill_kit.settings import Settings, SettingsError, settings_of


def test_an_application_that_says_nothing_is_called_by_its_title() -> None:
    assert settings_of("The Shop (v2)", {}, {}) == Settings(service="the-shop-v2")
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
    ],
)
def test_a_setting_that_cannot_be_used_says_what_to_set(
    given: dict[str, object], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of("Shop", given, environment)

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
