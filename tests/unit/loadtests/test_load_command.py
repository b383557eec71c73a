import pytest

from loadtests.__main__ import parse
from loadtests.scenarios import SCENARIOS
from loadtests.traffic import launch
from loadtests.traffic.launch import Target
from loadtests.world.description import DEMO, Release


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stedy"], "no scenario is called 'stedy': bad_client, capacity"),
        (["steady", "--rate", "x"], "'x' is no number above 0"),
        (["steady", "--rate", "-1"], "'-1' is no number above 0"),
        (["steady", "--duration", "0"], "'0' is no number above 0"),
        (["steady", "--workers", "0"], "'0' is no whole number from 1 to 64"),
        (["steady", "--host", "localhost:8000"], "HOST=localhost:8000: a URL is needed"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)

    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_asks_only_routes_that_exist(name: str) -> None:
    phases = SCENARIOS[name].at(40, None)
    asked = {
        route
        for phase in phases
        for route in {*phase.rates, *phase.at_once, *(phase.release or Release()).bodies}
    }

    assert asked <= DEMO.routes.keys()


@pytest.mark.parametrize("name", SCENARIOS)
def test_phases_have_names_of_their_own(name: str) -> None:
    names = [phase.name for phase in SCENARIOS[name].at(40, None)]

    assert len(names) == len(set(names))


def test_secrets_stay_out_of_the_command_line() -> None:
    target = Target(["http://127.0.0.1:1"], owner_dsn="postgresql://owner:secret@127.0.0.1/x")

    assert not [word for word in launch.command("steady", target) if "secret" in word]
    assert "secret" not in repr(target)


def test_replicas_are_met_in_turn() -> None:
    words = launch.command("steady", Target(["http://a", "http://b", "http://c"]))

    assert words[words.index("--host") + 1] == "http://a"
    assert words[words.index("--also") + 1] == "http://b,http://c"


def test_the_workers_of_two_load_tests_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "free_port", iter([5001, 5002]).__next__)
    target = Target(["http://a"])

    for port in ("5001", "5002"):
        words = launch.command("steady", target, processes=2)
        assert words[words.index("--master-bind-port") + 1] == port
        assert words[words.index("--master-port") + 1] == port
