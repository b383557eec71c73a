import re

from tests.contracts import architecture

PAGE = architecture.PAGE.read_text(encoding="utf-8")


def test_the_drawn_rooms_are_those_of_the_imports() -> None:
    assert architecture.page() == PAGE, "run `make architecture`"


def test_what_the_page_names_is_there() -> None:
    named = {path for path in re.findall(r"`([\w./*<>-]+)`", PAGE) if "/" in path}
    patterns = {re.sub(r"<\w+>", "*", path) for path in named if path[0] not in "./"}

    assert len(patterns) > 30
    assert [path for path in sorted(patterns) if not any(architecture.ROOT.glob(path))] == []


def test_every_layer_of_a_request_is_where_the_page_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([\w/]+)\.?(?:py)?/?` \|", PAGE, re.MULTILINE)

    assert len(rows) > 8
    for name, place in rows:
        files = [architecture.ROOT / f"{place}.py", *architecture.ROOT.glob(f"{place}/**/*.py")]
        sources = [file.read_text(encoding="utf-8") for file in files if file.exists()]
        assert any(f"class {name}" in source for source in sources), f"{name} in {place}"
