"""`python -m stack.prober --port 9096`; where the others are comes from the environment.

SERVICE_URLS (commas between), OTLP_URL, VIEWER_URL, PROMETHEUS_URL, PROBE_USER, PROBE_PASSWORD.
"""

import argparse
import os
import sys

from stack.prober.app import Surroundings, create_app
from stack.serving import HOST_HELP, LOOPBACK, configure_logs, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stack.prober", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help=HOST_HELP)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    try:
        surroundings = Surroundings(
            service_urls=os.environ["SERVICE_URLS"].split(","),
            otlp_url=os.environ["OTLP_URL"],
            viewer_url=os.environ["VIEWER_URL"],
            prometheus_url=os.environ["PROMETHEUS_URL"],
            username=os.environ["PROBE_USER"],
            password=os.environ["PROBE_PASSWORD"],
        )
    except KeyError as missing:
        print(f"prober: set {missing.args[0]}", file=sys.stderr)
        raise SystemExit(2) from None
    configure_logs()
    serve(create_app(surroundings), [given.port], host=given.host)


if __name__ == "__main__":
    main()
