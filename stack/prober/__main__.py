"""`python -m stack.prober --port 9096 [--service FILE]`; where the others are comes from the environment.

SERVICE_URLS (commas between), OTLP_URL, VIEWER_URL, PROMETHEUS_URL, and what the file names of secrets.
"""

import argparse
import os
import sys
from pathlib import Path

from firedrill_kit.config import FILE, ConfigError, MissingVariableError, read
from stack.prober.app import addresses_of, create_app
from stack.prober.asked import asked_of
from stack.serving import HOST_HELP, LOOPBACK, configure_logs, serve
from stack.settings import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stack.prober", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help=HOST_HELP)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--service", type=Path, default=ROOT / FILE, metavar="FILE", help=FILE)
    given = parser.parse_args()
    try:
        app = create_app(addresses_of(os.environ), asked_of(read(given.service)))
    except KeyError as missing:
        print(f"prober: set {missing.args[0]}", file=sys.stderr)
        raise SystemExit(2) from None
    except (ConfigError, MissingVariableError) as error:
        print(f"prober: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    configure_logs()
    serve(app, [given.port], host=given.host)


if __name__ == "__main__":
    main()
