"""`python -m service.migrations upgrade | current | check | record`.

Exit code 0: done; 1: the database differs, refuses or cannot be reached; 2: asked for the impossible.
"""

import argparse
import asyncio
import sys
from typing import NoReturn

from service import schema
from service.config import Config, read_config
from service.migrations import commands
from service.migrations.commands import Refused, UnknownRevision


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    config = read_config()
    try:
        return _RUN[options.command](options, config)
    except Refused as error:
        sys.stderr.write(f"migrations: {error}\n")
        return 2 if isinstance(error, UnknownRevision) else 1


def _upgrade(options: argparse.Namespace, config: Config) -> int:
    if options.sql:
        sys.stdout.write(commands.upgrade_sql(config, revision=options.revision))
        return 0
    asyncio.run(commands.upgrade(config, revision=options.revision, say=_say))
    _say(f"the database is at {asyncio.run(commands.current(config))}")
    return 0


def _current(_options: argparse.Namespace, config: Config) -> int:
    revision, head = asyncio.run(commands.current(config)), commands.head()
    _say(f"{revision or 'none'} (newest: {head})")
    return 0


def _check(_options: argparse.Namespace, config: Config) -> int:
    drifts = asyncio.run(commands.drifts(config))
    for drift in drifts:
        weight = "required" if drift.required else "optional" if drift.group else "differs"
        _say(f"{weight:<8}  {drift.kind:<11}  {drift.object} {drift.change}")
    if not drifts:
        _say("the database is as this version needs it")
    return 1 if drifts else 0


def _record(_options: argparse.Namespace, config: Config) -> int:
    schema.record(asyncio.run(commands.catalogue(config)))
    _say(f"written: {schema.catalogue.EXPECTED}")
    return 0


_RUN = {"upgrade": _upgrade, "current": _current, "check": _check, "record": _record}


class _Parser(argparse.ArgumentParser):
    """argparse's, without the usage before the error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="migrations", description=__doc__)
    names = parser.add_subparsers(dest="command", required=True)
    upgrade = names.add_parser("upgrade", help="apply the revisions that are missing")
    upgrade.add_argument("revision", nargs="?", default="head", help="up to this one (head)")
    upgrade.add_argument(
        "--sql", action="store_true", help="print the SQL from an empty database instead"
    )
    names.add_parser("current", help="print the revision of the database")
    names.add_parser("check", help="list where the database differs; exit 1 if it does")
    names.add_parser("record", help="after a new revision: write down what the code now needs")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
