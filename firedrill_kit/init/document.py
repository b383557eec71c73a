"""The file that a person edits: every line that is a guess says so, and what is commented out is TOML.

A `#` that a letter or bracket follows comments out a line of TOML, `# ` begins prose.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from firedrill_kit.config.errors import one_line
from firedrill_kit.init import toml
from firedrill_kit.init.guesses import Guesses
from firedrill_kit.init.load import load
from firedrill_kit.settings import service_name

UNTITLED = "FastAPI"
"""What FastAPI calls an application without a title."""


def text_of(guesses: Guesses, file: Path) -> str:
    """Return the whole file. file: where it will be; paths in it are relative to that."""
    sections = (
        _head(guesses),
        _service(guesses),
        _slo(guesses),
        _scope(guesses),
        _client(guesses),
        _probe(guesses),
        load(guesses),
        _database(guesses),
        _process(guesses, file),
        _drill(guesses),
        _rest(),
    )
    return "\n".join("\n".join(lines) + "\n" for lines in map(list, sections) if lines)


def _head(guesses: Guesses) -> Iterator[str]:
    target = one_line(guesses.application.target)
    yield f"# Written by `firedrill init {target}`; lines that say guess are guesses."
    yield "# What follows a # without a space is TOML: take the # away. docs/firedrill-toml.md of Firedrill"
    yield "# says what each key means. `python -m firedrill_kit.config` checks this file, `--schema` prints a"
    yield "# schema for editors: keep it beside this file, and name it in a first line `#:schema ./NAME`."


def _service(guesses: Guesses) -> Iterator[str]:
    title = guesses.application.app.title
    has_title = title not in {"", UNTITLED}
    name = service_name(title if has_title else Path.cwd().name)
    of = (
        "the title of the application" if has_title else "the folder: the application has no title"
    )
    yield "[service]"
    yield f"name = {toml.value(name)}  # guess: {of}"
    yield 'address = "http://127.0.0.1:8000"  # guess: where uvicorn serves'
    yield "metrics_port = 9464"
    yield 'otlp = "http://127.0.0.1:4318"'
    yield 'logs = "add"'


def _slo(guesses: Guesses) -> Iterator[str]:
    yield "# Guess: of 1,000 requests one may end in a 5xx, and of 100 good answers 99 come within 0.25 s."
    yield "# Write what the callers are promised."
    yield "[slo]"
    yield "objective = 0.999"
    yield "fast_within = 0.25"
    if guesses.sign_in is not None:
        yield ""
        yield "# A password is hashed slowly on purpose."
        yield "[slo.class.sign_in]"
        yield f"routes = {toml.value([guesses.sign_in.operation.path])}"
        yield "objective = 0.99  # guess"
        yield "fast_within = 1  # guess"
    paths = list(dict.fromkeys(one.path for one in guesses.health))
    if paths:
        yield ""
        yield "# Promised nothing: a check of health answers 503 on purpose."
        yield "[slo.class.health]"
        yield f"routes = {toml.value(paths)}  # guess: by the name"


def _scope(guesses: Guesses) -> Iterator[str]:
    yield "[scope]"
    yield f"pattern = {toml.value(guesses.scope)}  # guess: what the paths have in common"


def _client(guesses: Guesses) -> Iterator[str]:
    found = guesses.sign_in
    if found is not None:
        kind = "form" if found.is_form else "json"
        yield "[client]"
        yield f"sign_in = {toml.value(found.operation.name)}  # guess: {found.why}"
        yield f"{kind} = {toml.value(found.fields)}"
        yield f"token = {toml.value(found.token)}  # guess: key of the answer"
    elif guesses.headers:
        yield "[client]"
        yield f"headers = {toml.value(guesses.headers)}  # guess: the scheme of the document"
    else:
        yield "# Guess: nobody signs in, as no request takes a password and answers with a token."
        yield "#[client]"
        yield '#sign_in = "POST /login"'
        yield '#form = {username = "$PROBE_USER", password = "$PROBE_PASSWORD"}'
        yield '#token = "access_token"'


def _probe(guesses: Guesses) -> Iterator[str]:
    names = [one.name for one in guesses.probes]
    if guesses.sign_in is not None:
        names.insert(0, guesses.sign_in.operation.name)
    if not names:
        yield "# Guess: no route can be asked for as it stands."
        yield "#[probe]"
        yield "#routes = []"
        return
    yield "[probe]"
    yield "# Guess: routes that can be asked for every five seconds, and change nothing."
    yield "routes = ["
    for name in names:
        yield f"    {toml.value(name)},"
    yield "]"


def _database(guesses: Guesses) -> Iterator[str]:
    spoken = guesses.dialects
    other = sorted(spoken) if spoken and "postgresql" not in spoken else []
    mark = "#" if other or not guesses.tables else ""
    if other:
        yield f"# Drills break PostgreSQL only; the engine speaks {', '.join(other)}."
    elif mark:
        yield "# No tables are declared in what the application imports."
    yield f"{mark}[database]"
    yield f'{mark}admin_dsn = "$FIREDRILL_ADMIN_DSN"'
    if guesses.tables:
        yield f"{mark}# Guess: all that the models declare; leave out those that no drill may lock."
        yield f"{mark}tables = ["
        for name in guesses.tables:
            yield f"{mark}    {toml.value(name)},"
        yield f"{mark}]"
    if guesses.odd_tables:
        odd = one_line(", ".join(guesses.odd_tables))
        yield f"# Not lower-case, so that no drill can lock them: {odd}"
    yield f"#application_name = {toml.value(service_name(guesses.application.app.title))}  # guess"


def _process(guesses: Guesses, file: Path) -> Iterator[str]:
    application = guesses.application
    factory = "--factory " if application.is_made else ""
    target = application.target.replace("$", "$$")
    folder = os.path.relpath(Path.cwd(), file.absolute().parent)
    yield "# For drills that stop the service, and for stacks of their own."
    yield "#[process]"
    yield f"#start = {toml.value(f'uvicorn {factory}{target} --port {{port}}')}  # guess"
    if Path("alembic.ini").is_file():
        yield '#prepare = ["alembic upgrade head"]  # guess: there is an alembic.ini'
    else:
        yield "#prepare = []  # commands that run before: migrations, first users"
    if folder != ".":
        yield f"#directory = {toml.value(folder)}"
    yield '#environment = {FIREDRILL_METRICS_PORT = "{metrics_port}"}'
    plain = [one.path for one in guesses.health if one.is_plain]
    if plain:
        yield f"#ready = {toml.value(plain[0])}  # guess: by the name"


def _drill(guesses: Guesses) -> Iterator[str]:
    table = guesses.busiest_table
    if table is not None and table in guesses.named_by:
        count = len(guesses.named_by[table])
        why = f"guess: {count} of the routes name it, no table more"
    else:
        why = "guess: no route was seen to name a table"
    yield "# The first drill: another session locks a table, as a forgotten migration does."
    yield "#[[drill]]"
    yield '#name = "db_pool_exhausted"'
    yield f"#break = {{lock = {toml.value(table or 'items')}}}  # {why}"
    victims = [one for one in guesses.named_by.get(table or "", ()) if one in guesses.mix]
    if victims:
        yield f"#load = {{{toml.key(victims[0].name)} = 25}}  # guess: one that needs the table"
    yield '#pages = ["DbPoolExhausted"]'
    yield "#within = 60"


def _rest() -> Iterator[str]:
    yield "# Also: [links], [runbooks], [load.caller.NAME], [upstream.NAME], and more kinds of [[drill]]."
