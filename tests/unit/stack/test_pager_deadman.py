import pytest

from stack.pager.deadman import DeadMan, InvalidBeat, beat_of

START = 1_000_000.0


def test_silence_is_death_within_75_seconds_and_not_before() -> None:
    deadman = DeadMan(watching_since=START - 100, last_beat=START)

    assert deadman.look(START + 74.0) is None
    assert deadman.look(START + 74.1) == "died"
    assert deadman.look(START + 74.6) is None
    assert deadman.state == "dead"


def test_an_old_stamp_repeated_is_no_beat() -> None:
    deadman = DeadMan(watching_since=START, last_beat=START)
    deadman.look(START + 70)

    deadman.hear(START, START + 74)

    assert deadman.look(START + 76) == "died"


def test_only_a_fresh_beat_revives() -> None:
    deadman = DeadMan(watching_since=START, last_beat=START, is_dead=True)

    deadman.hear(START + 20, START + 100)
    assert deadman.look(START + 100) is None

    deadman.hear(START + 90, START + 101)
    assert deadman.look(START + 101) == "recovered"
    assert deadman.state == "alive"


def test_a_restart_gives_prometheus_time_to_be_heard() -> None:
    deadman = DeadMan(watching_since=START, last_beat=START - 3600)

    assert deadman.look(START) is None
    assert deadman.state == "waiting"
    for second in range(5, 74, 5):
        assert deadman.look(START + second) is None
    assert deadman.look(START + 74.1) == "died"


def test_a_restart_does_not_revive_the_dead() -> None:
    deadman = DeadMan(watching_since=START, last_beat=START - 3600, is_dead=True)

    assert deadman.look(START) is None
    assert deadman.state == "dead"


def test_who_was_never_heard_dies_too() -> None:
    deadman = DeadMan(watching_since=START)

    assert deadman.state == "waiting"
    assert deadman.look(START + 74.1) == "died"


def test_a_pager_that_was_stopped_blames_itself_first() -> None:
    deadman = DeadMan(watching_since=START, last_beat=START)
    deadman.look(START + 1)

    assert deadman.look(START + 600) is None
    for second in range(605, 674, 5):
        assert deadman.look(START + second) is None
    assert deadman.look(START + 674.5) == "died"


def test_a_beat_from_the_future_counts_as_one_of_now() -> None:
    deadman = DeadMan(watching_since=START, last_beat=START)

    deadman.hear(START + 86400, START + 10)

    assert deadman.last_beat == START + 10


def test_a_late_beat_does_not_undo_a_newer_one() -> None:
    deadman = DeadMan(watching_since=START, last_beat=START + 50)

    deadman.hear(START + 30, START + 60)

    assert deadman.last_beat == START + 50


@pytest.mark.parametrize("beat", ["", "soon", "nan", "inf", "-1", "0", "1e999"])
def test_a_stamp_that_is_no_moment_is_refused(beat: str) -> None:
    with pytest.raises(InvalidBeat, match="beat"):
        beat_of({"beat": beat})


def test_a_watchdog_without_a_stamp_is_refused() -> None:
    with pytest.raises(InvalidBeat, match="its rule must set it"):
        beat_of({"summary": "alive"})
