"""Tokens of the simulated provider: rotation, reuse, grace, expiry. The clock is a number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.provider.grants import Grant, Grants, Rotation, Terms, TokenRefused

GRACE_SECONDS = 30.0
SCOPES = ["https://www.googleapis.com/auth/calendar.readonly"]


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


def terms(rotation: Rotation = "none", **changes: int) -> Terms:
    return Terms(rotation=rotation, grace_seconds=GRACE_SECONDS, **changes)


def connect(grants: Grants, first_terms: Terms | None = None) -> tuple[Grant, str]:
    """A new grant and its first refresh token."""
    grant, code = grants.consent(user=None, scopes=SCOPES)
    tokens = grants.exchange(
        code, redirect_uri="http://localhost/done", terms=first_terms or terms()
    )
    assert tokens.refresh_token is not None
    return grant, tokens.refresh_token


@given(
    rotation=st.sampled_from(["strict", "grace"]),
    steps=st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from([0.0, 1.0, GRACE_SECONDS - 1, GRACE_SECONDS])
        ),
        max_size=25,
    ),
)
def test_a_family_lives_until_a_superseded_token_is_presented_outside_its_grace(
    rotation: Rotation, steps: list[tuple[int, float]]
) -> None:
    """Each step waits, then presents the newest token or one up to three rotations old."""
    clock = Clock()
    grants = Grants(seed="1", now=clock)
    grant, first = connect(grants)
    family = [first]
    rotated_at = float("-inf")
    revoked = False

    for age, wait_seconds in steps:
        clock.seconds += wait_seconds
        age = min(age, len(family) - 1)
        in_grace = rotation == "grace" and age == 1 and clock() < rotated_at + GRACE_SECONDS
        if revoked or (age > 0 and not in_grace):
            with pytest.raises(TokenRefused) as refusal:
                grants.refresh(family[-1 - age], terms(rotation))
            assert refusal.value.outcome == ("invalid_grant" if revoked else "reuse")
            revoked = True
        else:
            tokens = grants.refresh(family[-1 - age], terms(rotation))
            assert tokens.refresh_token is not None
            assert tokens.superseded is in_grace
            assert grants.authenticate(tokens.access_token) is grant
            if in_grace:
                assert tokens.refresh_token == family[-1]
            else:
                assert tokens.refresh_token not in family
                family.append(tokens.refresh_token)
                rotated_at = clock()
        assert grant.revoked is revoked


def test_reuse_ends_access_tokens_and_the_newest_refresh_token_too() -> None:
    grants = Grants(seed="1", now=Clock())
    _, first = connect(grants)
    second = grants.refresh(first, terms("strict"))
    assert second.refresh_token is not None

    with pytest.raises(TokenRefused, match="reuse"):
        grants.refresh(first, terms("strict"))

    assert grants.authenticate(second.access_token) is None
    with pytest.raises(TokenRefused, match="invalid_grant"):
        grants.refresh(second.refresh_token, terms("strict"))


def test_one_family_does_not_suffer_from_the_reuse_of_another() -> None:
    grants = Grants(seed="1", now=Clock())
    _, victim = connect(grants)
    _, bystander = connect(grants)
    grants.refresh(victim, terms("strict"))

    with pytest.raises(TokenRefused):
        grants.refresh(victim, terms("strict"))

    assert grants.refresh(bystander, terms("strict")).access_token


def test_without_rotation_the_refresh_token_is_not_sent_again_and_stays_good() -> None:
    grants = Grants(seed="1", now=Clock())
    _, token = connect(grants)

    answers = [grants.refresh(token, terms()) for _ in range(3)]

    assert [answer.refresh_token for answer in answers] == [None] * 3
    assert len({answer.access_token for answer in answers}) == 3


def test_an_access_token_dies_on_the_second() -> None:
    clock = Clock()
    grants = Grants(seed="1", now=clock)
    grant, token = connect(grants)
    access_token = grants.refresh(token, terms(expires_in=10)).access_token

    clock.seconds += 9.999
    assert grants.authenticate(access_token) is grant
    clock.seconds += 0.001
    assert grants.authenticate(access_token) is None


def test_expire_ends_access_tokens_but_not_the_grant() -> None:
    grants = Grants(seed="1", now=Clock())
    grant, token = connect(grants)
    access_token = grants.refresh(token, terms()).access_token

    assert grants.expire(grant) == 2

    assert grants.authenticate(access_token) is None
    assert grants.authenticate(grants.refresh(token, terms()).access_token) is grant


def test_a_refresh_token_with_an_end_is_refused_after_it() -> None:
    """What Google does after seven days while the consent screen is in testing."""
    clock = Clock()
    grants = Grants(seed="1", now=clock)
    grant, token = connect(grants, terms(refresh_token_expires_in=604_800))

    clock.seconds += 604_800

    with pytest.raises(TokenRefused, match="invalid_grant"):
        grants.refresh(token, terms())
    assert not grant.revoked


def test_a_code_is_good_once_in_ten_minutes_and_for_its_redirect_uri() -> None:
    clock = Clock()
    grants = Grants(seed="1", now=clock)
    uri = "http://localhost/done"
    _, code = grants.consent(user="ann", scopes=SCOPES, redirect_uri=uri)
    _, late = grants.consent(user="ann", scopes=SCOPES)

    with pytest.raises(TokenRefused, match="redirect_uri_mismatch"):
        grants.exchange(code, redirect_uri="http://localhost/other", terms=terms())
    assert grants.exchange(code, redirect_uri=uri, terms=terms()).refresh_token
    with pytest.raises(TokenRefused, match="invalid_grant"):
        grants.exchange(code, redirect_uri=uri, terms=terms())
    clock.seconds += 600
    with pytest.raises(TokenRefused, match="invalid_grant"):
        grants.exchange(late, redirect_uri=uri, terms=terms())


@given(
    st.text(max_size=80) | st.from_regex(r"(ac|rt|at)-g[1-3]-[1-3]-[0-9a-f]{32}", fullmatch=True)
)
def test_no_token_can_be_made_up(token: str) -> None:
    grants = Grants(seed="1", now=Clock())
    connect(grants)

    assert grants.owner(token) is None
    assert grants.authenticate(token) is None
    with pytest.raises(TokenRefused, match="invalid_grant"):
        grants.refresh(token, terms())


def test_a_token_of_one_kind_is_not_taken_for_another() -> None:
    grants = Grants(seed="1", now=Clock())
    _, token = connect(grants)
    access_token = grants.refresh(token, terms()).access_token

    with pytest.raises(TokenRefused, match="invalid_grant"):
        grants.refresh(access_token, terms())
    assert grants.authenticate(token) is None


def test_the_seed_decides_every_token() -> None:
    def minted(seed: str) -> list[str]:
        grants = Grants(seed=seed, now=Clock())
        return [connect(grants)[1] for _ in range(3)]

    assert minted("1") == minted("1")
    assert not set(minted("1")) & set(minted("2"))
