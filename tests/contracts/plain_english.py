"""Words that are not used any more: `python -m tests.contracts.plain_english [FILE ...]` (in `make lint`).

They are the private dialect that grew here; the second column says what a stranger reads at once. Docs,
configuration, comments and texts are looked at, names are not. Exit code 1 with a line for each place.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTEAD = {
    "told": "given, set, notified, reported, distinguished",
    "whoever": "who it is: the caller, the reader, the owner",
    r"(?:of|than) ours": "our",
    "is said": "is written, printed, reported",
    "says nothing of": "says nothing about",
    r"knows? nothing of": "imports nothing from, does not depend on",
    "in vain": "without success",
    "is met": "is reached",
    r"vouch(?:es|ed)?": "answers for, reports the readiness of",
    "at one with": "consistent with",
    "foretells?": "predicts",
    r"(?:where|there)(?:of|in|upon)|lest|whence|yonder": "plain words of today",
}
FOUND = re.compile("|".join(rf"\b(?:{word})\b" for word in INSTEAD), re.IGNORECASE)
KINDS = {".py", ".md", ".yaml", ".yml", ".toml", ".cfg", ".js", ".html", ""}
LEFT_OUT = re.compile(r"(^|/)(generated|licenses?)/|\.lock$|LICENSE$|plain_english\.py$")
_VALUES = re.compile(r"\{[^{}]*\}")


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """Yield each line of prose with its number: of Python, of comments and strings alone."""
    content = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        yield from enumerate(content.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            yield from enumerate(_VALUES.sub("", token.string).splitlines(), token.start[0])


def places(file: Path) -> Iterator[str]:
    for number, line in texts(file):
        for found in FOUND.finditer(line):
            instead = next(
                better
                for word, better in INSTEAD.items()
                if re.fullmatch(word, found[0], re.IGNORECASE)
            )
            yield f"{file}:{number}: “{found[0]}”: say {instead}"


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    names = [name for name in listed.stdout.splitlines() if not LEFT_OUT.search(name)]
    return [Path(name) for name in names if Path(name).suffix in KINDS and (ROOT / name).is_file()]


def main(arguments: list[str]) -> int:
    found = [place for file in [*map(Path, arguments)] or committed() for place in places(file)]
    sys.stderr.write("".join(f"{place}\n" for place in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
