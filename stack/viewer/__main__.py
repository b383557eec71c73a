"""`python -m stack.viewer --port 3000 --otlp-port 4318 --db FILE --logs DIRECTORY`"""

import argparse
from pathlib import Path

from stack.serving import configure_logs, serve
from stack.viewer.app import create_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stack.viewer")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--otlp-port", type=int, help="also serve here; without a collector, 4318")
    parser.add_argument("--db", type=Path, required=True, help="SQLite file, made when missing")
    parser.add_argument("--logs", type=Path, required=True, help="directory of *.jsonl")
    given = parser.parse_args()
    configure_logs()
    ports = [given.port] if given.otlp_port is None else [given.port, given.otlp_port]
    serve(create_app(given.db, given.logs), ports)


if __name__ == "__main__":
    main()
