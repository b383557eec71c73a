"""`python -m stack.viewer --port 3030 --db FILE [--otlp-port 4318 --logs DIRECTORY]`

With a collector spans and log lines come from it, to the same port; without one, the two options say
where else to take them from.
"""

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from stack.command_line import Parser, port, run
from stack.described import SettingsError, read_described
from stack.runbooks import Runbooks
from stack.serving import configure_logs, serve
from stack.viewer.app import create_app
from stack.viewer.pages import DASHBOARDS


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="viewer", description=__doc__)
    parser.add_argument("--port", type=port, required=True)
    parser.add_argument(
        "--otlp-port", type=port, help="also serve here; without a collector, 4318"
    )
    parser.add_argument("--db", type=Path, required=True, help="SQLite file, made when missing")
    parser.add_argument("--logs", type=Path, help="directory of *.jsonl; without a collector")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--alertmanager", default="http://127.0.0.1:9093", metavar="URL")
    parser.add_argument("--dashboards", type=Path, default=DASHBOARDS, metavar="DIRECTORY")
    parser.add_argument("--rules", type=Path, help="directory of the rules: their runbooks alone")
    parser.add_argument("--service", help="firedrill.toml, where it is not the demo's")
    options = parser.parse_args(arguments)
    # Opened once here: inside the server a file that cannot be used would be a traceback.
    options.db.parent.mkdir(parents=True, exist_ok=True)
    sqlite3.connect(options.db).close()
    configure_logs()
    ports = [options.port] if options.otlp_port is None else [options.port, options.otlp_port]
    service = read_described({"SERVICE": options.service}) if options.service else None
    app = create_app(
        options.db,
        options.logs,
        prometheus=options.prometheus,
        alertmanager=options.alertmanager,
        dashboards=options.dashboards,
        runbooks=Runbooks(options.rules, service),
    )
    serve(app, ports)


if __name__ == "__main__":
    run("viewer", lambda: main(sys.argv[1:]), SettingsError, sqlite3.Error)
