"""Hand-made tokens against the verifier, one by one."""

import json
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from service import metrics
from service.config import Config
from service.security import rejections
from service.security.claims import TokenFormat
from service.security.tokens import MAX_TOKEN_BYTES, TokenIssuer, TokenRejected, TokenVerifier
from tests.unit.service.minting import (
    ENHANCED,
    KEY,
    LEGACY,
    LEGACY_ISSUER,
    LEGACY_KEY,
    NOW,
    OTHER_KEY,
    base64url,
    encode,
    enhanced,
    legacy,
    sign,
    verifier,
)

HEADER = {"alg": "HS256", "kid": "e1"}


def rejection_of(token: bytes, checked_by: TokenVerifier | None = None) -> TokenRejected:
    with pytest.raises(TokenRejected) as caught:
        (checked_by or verifier()).verify(token)
    return caught.value


def payload_with(*members: str) -> bytes:
    """Return the enhanced claims as JSON text with more members at the end, valid or not."""
    return (
        json.dumps(ENHANCED)[:-1] + "".join(f", {member}" for member in members) + "}"
    ).encode()


ACCEPTED = {
    "enhanced": (enhanced(), TokenFormat.ENHANCED),
    "enhanced with its id as a number": (enhanced(id=42), TokenFormat.ENHANCED),
    "enhanced with its id as text": (enhanced(id="42"), TokenFormat.ENHANCED),
    "enhanced with claims nobody knows": (enhanced(jti="7", tenant=[1]), TokenFormat.ENHANCED),
    "enhanced with nbf": (enhanced(nbf=NOW - 60), TokenFormat.ENHANCED),
    "legacy": (legacy(), TokenFormat.LEGACY),
    "legacy with its id as text": (legacy(id="42"), TokenFormat.LEGACY),
    "legacy with its e-mail twice": (legacy(email="Ada@Example.com"), TokenFormat.LEGACY),
    "with typ": (enhanced(header={**HEADER, "typ": "JWT"}), TokenFormat.ENHANCED),
}


@pytest.mark.parametrize(("token", "token_format"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_token_of_either_shape_names_its_account(
    token: bytes, token_format: TokenFormat
) -> None:
    verified = verifier().verify(token)

    assert verified.subject.token_format is token_format
    assert verified.subject.account_id == 42
    assert verified.subject.email == "ada@example.com"
    assert verified.role == "user"


SIGNED = enhanced()
HEAD, BODY, SIGNATURE = SIGNED.split(b".")

MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "a word": b"token",
    "two parts": HEAD + b"." + BODY,
    "four parts": SIGNED + b"." + SIGNATURE,
    "dots": b"..",
    "no header": b"." + BODY + b"." + SIGNATURE,
    "not base64": b"*" + SIGNED[1:],
    "padded base64": HEAD + b"==." + BODY + b"." + SIGNATURE,
    "standard base64": b"+/+/." + BODY + b"." + SIGNATURE,
    "not ASCII": "é".encode() + SIGNED,
    "white space inside": HEAD + b" ." + BODY + b"." + SIGNATURE,
    "NUL inside": HEAD + b"\x00." + BODY + b"." + SIGNATURE,
    "quoted": b'"' + SIGNED + b'"',
    "header is no JSON": base64url(b"{") + b"." + BODY + b"." + SIGNATURE,
    "header is a list": sign(ENHANCED, header=["alg"]),
    "header is text": sign(ENHANCED, header="alg"),
    "header is a number": sign(ENHANCED, header=7),
    "header is null": encode(None) + b"." + BODY + b"." + SIGNATURE,
    "header is no UTF-8": base64url(b'{"alg":"HS256","kid":"\xff"}') + b"." + BODY + b".AA",
    "header of 600 bytes": enhanced(header={**HEADER, "typ": "x" * 600}),
    "no algorithm": enhanced(header={"kid": "e1"}),
    "algorithm none": encode({"alg": "none", "kid": "e1"}) + b"." + BODY + b".",
    "algorithm NoNe": encode({"alg": "NoNe", "kid": "e1"}) + b"." + BODY + b".",
    "algorithm HS512": sign(ENHANCED, header={**HEADER, "alg": "HS512"}, digest="sha512"),
    "algorithm RS256 over our key": enhanced(header={**HEADER, "alg": "RS256"}),
    "algorithm is a list": enhanced(header={**HEADER, "alg": ["HS256"]}),
    "algorithm twice": sign(ENHANCED, header=b'{"alg":"none","alg":"HS256","kid":"e1"}'),
    "key id twice": sign(ENHANCED, header=b'{"alg":"HS256","kid":"x","kid":"e1"}'),
    "no key id": enhanced(header={"alg": "HS256"}),
    "key id is a number": enhanced(header={"alg": "HS256", "kid": 1}),
    "key id is an object": enhanced(header={"alg": "HS256", "kid": {"e1": 1}}),
    "key in the header": enhanced(header={**HEADER, "jwk": {"kty": "oct", "k": "AAAA"}}),
    "key address in the header": enhanced(header={**HEADER, "jku": "http://127.0.0.1/keys"}),
    "certificate address": enhanced(header={**HEADER, "x5u": "http://127.0.0.1/cert"}),
    "critical extension": enhanced(header={**HEADER, "crit": ["b64"], "b64": False}),
    "critical is a number": enhanced(header={**HEADER, "crit": 5}),
    "encrypted (five parts)": b".".join([HEAD, BODY, SIGNATURE, BODY, SIGNATURE]),
    "payload is no JSON": sign(b"{bad"),
    "payload is empty": sign(b""),
    "payload is a list": sign([ENHANCED]),
    "payload is text": sign("sub"),
    "payload is null": sign(None),
    "payload is no UTF-8": sign(b'{"sub":"\xff"}'),
    "payload is UTF-16": sign(json.dumps(ENHANCED).encode("utf-16")),
    "payload nested without end": sign(b"[" * 2500),
    "claim twice": sign(payload_with('"sub": "43"')),
    "claim twice in a nested object": sign(payload_with('"more": {"a": 1, "a": 2}')),
    "NaN": sign(payload_with('"more": NaN')),
    "2000-digit number": sign(payload_with(f'"nbf": {"9" * 2000}')),
    "exp as text": enhanced(exp=str(NOW + 60)),
    "exp as a fraction": enhanced(exp=NOW + 60.5),
    "exp beyond every date": enhanced(exp=1e308),
    "exp as a boolean": enhanced(exp=True),
    "exp before iat": enhanced(iat=NOW, exp=NOW - 1),
    "exp below zero": enhanced(iat=-20, exp=-10),
    "iat as text": enhanced(iat=str(NOW)),
    "nbf as a list": enhanced(nbf=[NOW]),
    "nbf as null": enhanced(nbf=None),
    "nbf as a boolean": enhanced(nbf=True),
    "a lifetime of more than a day": enhanced(iat=NOW, exp=NOW + 86401),
    "sub as a number": enhanced(sub=42),
    "sub as a list": enhanced(sub=["42"]),
    "email as a number": enhanced(email=42),
    "role as a list": enhanced(role=["admin"]),
    "id as a boolean": legacy(id=True),
    "id as a fraction": legacy(id=42.0),
    "id as a list": legacy(id=[42]),
    "id as null in an enhanced token": enhanced(id=None),
    "legacy with a numeric sub": legacy(sub=42),
}


@pytest.mark.parametrize("token", MALFORMED.values(), ids=MALFORMED)
def test_what_cannot_be_read_is_malformed(token: bytes) -> None:
    assert rejection_of(token).reason == "malformed"


CONFLICTING: dict[str, bytes] = {
    "full-width digits": enhanced(sub="\uff14\uff12"),
    "leading zero": enhanced(sub="042"),
    "sign": enhanced(sub="+42"),
    "underscore": enhanced(sub="4_2"),
    "line end": enhanced(sub="42\n"),
    "zero": enhanced(sub="0"),
    "id over 64 bits": enhanced(sub=str(2**63)),
    "id of 30 digits": enhanced(sub="9" * 30),
    "empty sub": enhanced(sub=""),
    "NUL in sub": enhanced(sub="42\x00"),
    "lone surrogate in the e-mail": sign(
        payload_with().replace(b"ada@example.com", b"ada\\ud800@example.com")
    ),
    "numeric e-mail": enhanced(email="42"),
    "two @": enhanced(email="ada@example.com@example.org"),
    "@ alone": enhanced(email="@"),
    "e-mail with a space": enhanced(email="ada @example.com"),
    "endless e-mail": enhanced(email="a" * 250 + "@example.com"),
    "other id than sub": enhanced(id=43),
    "hybrid: legacy shape under the enhanced key": enhanced(sub="ada@example.com", id=42),
    "hybrid: enhanced shape under the legacy key": legacy(sub="42", email="ada@example.com"),
    "legacy: sub and e-mail differ": legacy(email="eve@example.com"),
    "legacy: id is an e-mail": legacy(id="ada@example.com"),
    "legacy: id 0": legacy(id=0),
    "legacy: id -1": legacy(id=-1),
    "legacy: id over 64 bits": legacy(id=2**63),
    "legacy: id with full-width digits": legacy(id="\uff14\uff12"),
}


@pytest.mark.parametrize("token", CONFLICTING.values(), ids=CONFLICTING)
def test_genuine_claims_that_fit_no_shape_are_a_conflict(token: bytes) -> None:
    assert rejection_of(token).reason == "conflict"


@pytest.mark.parametrize("claim", ["sub", "email", "role", "iat", "exp"])
def test_each_claim_an_enhanced_token_needs_is_named_when_missing(claim: str) -> None:
    without: dict[str, Any] = {claim: ...}
    rejected = rejection_of(enhanced(**without))

    assert (rejected.reason, rejected.claim) == ("claims_missing", claim)
    assert rejected.token_format is TokenFormat.ENHANCED


@pytest.mark.parametrize("claim", ["sub", "id", "role", "iat", "exp"])
def test_each_claim_a_legacy_token_needs_is_named_when_missing(claim: str) -> None:
    without: dict[str, Any] = {claim: ...}
    rejected = rejection_of(legacy(**without))

    assert (rejected.reason, rejected.claim) == ("claims_missing", claim)
    assert rejected.token_format is TokenFormat.LEGACY


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "somebody"}, "issuer"),
        ({"iss": ...}, "issuer"),
        ({"iss": LEGACY_ISSUER}, "issuer"),
        ({"iss": ["firedrill"]}, "issuer"),
        ({"aud": "another-api"}, "audience"),
        ({"aud": ...}, "audience"),
        ({"aud": ["firedrill-api", "another-api"]}, "audience"),
        ({"aud": True}, "audience"),
    ],
)
def test_another_issuer_or_audience_is_refused(changes: dict[str, Any], reason: str) -> None:
    assert rejection_of(enhanced(**changes)).reason == reason


@pytest.mark.parametrize(
    ("token", "kid_known"),
    [
        (enhanced(key=OTHER_KEY), True),
        (legacy(key=KEY), True),
        (enhanced(header={"alg": "HS256", "kid": "l1"}), True),
        (HEAD + b"." + encode({**ENHANCED, "sub": "1"}) + b"." + SIGNATURE, True),
        (HEAD + b"." + BODY + b".", True),
        (HEAD + b".." + SIGNATURE, True),
        (HEAD + b"." + BODY + b"." + SIGNATURE[:-4], True),
        (enhanced(header={"alg": "HS256", "kid": "gone"}), False),
        (enhanced(header={"alg": "HS256", "kid": "../../etc/passwd"}), False),
        (enhanced(header={"alg": "HS256", "kid": "' or 1=1 --"}), False),
        (enhanced(header={"alg": "HS256", "kid": ""}), False),
    ],
)
def test_a_signature_by_no_key_of_ours_is_refused(token: bytes, *, kid_known: bool) -> None:
    rejected = rejection_of(token)

    assert (rejected.reason, rejected.kid_known) == ("signature", kid_known)


def test_a_public_key_does_not_pass_as_an_hmac_key() -> None:
    public_key = RSAKey.generate_key(2048, private=False).as_pem().decode()

    with pytest.raises(ValueError, match="must not be used"):
        verifier({"e1": public_key})


def test_a_token_over_the_size_cap_is_refused_unparsed() -> None:
    within = b"x" * MAX_TOKEN_BYTES

    assert rejection_of(within + b"x").reason == "too_large"
    assert rejection_of(within).reason == "malformed"


@pytest.mark.parametrize(
    ("seconds_after", "is_valid"), [(-1, True), (0, True), (29.9, True), (30, False), (31, False)]
)
def test_expiry_is_forgiven_for_less_than_30_seconds(
    seconds_after: float,
    *,
    is_valid: bool,
) -> None:
    at = verifier(now=ENHANCED["exp"] + seconds_after)

    if is_valid:
        assert at.verify(enhanced()).subject.account_id == 42
    else:
        rejected = rejection_of(enhanced(), at)
        assert (rejected.reason, rejected.skew_seconds) == ("expired", int(seconds_after))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(
    ("ahead", "is_valid"), [(29, True), (30, True), (31, False), (600, False)]
)
def test_a_start_in_the_future_is_forgiven_up_to_30_seconds(
    claim: str,
    ahead: int,
    *,
    is_valid: bool,
) -> None:
    change: dict[str, Any] = {claim: NOW + ahead}
    token = enhanced(**change)

    if is_valid:
        assert verifier().verify(token).subject.account_id == 42
    else:
        rejected = rejection_of(token)
        assert (rejected.reason, rejected.claim) == ("not_yet_valid", claim)
        assert rejected.skew_seconds == ahead


def test_a_rotation_with_overlap_locks_nobody_out() -> None:
    rotated = verifier({"e2": OTHER_KEY, "e1": KEY})

    assert rotated.verify(enhanced()).subject.account_id == 42
    new = enhanced(key=OTHER_KEY, header={"alg": "HS256", "kid": "e2"})
    assert rotated.verify(new).subject.account_id == 42


def test_a_rotation_without_overlap_says_that_the_key_is_unknown() -> None:
    rejected = rejection_of(enhanced(), verifier({"e2": OTHER_KEY}))

    assert (rejected.reason, rejected.kid_known) == ("signature", False)


def test_without_legacy_keys_legacy_tokens_are_refused() -> None:
    assert rejection_of(legacy(), verifier(legacy_keys={})).reason == "signature"


def test_a_short_key_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="shorter than 32 bytes"):
        verifier({"e1": "short"})


def test_a_key_id_of_both_formats_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="both token formats"):
        verifier({"same": KEY}, {"same": LEGACY_KEY})


def test_every_reason_of_the_metric_has_an_answer_and_no_other() -> None:
    assert set(rejections.MODES) == set(metrics.TOKEN_REJECTIONS)
    assert {mode.status for mode in rejections.MODES.values()} == {401}


@pytest.mark.parametrize("token_format", [TokenFormat.ENHANCED, TokenFormat.LEGACY])
def test_issued_tokens_are_signed_by_the_first_key_and_verify(token_format: TokenFormat) -> None:
    config = Config(
        token_keys={"e2": SecretStr(OTHER_KEY), "e1": SecretStr(KEY)},
        legacy_token_keys={"l1": SecretStr(LEGACY_KEY)},
    )
    issuer = TokenIssuer(config, clock=lambda: NOW)
    sign_as = issuer.enhanced if token_format is TokenFormat.ENHANCED else issuer.legacy

    token = sign_as(42, "ada@example.com", "admin").encode()

    verified = TokenVerifier.of(config, clock=lambda: NOW + 3600).verify(token)
    assert verified.subject.token_format is token_format
    assert (verified.subject.account_id, verified.role) == (42, "admin")
    alone = verifier({"e2": OTHER_KEY}, now=NOW + 3600)
    assert alone.verify(token).subject == verified.subject
    with pytest.raises(TokenRejected, match="expired"):
        verifier({"e2": OTHER_KEY}, now=NOW + 3630).verify(token)


def test_signing_without_a_key_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="set LEGACY_TOKEN_KEYS"):
        TokenIssuer(Config(), clock=lambda: NOW).legacy(42, "ada@example.com", "user")


def test_neither_shape_shows_the_address_when_printed() -> None:
    for token, claims in ((enhanced(), ENHANCED), (legacy(), LEGACY)):
        address = claims.get("email", claims["sub"])
        assert address not in repr(verifier().verify(token))
