"""`python -m stack up | down | status | doctor | clean | token`; `make` calls it.

With the variable SERVICE the first five are about the stack around the service of that firedrill.toml.

Exit codes: 0 done, 1 something is not as it should be, 2 a setting or argument that cannot be used,
130 interrupted.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from firedrill_kit.config import MissingVariableError
from stack import lifecycle, postgres, tables
from stack.command_line import Parser
from stack.credentials import CredentialsError, load_credentials
from stack.environment import service_environment
from stack.lifecycle import StackError
from stack.parts import parts_of
from stack.postgres import PostgresError
from stack.programs import Programs, ProgramsMissing, find_programs, require_programs
from stack.settings import Settings, SettingsError, read_settings
from stack.state import read_state

if TYPE_CHECKING:
    from service.config import Config


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(read_settings(), options))
    except (SettingsError, MissingVariableError) as error:
        return _say(error, 2)
    except (StackError, ProgramsMissing, CredentialsError, PostgresError) as error:
        return _say(error, 1)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        what = "the disk is full: make room and try again" if full else error.strerror or error
        return _say(f"{error.filename}: {what}" if error.filename else what, 1)
    except KeyboardInterrupt:
        return _say("interrupted; what this command had started is stopped", 130)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="stack", description="The programs around the service.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, run, what in (
        ("up", _up, "start whatever does not run, wait until all is ready"),
        ("down", _down, "stop it"),
        ("status", _status, "what runs, and how much memory it takes"),
        ("doctor", _doctor, "say which hop from the service to the pager is dead"),
        ("programs", _programs, "install the programs that are missing"),
        ("psql", _psql, "open the database as the owner of the schema"),
        ("clean", _clean, "stop it and delete all data"),
    ):
        commands.add_parser(name, help=what).set_defaults(run=run)
    commands.add_parser("seed", help="create the demo users that are missing").set_defaults(
        run=_seed
    )
    token = commands.add_parser("token", help="print an access token of a user")
    token.add_argument("--user", required=True, metavar="EMAIL")
    token.add_argument("--format", choices=("enhanced", "legacy"), default="enhanced")
    token.set_defaults(run=_token)
    return parser


def _up(settings: Settings, _: argparse.Namespace) -> int:
    parts = lifecycle.up(settings)
    if not settings.service.is_started:
        first, *others = settings.service_targets
        more = f" and the {len(others)} ports after it" if others else ""
        print(f"around {settings.service.name}, whose metrics are at {first}{more}")
    if all(part.name != "collector" for part in parts):
        print("no collector: traces go straight to the viewer; `make tools` builds one")
    make = settings.service.make
    print(f"\n{tables.parts_table(parts)}\n")
    print(f"{make('down')} stops it, {make('doctor')} checks the chain.")
    return 0


def _down(settings: Settings, _: argparse.Namespace) -> int:
    stopped = lifecycle.down(settings)
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    return 0


def _status(settings: Settings, _: argparse.Namespace) -> int:
    state = read_state(settings)
    if not state.alive:
        print(f"nothing is running; {settings.service.make('up')} starts it")
        return 1
    running = lifecycle.settings_of_running(settings, state)
    # Names are enough here: a program that has gone since is seen as its part being down.
    programs: Programs = dict.fromkeys(("prometheus", "alertmanager", "postgres_exporter"), "")
    programs = lifecycle.programs_of_running({**programs, **find_programs()}, state)
    parts = parts_of(running, programs)
    print(tables.status_table(parts, state))
    everything = all(part.is_task or part.name in state.alive for part in parts)
    return 0 if everything else 1


def _doctor(settings: Settings, _: argparse.Namespace) -> int:
    from stack import doctor  # noqa: PLC0415 - loads what only the round trips need

    running, state = lifecycle.running(settings)
    started_at = max(process.started_at for process in state.alive.values())
    hops = doctor.examine(
        running,
        settled_at=started_at + doctor.SETTLE_SECONDS,
        has_collector=state.has_collector,
        has_cache="cache" in state.parts,
    )
    for hop in hops:
        print(f"{'DEAD' if hop.problem else 'ok':<5} {hop.name:<15} {hop.problem}".rstrip())
    return 1 if any(hop.problem for hop in hops) else 0


def _programs(_settings: Settings, _: argparse.Namespace) -> int:
    require_programs()
    return 0


def _psql(settings: Settings, _: argparse.Namespace) -> int:
    _only_the_demo(settings)
    running, _state = lifecycle.running(settings)
    password = load_credentials(settings.local).postgres_owner
    environment = os.environ | {"PGPASSWORD": password}  # an argument would show in `ps`
    psql = str(postgres.programs(postgres.home_of(settings.local)) / "psql")
    address = postgres.dsn("owner", "", running.ports["postgres"]).replace(":@", "@")
    os.execve(psql, [psql, address], environment)  # noqa: S606 - becomes psql


def _clean(settings: Settings, _: argparse.Namespace) -> int:
    lifecycle.clean(settings)
    print(f"removed {settings.local}")
    return 0


def _seed(settings: Settings, _: argparse.Namespace) -> int:
    from stack import demo  # noqa: PLC0415 - loads the service: half a second, for this only

    demo.run_seed(_service_config(settings))
    return 0


def _token(settings: Settings, options: argparse.Namespace) -> int:
    from stack import demo  # noqa: PLC0415 - as above

    try:
        demo.run_token(_service_config(settings), options.user, legacy=options.format == "legacy")
    except demo.UnknownUser as error:
        return _say(error, 2)
    return 0


def _service_config(settings: Settings) -> "Config":
    """The configuration of the running stack's service."""
    from service.config import read_config  # noqa: PLC0415 - as above

    _only_the_demo(settings)
    running, _ = lifecycle.running(settings)
    os.environ.update(service_environment(running, load_credentials(settings.local)))
    return read_config()


def _only_the_demo(settings: Settings) -> None:
    """Raises SettingsError."""
    if not settings.service.is_demo:
        raise SettingsError("this command is of the demo's database: leave SERVICE out")


def _say(message: object, exit_code: int) -> int:
    print(f"stack: {message}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
