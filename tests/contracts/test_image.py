"""The image: what is in it, as whom it runs, and that its locks hold all that it imports."""

import ast
import json
import re
import sys
from collections.abc import Collection
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
import yaml

from deploy.image import healthcheck, lock
from service.config import Config
from stack.settings import ROOT

COPIED = {"alerting", "deploy", "stack", "service"}
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_needs_no_buildkit() -> None:
    assert not re.search(
        r"^# *syntax=|--mount=|--chmod|--link|<<|\$TARGET", DOCKERFILE, re.MULTILINE
    )


def stages() -> dict[str, list[str]]:
    """Stage → its instructions, each on one line, without comments."""
    text = re.sub(r"^#.*\n|^ # .*\n", "", DOCKERFILE, flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if begins := re.fullmatch(r"FROM \S+ AS (\S+)", line):
            found[begins[1]] = []
        elif found and line:
            found[list(found)[-1]].append(line)
    return found


STAGES = stages()
IMAGES = ("service", "load")


def only(stage: str, instruction: str) -> str:
    """What follows the one such instruction of a stage."""
    (line,) = [one for one in STAGES[stage] if one.startswith(f"{instruction} ")]
    return line.removeprefix(f"{instruction} ")


def test_nothing_is_installed_without_its_hash() -> None:
    """No other index, no other version, no build of a source distribution."""
    installs = re.findall(r"\S*pip install [^&]+", " && ".join(chain(*STAGES.values())))

    assert len(installs) == len(lock.IMAGES)
    for install in installs:
        words = install.split()[2:]
        file = words[words.index("-r") + 1]
        assert {*words} == {
            *("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", file)
        }
        assert Path(file).name in lock.IMAGES
    assert not re.search(r"apt-get|apk |curl |wget |^ADD ", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("stage", IMAGES)
def test_the_images_run_as_nobody_in_particular(stage: str) -> None:
    """By number: a cluster cannot tell from a name that it is not root."""
    user, group = map(int, only(stage, "USER").split(":"))
    at = STAGES[stage].index(f"USER {user}:{group}")

    assert min(user, group) >= 10000
    assert not [line for line in STAGES[stage][at:] if line.startswith(("RUN", "COPY"))]
    assert SERVICES["otel-collector"]["user"] == f"{user}:{group}", "it reads what these write"


def test_the_image_of_the_service_says_when_it_lives_and_how_it_stops() -> None:
    """Liveness, not readiness: what a drift or a wedged pool makes unready, a restart does not mend."""
    options, _, command = only("service", "HEALTHCHECK").partition("CMD ")
    program, url = json.loads(command)[:-1], json.loads(command)[-1]
    internal_port = Config.model_fields["service_internal_port"].default
    grace = int(SERVICES["service-1"]["stop_grace_period"].removesuffix("s"))

    assert program == ["python", "-m", "deploy.image.healthcheck"]
    assert url == f"http://127.0.0.1:{internal_port}/livez"
    assert float(re.search(r"--timeout=(\d+)s", options)[1]) > healthcheck.ANSWER_SECONDS  # type: ignore[index]
    assert only("service", "STOPSIGNAL") == "SIGTERM"
    assert json.loads(only("service", "CMD")) == ["python", "-m", "service"]
    assert grace > Config.model_fields["stop_seconds"].default


def test_what_is_copied_into_the_image_is_in_the_context() -> None:
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources = {
        source.split("/")[0]
        for source in re.findall(r"^COPY ([\w/.]+) ", DOCKERFILE, re.MULTILINE)
    }

    assert sources == kept
    assert sources >= COPIED


@pytest.mark.parametrize("name", lock.IMAGES)
def test_the_locks_of_the_images_are_up_to_date(name: str) -> None:
    made = lock.render(lock.LOCK.read_text(), lock.IMAGES[name])

    assert (lock.FOLDER / name).read_text() == made, "run `python -m deploy.image.lock`"


@pytest.mark.parametrize("name", lock.IMAGES)
def test_what_a_distribution_of_an_image_needs_is_in_the_image(name: str) -> None:
    """No import of our own shows it: pip takes nothing but what the lock names."""
    everything = lock.read_lock(lock.LOCK.read_text())
    inside = lock.read_lock((lock.FOLDER / name).read_text()).keys()

    assert not {one for one, entry in everything.items() if entry.needed_by & inside} - inside


def test_an_entry_without_a_hash_is_refused() -> None:
    with pytest.raises(lock.LockError, match="left-pad"):
        lock.read_lock("left-pad==1.0\n    # via firedrill (pyproject.toml)\n")


def test_everything_that_is_imported_is_in_the_image() -> None:
    """An import of a package that only the development environment has fails here, not in a container."""
    folders = [
        *("service", "stack/pager", "stack/prober", "stack/provider", "stack/proxy"),
        *("deploy/compose", "deploy/image"),
    ]
    files = {file for folder in folders for file in (ROOT / folder).rglob("*.py")}
    files |= {
        ROOT / "alerting/build.py",
        ROOT / "alerting/routing.py",
        ROOT / "stack/logrotation.py",
    }

    assert not _missing(files, "service.lock")


def test_everything_that_the_load_imports_is_in_its_image() -> None:
    """All that Locust reaches from its file, and from the process that breaks things for it."""
    (locustfile,) = {
        part["command"][part["command"].index("--locustfile") + 1]
        for name, part in SERVICES.items()
        if name.startswith("load-")
    }
    scenarios = (ROOT / "loadtests/scenarios").glob("*.py")  # found by the catalogue, not imported
    reached = _reached({ROOT / locustfile, ROOT / "loadtests/faults/__main__.py", *scenarios})
    copied = re.findall(r"^COPY (\w+) \1$", "\n".join(STAGES["load"]), re.MULTILINE)

    assert len(reached) > 10
    assert {file.relative_to(ROOT).parts[0] for file in reached} <= set(copied)
    assert not _missing(reached, "load.lock")


def _missing(files: Collection[Path], locked_in: str) -> set[str]:
    """Imports of what the lock of an image does not have."""
    locked = {_normal(name) for name in lock.read_lock((lock.FOLDER / locked_in).read_text())}
    distributions = packages_distributions()
    return {
        f"{name} in {file.relative_to(ROOT)}"
        for file in files
        for name in {module.split(".")[0] for module in _imported(file)}
        if name in distributions
        and not {_normal(one) for one in distributions[name]} & {*locked, "firedrill"}
    }


def _reached(files: set[Path]) -> set[Path]:
    """These modules, and all of this repository that they import, directly or not."""
    while True:
        modules = {module for file in files for module in _imported(file)}
        places = {ROOT / module.replace(".", "/") for module in modules}
        more = {
            file
            for place in places
            for file in (place.with_name(f"{place.name}.py"), place / "__init__.py")
            if file.is_file()
        }
        if more <= files:
            return files
        files |= more


def _imported(file: Path) -> set[str]:
    """Modules by their dotted names; of `from a import b` also a.b, which may be one."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
