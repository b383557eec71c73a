"""Ports and replicas, as the environment sets them."""

from pathlib import Path

import pytest

from stack.settings import DEFAULT_PORTS, REPLICAS_MAX, ROOT, SettingsError, read_settings


def test_without_variables_the_ports_are_the_contract_and_one_replica_runs() -> None:
    settings = read_settings({})

    assert settings.ports == DEFAULT_PORTS
    assert settings.replicas == 1
    assert settings.local == ROOT / ".local"
    assert settings.explicit == frozenset()


def test_the_offset_moves_every_port_and_a_variable_moves_one() -> None:
    settings = read_settings({"PORT_OFFSET": "100", "PAGER_PORT": "21000"})

    moved = {name: port + 100 for name, port in DEFAULT_PORTS.items()}
    assert settings.ports == moved | {"pager": 21000}


def test_only_what_was_asked_for_is_explicit() -> None:
    settings = read_settings({"PAGER_PORT": "21000", "REPLICAS": "2", "VIEWER_PORT": ""})

    assert settings.explicit == {"pager", "replicas"}


def test_the_run_time_directory_can_be_elsewhere(tmp_path: Path) -> None:
    assert read_settings({"FIREDRILL_LOCAL": str(tmp_path)}).local == tmp_path


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SERVICE_PORT": "1e3"}, "SERVICE_PORT='1e3'"),
        ({"SERVICE_PORT": "65536"}, "SERVICE_PORT='65536'"),
        ({"PORT_OFFSET": "50104"}, "PORT_OFFSET moves POSTGRES_PORT to 65536"),
        ({"REPLICAS": "9"}, "REPLICAS='9'"),
        ({"VIEWER_PORT": "6000"}, "VIEWER_PORT would be 6000, which browsers refuse"),
        ({"PORT_OFFSET": "-2000"}, "PORT_OFFSET='-2000'"),
        ({"SERVICE_PORT": "9463", "REPLICAS": "2"}, "SERVICE_INTERNAL_PORT and SERVICE_PORT"),
        ({"FAULT_PROXIES": "postgres, the moon"}, "no proxy stands before the moon"),
        ({"FAULT_PROXIES": "viewer", "PAGER_PORT": "9951"}, "PROXY_PORT and PAGER_PORT"),
    ],
)
def test_what_cannot_be_used_names_the_variable(variables: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(variables)

    assert said in str(refused.value)


def test_a_proxy_changes_the_address_for_others_alone() -> None:
    settings = read_settings({"FAULT_PROXIES": "provider,service"})

    assert settings.proxies == ("service", "provider")
    assert settings.ports["provider"] == 8091
    assert settings.url_for_others("provider") == "http://127.0.0.1:9944"
    assert settings.url_for_others("viewer") == settings.url("viewer")


def test_stacks_whose_offsets_are_multiples_of_a_hundred_share_no_port() -> None:
    settings = read_settings({"REPLICAS": str(REPLICAS_MAX), "FAULT_PROXIES": "postgres"})
    ends = [port % 100 for _, port in settings.every_port()]

    assert len(ends) == len(set(ends))


def test_no_multiple_of_a_hundred_moves_a_page_to_a_port_that_browsers_refuse() -> None:
    for offset in range(0, 17_400, 100):
        settings = read_settings({"PORT_OFFSET": str(offset), "REPLICAS": str(REPLICAS_MAX)})

        assert max(settings.ports.values()) < 32768, "clients get ports from there on"
