"""`./firedrill` of the repository."""

import subprocess
from pathlib import Path

from firedrill_kit.config import read
from stack.settings import ROOT


def test_the_repository_has_the_command_for_init_and_check(tmp_path: Path) -> None:
    (tmp_path / "fine.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")

    written, checked, helped, unknown = (
        subprocess.run(
            [ROOT / "firedrill", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for arguments in (["init", "fine:app"], ["check", "firedrill.toml"], ["--help"], [])
    )

    assert written.returncode == 0
    assert read(tmp_path).service.name == tmp_path.name.replace("_", "-")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("can fire")
    assert (helped.returncode, helped.stdout.count("\n"), helped.stderr) == (0, 2, "")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)
    assert "write init MODULE:ATTRIBUTE or check FILE" in unknown.stderr
