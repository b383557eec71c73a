import json
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service import schemas

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_well_formed_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    raw = json.dumps(value).encode()

    assert schemas.loads(raw) == json.loads(raw)


@given(JSON)
def test_the_depth_is_the_depth_of_the_value(value: object) -> None:
    def depth(item: object) -> int:
        if isinstance(item, dict):
            return 1 + max(map(depth, item.values()), default=0)
        if isinstance(item, list):
            return 1 + max(map(depth, item), default=0)
        return 0

    assert schemas.depth_of(json.dumps(value).encode()) == depth(value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"bad"',
        b"NaN",
        b'{"a": Infinity}',
        b"[" * 33 + b"]" * 33,
        b"1" * 401,
        b"[" + b"0," * 4096 + b"0]",
        b"{" + b",".join(b'"%d": 0' % number for number in range(4097)) + b"}",
        b'"\xff"',
        b"",
    ],
    ids=["cut", "nan", "infinity", "deep", "digits", "items", "fields", "not-utf-8", "empty"],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        schemas.loads(raw)


def test_the_deepest_allowed_body_is_read() -> None:
    assert schemas.loads(b"[" * 32 + b"]" * 32)


def test_the_longest_allowed_body_is_read_and_commas_in_text_do_not_count() -> None:
    body = [*range(4095), "," * 10_000]

    assert schemas.loads(json.dumps(body).encode()) == body


class Note(schemas.Model):
    body: Annotated[str, schemas.Text(min_length=1, max_length=5)]
    share: float = 0


@pytest.mark.parametrize("value", ["", "   ", "123456", "a\x00", "\ud800"])
def test_text_that_cannot_be_stored_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        Note(body=value)


def test_unknown_fields_and_not_numbers_are_refused() -> None:
    with pytest.raises(ValidationError):
        Note.model_validate({"body": "a", "boby": "b"})
    with pytest.raises(ValidationError):
        Note(body="a", share=float("nan"))
