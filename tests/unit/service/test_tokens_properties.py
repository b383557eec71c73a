"""What must hold for every set of claims.

`HYPOTHESIS_PROFILE=thorough` tries 50,000 examples of each.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from service.security.claims import Subject, TokenFormat, same_email, subject_of
from service.security.tokens import TokenRejected
from tests.unit.service.minting import (
    ENHANCED,
    KEY,
    LEGACY,
    LEGACY_KEY,
    OTHER_KEY,
    base64url,
    sign,
    verifier,
)

EXAMPLES = max(500, settings().max_examples)
ADDRESSES = ["ada@example.com", "ADA@example.com", "eve@example.com", "a@b", "42@example.com"]
IDS = [
    42,
    43,
    1,
    0,
    -1,
    2**63 - 1,
    2**63,
    True,
    "42",
    "43",
    "042",
    "+42",
    "4_2",
    "42\n",
    "\uff14\uff12",
]

anything = st.one_of(
    st.sampled_from(ADDRESSES),
    st.sampled_from(IDS),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.lists(st.sampled_from(ADDRESSES), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
headers = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x"]), inner, max_size=5
        )
    ),
)
identifying = st.fixed_dictionaries(
    {}, optional={"sub": anything, "id": anything, "email": anything}
)


def names(claims: dict[str, Any], subject: Subject) -> bool:
    """Tell whether id and address are both in the claims, in the exact places of the shape."""
    if subject.token_format is TokenFormat.ENHANCED:
        id_claim, email_claim = claims["sub"], claims["email"]
    else:
        id_claim, email_claim = claims["id"], claims["sub"]
    return str(id_claim) == str(subject.account_id) and same_email(email_claim, subject.email)


@settings(max_examples=EXAMPLES, deadline=None)
@given(identifying)
def test_a_subject_has_its_id_and_its_address_in_the_claims(claims: dict[str, Any]) -> None:
    subject = subject_of(claims)

    assert subject is None or names(claims, subject)


@settings(max_examples=EXAMPLES, deadline=None)
@given(identifying)
def test_no_claims_have_both_shapes(claims: dict[str, Any]) -> None:
    # The marks that tell the shapes apart, read independently of the code under test.
    sub = claims.get("sub")
    is_address = isinstance(sub, str) and "@" in sub
    is_id = isinstance(sub, str) and sub.isdigit()

    subject = subject_of(claims)

    assert not (is_address and is_id)
    if subject is not None:
        assert (subject.token_format is TokenFormat.LEGACY) == is_address
        assert (subject.token_format is TokenFormat.ENHANCED) == is_id


@settings(max_examples=EXAMPLES, deadline=None)
@given(identifying, st.randoms(use_true_random=False))
def test_the_order_of_claims_changes_nothing(claims: dict[str, Any], random: Any) -> None:
    shuffled = list(claims.items())
    random.shuffle(shuffled)

    assert subject_of(dict(shuffled)) == subject_of(claims)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.sampled_from([(ENHANCED, "e1", KEY), (LEGACY, "l1", LEGACY_KEY)]),
    st.dictionaries(st.sampled_from(sorted({*ENHANCED, *LEGACY, "nbf", "more"})), anything),
    st.sets(st.sampled_from(sorted({*ENHANCED, *LEGACY}))),
    st.randoms(use_true_random=False),
)
def test_an_accepted_token_names_one_account_and_a_refused_one_one_reason(
    base: tuple[dict[str, Any], str, str],
    changes: dict[str, Any],
    dropped: set[str],
    random: Any,
) -> None:
    original, key_id, key = base
    claims = {
        name: value for name, value in {**original, **changes}.items() if name not in dropped
    }
    shuffled = list(claims.items())
    random.shuffle(shuffled)
    header = {"alg": "HS256", "kid": key_id}

    outcome = outcome_of(sign(claims, key, header))

    assert outcome == outcome_of(sign(dict(shuffled), key, header))
    if isinstance(outcome, Subject):
        assert names(claims, outcome)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=64))
def test_bytes_are_refused_and_never_raise_anything_else(
    head: bytes, payload: bytes, signature: bytes
) -> None:
    token = b".".join(base64url(part) for part in (head, payload, signature))

    assert isinstance(outcome_of(token), str)
    assert isinstance(outcome_of(head + b"." + payload + b"." + signature), str)


@settings(max_examples=EXAMPLES, deadline=None)
@given(headers)
def test_any_json_as_header_is_refused_and_never_raises_anything_else(header: Any) -> None:
    assert isinstance(outcome_of(sign(ENHANCED, OTHER_KEY, header)), str)


VERIFIER = verifier()


def outcome_of(token: bytes) -> Subject | str:
    try:
        return VERIFIER.verify(token).subject
    except TokenRejected as rejected:
        return rejected.reason
