"""Prometheus 3 and its promtool, of the version that docker-compose.yml names.

Debian's packages are of the second generation. Rules and their tests must be right in both, so `make test`
builds this promtool; `make tools` builds the server too, with its web page, and `make up` then takes it.
"""

import gzip
import json
import shutil
from pathlib import Path

from stack.programs import PROMETHEUS_3
from stack.tools.building import BuildError, Tool, go, run

VERSION = "3.13.1"
_major, _minor, _patch = VERSION.split(".")
# The module has no third major version: release 3.13.1 is tagged v0.313.1 for Go.
_MODULE = f"github.com/prometheus/prometheus@v0.{_major}{int(_minor):02}.{_patch}"
# Discovery in clouds is two thirds of the build; files and fixed targets are always in.
_TAGS = "remove_all_sd"
_OPTIONS = ("-trimpath", "-ldflags", f"-X github.com/prometheus/common/version.Version={VERSION}")
_PNPM = "pnpm@10"


def _source() -> Path:
    return Path(json.loads(go("mod", "download", "-json", _MODULE))["Dir"])


def _promtool(directory: Path) -> Path:
    _compile(_source(), directory / "promtool", tags=_TAGS)
    return directory / "promtool"


def _prometheus(directory: Path) -> Path:
    """The server with its page embedded: without, http://127.0.0.1:9090 would be an error."""
    source = directory / "source"
    # Go's cache of modules is read-only; the page is built inside the tree.
    shutil.copytree(_source(), source, copy_function=shutil.copyfile)
    for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    _build_page(source / "web" / "ui")
    _compile(source, directory / "prometheus", tags=f"{_TAGS},builtinassets")
    return directory / "prometheus"


def _compile(source: Path, program: Path, *, tags: str) -> None:
    target = ("-tags", tags, "-o", str(program), f"./cmd/{program.name}")
    go("build", *_OPTIONS, *target, cwd=source)


def _build_page(ui: Path) -> None:
    """What its Makefile does: build the page, compress each file, list them for the embedding."""
    npx = shutil.which("npx")
    if npx is None:
        raise BuildError("npx is not there: install Node.js 20 or newer, or do without")
    run(npx, "--yes", _PNPM, "install", "--frozen-lockfile", cwd=ui)
    run(npx, "--yes", "-p", _PNPM, "bash", "build_ui.sh", "--mantine-ui", cwd=ui)
    embedded = []
    for file in sorted(path for path in (ui / "static").rglob("*") if path.is_file()):
        compressed = file.with_name(f"{file.name}.gz")
        compressed.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
        embedded.append(str(compressed.relative_to(ui)))
    lines = [f"//go:embed {name}" for name in embedded]
    template = (ui / "embed.go.tmpl").read_text()
    (ui / "embed.go").write_text("\n".join([template, *lines, "var EmbedFS embed.FS", ""]))


_RECIPE = " ".join((_MODULE, _TAGS, *_OPTIONS))
PROMTOOL = Tool(PROMETHEUS_3 / "promtool", _RECIPE, _promtool)
PROMETHEUS = Tool(PROMETHEUS_3 / "prometheus", f"{_RECIPE} {_PNPM}", _prometheus)
