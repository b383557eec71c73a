"""`python -m stack.prober --port 9096 [--service FILE]`; where the others are comes from the environment.

SERVICE_URLS (commas between), OTLP_URL, VIEWER_URL, PROMETHEUS_URL, and what the file names of secrets.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from firedrill_kit.config import FILE, ConfigError, MissingVariableError, read
from stack.command_line import Parser, port, run
from stack.prober.app import addresses_of, create_app
from stack.prober.asked import asked_of
from stack.serving import HOST_HELP, LOOPBACK, configure_logs, serve
from stack.settings import ROOT


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="prober", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help=HOST_HELP)
    parser.add_argument("--port", type=port, required=True)
    parser.add_argument("--service", type=Path, default=ROOT / FILE, metavar="FILE", help=FILE)
    options = parser.parse_args(arguments)
    try:
        addresses = addresses_of(os.environ)
    except KeyError as missing:
        parser.error(f"set {missing.args[0]}")
    app = create_app(addresses, asked_of(read(options.service)))
    configure_logs()
    serve(app, [options.port], host=options.host)


if __name__ == "__main__":
    run("prober", lambda: main(sys.argv[1:]), ConfigError, MissingVariableError)
