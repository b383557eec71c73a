"""`python -m stack.viewer --port 3030 --db FILE [--otlp-port 4318 --logs DIRECTORY]`

With a collector spans and log lines come from it, to the same port; without one, the two options say
where else to take them from.
"""

import argparse
from pathlib import Path

from stack.described import read_described
from stack.runbooks import Runbooks
from stack.serving import configure_logs, serve
from stack.viewer.app import create_app
from stack.viewer.pages import DASHBOARDS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stack.viewer")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--otlp-port", type=int, help="also serve here; without a collector, 4318")
    parser.add_argument("--db", type=Path, required=True, help="SQLite file, made when missing")
    parser.add_argument("--logs", type=Path, help="directory of *.jsonl; without a collector")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--alertmanager", default="http://127.0.0.1:9093", metavar="URL")
    parser.add_argument("--dashboards", type=Path, default=DASHBOARDS, metavar="DIRECTORY")
    parser.add_argument("--rules", type=Path, help="directory of the rules: their runbooks alone")
    parser.add_argument("--service", help="firedrill.toml, where it is not the demo's")
    given = parser.parse_args()
    configure_logs()
    ports = [given.port] if given.otlp_port is None else [given.port, given.otlp_port]
    service = read_described({"SERVICE": given.service}) if given.service else None
    app = create_app(
        given.db,
        given.logs,
        prometheus=given.prometheus,
        alertmanager=given.alertmanager,
        dashboards=given.dashboards,
        runbooks=Runbooks(given.rules, service),
    )
    serve(app, ports)


if __name__ == "__main__":
    main()
