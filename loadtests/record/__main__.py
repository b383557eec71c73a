"""`python -m loadtests.record [--foreground | --status | --publish] [--anew]`: runs all that docs/ claims.

Without a flag it goes on in the background and returns at once, and writes docs/ when all is done.
Killed, it goes on where it was when it is started again. Exit codes: 0, 1 a run fell short, 2 it may not
run here, 130 interrupted.
"""

import contextlib
import fcntl
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from loadtests.record import docs, plan, record
from loadtests.record.drawing import NoBrowserError
from loadtests.record.runner import Journal, carry_out, verdict
from loadtests.world.command import run
from loadtests.world.errors import CannotRunError
from stack.command_line import Parser
from stack.settings import ROOT, read_settings


class Refused(CannotRunError):
    """The record may not begin, or not go on, here; one line."""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="record", description=__doc__)
    parser.add_argument("--foreground", action="store_true", help="here, until it is done")
    parser.add_argument("--status", action="store_true", help="how far it is")
    parser.add_argument("--publish", action="store_true", help="write docs/ from the runs so far")
    parser.add_argument("--anew", action="store_true", help="put the unfinished one aside")
    options = parser.parse_args(arguments)
    directory = read_settings().local / "record"
    if options.status:
        print(status(Journal(directory), directory))
        return 0
    if options.publish:
        journal = Journal(directory)
        if not journal.rows:  # the pages would lose what they have
            raise Refused("none has begun, so there is nothing to publish: `make record`")
        docs.publish(journal)
        return 0
    directory.mkdir(parents=True, exist_ok=True)
    with alone(directory):
        journal = opened(directory, anew=options.anew)
        if options.foreground:
            return conduct(journal)
    log = directory / "log"
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "loadtests.record", "--foreground"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    print(f"record: it runs as process {child.pid}, and says in {record.shown(log)} what it does")
    print("record: `make record-status` says how far it is; `make record` goes on after a kill")
    return 0


def conduct(journal: Journal) -> int:
    """Carry the whole plan out and publish it. Returns the exit code."""
    # A shell gives what it starts with `&` an ignored SIGINT, which the runs would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    batches = plan.whole()
    carry_out(batches, journal, check=partial(check, journal.commit))
    try:
        docs.publish(journal)
    except NoBrowserError as error:
        print(f"record: {error}", file=sys.stderr)
    journal.is_published = True
    journal.write()
    return int(any(row["exit_code"] == 1 for row in journal.rows))


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One record at a time. Raises Refused."""
    with (directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("one is at work already: `make record-status`") from None
        yield


def opened(directory: Path, *, anew: bool = False) -> Journal:
    """The journal of this commit; one that is published, or put aside, stays beside it. Raises Refused."""
    commit = check()
    journal = Journal(directory)
    if journal.rows and (anew or journal.is_published):
        aside = directory / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        aside.mkdir()
        for name in ("runs.json", "runs", "log"):
            with contextlib.suppress(FileNotFoundError):
                (directory / name).rename(aside / name)
        journal = Journal(directory)
    journal.commit = journal.commit or commit
    check(journal.commit)
    return journal


def check(expected: str = "") -> str:
    """The commit of this checkout. Raises Refused when it is not as committed, or another than expected."""
    commit = record.git("rev-parse", "HEAD")
    if not commit:
        raise Refused("this is no git checkout: nobody could tell what was measured")
    if changed := record.changed():
        raise Refused(f"{len(changed)} files differ from the commit, first {changed[0]}")
    if expected and commit != expected:
        raise Refused(
            f"begun at {expected[:10]}, and this is {commit[:10]}: go back, or begin --anew"
        )
    return commit


def status(journal: Journal, directory: Path) -> str:
    """How far it is, in a few lines."""
    runs = plan.runs()
    done = sum(journal.is_done(run) for run in runs)
    try:
        with alone(directory):
            state = "published" if journal.is_published else "not at work"
    except Refused:
        state = "at work"
    except FileNotFoundError:
        return "record: none has begun"
    ended = Counter(verdict(row).partition(":")[0] for row in journal.rows if row["ended"])
    lines = [f"record: {state}, {done} of {len(runs)} runs have a result"]
    lines += [f"  {count:3} {what}" for what, count in ended.most_common()]
    lines += [f"  now: {row['key']}" for row in journal.rows if row["ended"] is None]
    return "\n".join(lines)


if __name__ == "__main__":
    run("record", lambda: main(sys.argv[1:]), interrupted="interrupted; it goes on later")
