"""`python -m stack.viewer --port 3030 --db FILE [--otlp-port 4318 --logs DIRECTORY]`

With a collector spans and log lines come from it, to the same port; without one, the two options say
where else to take them from.
"""

import argparse
from pathlib import Path

from stack.serving import configure_logs, serve
from stack.viewer.app import create_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stack.viewer")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--otlp-port", type=int, help="also serve here; without a collector, 4318")
    parser.add_argument("--db", type=Path, required=True, help="SQLite file, made when missing")
    parser.add_argument("--logs", type=Path, help="directory of *.jsonl; without a collector")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--alertmanager", default="http://127.0.0.1:9093", metavar="URL")
    given = parser.parse_args()
    configure_logs()
    ports = [given.port] if given.otlp_port is None else [given.port, given.otlp_port]
    app = create_app(
        given.db, given.logs, prometheus=given.prometheus, alertmanager=given.alertmanager
    )
    serve(app, ports)


if __name__ == "__main__":
    main()
