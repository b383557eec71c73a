"""`python -m firedrill_kit.config [FILE]`: say what is wrong with a firedrill.toml; 2 when something is.

`--schema` prints the JSON schema for editors, `--reference` the reference of the file as Markdown.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from firedrill_kit.config.errors import ConfigError
from firedrill_kit.config.reader import FILE, read
from firedrill_kit.config.reference import reference
from firedrill_kit.config.schema import schema


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m firedrill_kit.config", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=Path(FILE), help=f"({FILE})")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema")
    parser.add_argument("--reference", action="store_true", help="print the reference")
    given = parser.parse_args(arguments)
    if given.schema:
        sys.stdout.write(schema_text())
        return 0
    if given.reference:
        sys.stdout.write(reference())
        return 0
    try:
        config = read(given.file)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(
        f"{given.file} is well: {config.service.name}, {len(config.routes)} routes in the mix,"
        f" {len(config.drills)} drills\n"
    )
    return 0


def schema_text() -> str:
    """Return the schema as it stands in the package, in `firedrill.schema.json`."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
