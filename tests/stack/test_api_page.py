"""Every command of docs/api.md runs as it is written, against a stack on other ports."""

import re
import subprocess
from pathlib import Path

from stack.settings import DEFAULT_PORTS, ROOT
from tests.stack.conftest import Stack

PAGE = (ROOT / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def test_the_curls_answer_what_the_text_says(stack: Stack, tmp_path: Path) -> None:
    script = "\n".join(BLOCKS).replace("/tmp/firedrill.jar", str(tmp_path / "jar"))
    for name, port in DEFAULT_PORTS.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{stack.ports[name]}")
    lines = [line for line in script.splitlines() if line]

    # Each command's answer behind a mark of its own.
    marked = "\n".join(f"echo '@@{number}'; {line}; echo" for number, line in enumerate(lines))
    done = subprocess.run(
        ["bash", "-eu", "-c", marked], capture_output=True, text=True, check=True
    )
    answers = [answer.strip() for answer in re.split(r"@@\d+\n", done.stdout)[1:]]
    said = dict(zip(lines, answers, strict=True))

    expected = [
        ("-c ", r'"access_token":"ey.*"token_type":"Bearer"'),
        ("PUT.*Ada.*profile", r'"display_name":"Ada"'),
        ('TOKEN" http.*/profile', r'"display_name":"Ada"'),
        ("PUT.*dark.*settings", r'"theme":"dark".*"large-1"'),
        ("-i .*settings", r'(?s)200 OK.*etag: "s\d+".*"degraded":\[\]'),
        ("If-None-Match", r"^304$"),
        ('TOKEN" http.*/connection', r'"status":"ok"'),
        ("sync/auto", r'"created":\d+'),
        ("events", r'"events":\[\{'),
        ("not-a-code", r'"code": "calendar_reauth_required".*"reauth_url"'),
        ("logout", r"^204$"),
        ("displayName", r'"status": 422.*"body.displayName"'),
        ("problems/validation_failed", r"What you can do"),
    ]
    for command, answer in expected:
        line = next(line for line in lines if re.search(command, line))
        assert re.search(answer, said[line]), f"{line}\n{said[line]}"
