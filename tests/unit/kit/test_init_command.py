"""`firedrill init` as it is run: what it writes and says, and one line for every mistake."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firedrill_kit import init
from firedrill_kit.__main__ import main
from firedrill_kit.config import read

KIT = Path(init.__file__).parents[2]
"""Where the package is, in the checkout or installed."""

MODELS = """
import sqlalchemy.dialects.postgresql.pg_catalog
from sqlalchemy import ForeignKey, MetaData, Table, Column, Integer
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    pass

class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)

class Order(Base):
    __tablename__ = "orders"
    __table_args__ = {"schema": "shop"}
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey(Customer.id))

own = MetaData()
audit = Table("audit", own, Column("id", Integer))
odd = Table("Odd", own, Column("id", Integer))
"""
SHOP = """
import os
import firedrill_kit
from fastapi import FastAPI
from sqlalchemy import select, text
from models import Customer, Order, audit

class Orders:
    def latest(self):
        return select(Order)

orders = Orders()

def customer():
    return select(Customer)

app = FastAPI(title="The Shop")
firedrill_kit.instrument(app)

@app.get("/health")
def health(): ...

@app.get("/customers")
def customers():
    return customer()

@app.get("/orders")
def all_orders():
    return orders.latest(), [customer() for _ in range(1)]

@app.get("/audit")
def audits():
    return text("SELECT * FROM audit JOIN customers ON true")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory; what an import leaves in the process is taken back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FIREDRILL_DISABLED", "0")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which has no tables of other tests."""
    command = [sys.executable, "-m", "firedrill_kit", *arguments]
    environment = {"PYTHONPATH": str(KIT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["init", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("firedrill: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("firedrill: ").removesuffix("\n")


@pytest.mark.slow
def test_a_file_is_written_with_the_tables_that_the_routes_name(folder: Path) -> None:
    (folder / "models.py").write_text(MODELS)
    (folder / "shop.py").write_text(SHOP)

    result = run("init", "shop:app")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(
        "firedrill.toml is written: the-shop, 4 routes in the mix and 0 to fill in, 3 tables,"
        " sign-in: none found\n"
    )
    config = read(folder)
    text = (folder / "firedrill.toml").read_text()
    assert config.database
    assert config.database.tables == ("customers", "audit", "shop.orders")
    assert "# Not lower-case, so that no drill can lock them: Odd\n" in text
    assert '#break = {lock = "customers"}  # guess: 3 of the routes name it' in text
    assert '#load = {"GET /customers" = 25}' in text
    assert config.load.unrelated == "GET /health"
    assert list(config.probes) == ["GET /customers", "GET /orders", "GET /audit"]
    assert config.slo.classes["health"].routes == ("/health",)


@pytest.mark.slow
def test_a_file_that_is_there_is_kept_unless_it_is_forced(folder: Path) -> None:
    (folder / "models.py").write_text(MODELS)
    (folder / "shop.py").write_text(SHOP)
    (folder / "firedrill.toml").write_text("broken")

    kept = run("init", "shop:app")
    assert kept.returncode == 2
    assert kept.stderr == (
        "firedrill: firedrill.toml: it exists; --force overwrites it, --into FILE writes another\n"
    )
    assert (folder / "firedrill.toml").read_text() == "broken"

    forced = run("init", "shop:app", "--force")
    assert (forced.returncode, forced.stderr) == (0, "")
    assert read(folder).service.name == "the-shop"


@pytest.mark.slow
def test_a_database_that_drills_cannot_break_is_commented_out(folder: Path) -> None:
    (folder / "models.py").write_text(MODELS)
    engine = "from sqlalchemy import create_engine\nengine = create_engine('sqlite://')\n"
    (folder / "shop.py").write_text(engine + SHOP)

    result = run("init", "shop:app")

    assert result.returncode == 0
    assert read(folder).database is None
    text = (folder / "firedrill.toml").read_text()
    assert "# Drills break PostgreSQL only; the engine speaks sqlite.\n#[database]\n" in text


@pytest.mark.slow
def test_a_thread_of_the_application_does_not_hold_the_command(folder: Path) -> None:
    (folder / "busy.py").write_text(
        "import threading\nfrom fastapi import FastAPI\napp = FastAPI()\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
    )

    result = run("init", "busy:app")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("firedrill.toml is written: ")


def test_a_file_elsewhere_says_where_the_commands_run(folder: Path) -> None:
    (folder / "made.py").write_text(
        "from fastapi import FastAPI\ndef make():\n return FastAPI()\n"
    )
    (folder / "alembic.ini").touch()
    (folder / "deploy").mkdir()

    assert main(["init", "made:make", "--into", "deploy/shop.toml"]) == 0

    text = (folder / "deploy/shop.toml").read_text()
    assert '#start = "uvicorn --factory made:make --port {port}"' in text
    assert '#prepare = ["alembic upgrade head"]' in text
    assert '#directory = ".."' in text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("app.main", "app.main: no application is called so; name it as uvicorn does"),
        ("app/main.py:app", "app/main.py:app: no application is called so; name it as uvicorn"),
        ("nowhere:app", "nowhere: there is no module nowhere in "),
        ("nowhere.main:app", "nowhere.main: there is no module nowhere in "),
        ("package.missing:app", "package.missing: there is no module package.missing in "),
        ("needs:app", "needs: it imports no_such_library, which is missing; start this with the"),
        ("raises:app", "raises: it raises ValueError: two lines at raises.py:1; set what it"),
        ("settings:app", "settings: it raises ValidationError: key: Field required at settings"),
        ("exits:app", "exits: it ends the process at exits.py:1; set what it needs, until"),
        ("wrong:app", "wrong: it raises SyntaxError: "),
        ("named:app", "named:app: named has no app; write named:api"),
        ("named:x.y", "named:x.y: named has no x.y; write named:api"),
        ("named:name", "named:name: it is no FastAPI, but str; write named:api"),
        ("named:Shop", "named:Shop: it is no FastAPI, but type; write named:api"),
        ("named:router", "named:router: it is no FastAPI, but APIRouter; write named:api"),
        ("named:later", "named:later: it is no FastAPI, but function; write named:api"),
        ("named:nothing", "named:nothing: it is no FastAPI, but NoneType; write named:api"),
        ("named:asking", "named:asking: it raises TypeError: asking() missing 1 required"),
        ("package:app", "package:app: package has no app; name it as uvicorn does, as in"),
        ("odd:app", "nothing is written, by a mistake of firedrill's own: "),
        ("document:app", "the OpenAPI document cannot be made: KeyError: 'x'; mend what GET"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], target: str, said: str
) -> None:
    for name, text in {
        "needs": "import no_such_library",
        "raises": r"raise ValueError('two\nlines')",
        "exits": "raise SystemExit(3)",
        "wrong": "def",
        "settings": (
            "from pydantic import BaseModel\nclass S(BaseModel):\n key: str\nS(other='secret')"
        ),
        "named": (
            "from fastapi import APIRouter, FastAPI\napi = FastAPI()\nrouter = APIRouter()\n"
            "name = ''\nclass Shop: ...\nasync def later(): ...\n"
            "def nothing(): ...\ndef asking(config): ..."
        ),
        "odd": (
            "from fastapi import FastAPI\napp = FastAPI()\n"
            "app.openapi = lambda: {'paths': {'/x': {'get': 3}}}"
        ),
        "document": (
            "from fastapi import FastAPI\napp = FastAPI()\n"
            "def document():\n raise KeyError('x')\napp.openapi = document"
        ),
    }.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "package").mkdir()
    (folder / "package/__init__.py").touch()

    assert refused(capsys, target).startswith(said)
    assert not (folder / "firedrill.toml").exists()


def test_check_is_sent_to_the_checkout_that_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "firedrill.toml"]) == 2

    assert capsys.readouterr().err == (
        "firedrill: check is a command of Firedrill's checkout: run `./firedrill check FILE` there\n"
    )


@pytest.mark.parametrize("into", ["none/firedrill.toml", ".", "file/firedrill.toml"])
def test_a_file_that_cannot_be_written_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], into: str
) -> None:
    (folder / "file").touch()
    (folder / "fine.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")

    said = refused(capsys, "fine:app", "--into", into, "--force")

    assert said.startswith(f"{into}: ")
    assert said.endswith("; name another file with --into")
