import uuid

import pytest

from firedrill_kit.telemetry.identity import uuid7
from firedrill_kit.telemetry.labels import (
    CLIENT_VERSIONS_MAX,
    ClientVersions,
    bounded_method,
    client_request_id_of,
    client_version_of,
    load_run_of,
)


def test_an_id_is_a_uuid_of_version_7_that_carries_its_time() -> None:
    value = uuid.UUID(uuid7(0x0123456789AB))

    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == 0x0123456789AB


def test_ids_differ_and_sort_by_time() -> None:
    ids = [uuid7(millisecond) for millisecond in range(1_700_000_000_000, 1_700_000_000_500)]

    assert ids == sorted(ids)
    assert len({uuid7(1) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("header", "version"),
    [
        ("web/1.8", "web/1.8"),
        ("ios/3.2.17", "ios/3.2"),
        ("prober", "prober"),
        ("", ""),
        ("web", ""),
        ("Web/1.8", ""),
        ("web/1.8\n", ""),
        ("web/1.8 evil", ""),
        ("web/1.٣", ""),
        ("w" * 17 + "/1.8", ""),
    ],
)
def test_a_client_version_is_name_and_major_minor(header: str, version: str) -> None:
    assert client_version_of(header) == version


def test_names_from_callers_are_ascii_and_short() -> None:
    assert load_run_of("steady-1_a.b") == "steady-1_a.b"
    assert client_request_id_of("A-1") == "A-1"
    for bad in ("", "a b", "a\n", "ä", "x" * 65):
        assert load_run_of(bad) == ""
        assert client_request_id_of(bad) == ""


def test_unknown_methods_share_one_name() -> None:
    assert bounded_method("GET") == "GET"
    assert bounded_method("get") == "_OTHER"
    assert bounded_method("GET\r\nX: y") == "_OTHER"


def test_the_first_versions_get_a_label_and_later_ones_share_one() -> None:
    versions = ClientVersions()
    labels = {versions.label_of(f"app{number}/1.0", authenticated=True) for number in range(1000)}

    assert len(labels) == CLIENT_VERSIONS_MAX + 1
    assert "other" in labels
    assert versions.label_of("app0/1.0", authenticated=True) == "app0/1.0"


def test_anonymous_callers_take_no_place() -> None:
    versions = ClientVersions(most=1)

    assert versions.label_of("evil/6.6", authenticated=False) is None
    assert versions.label_of("web/1.8", authenticated=True) == "web/1.8"
    assert versions.label_of("", authenticated=True) == "unknown"
