"""Signed requests: what the RFC signs, what is refused and under which code."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from gridlake.signatures import CLOCK_SKEW_S, Message, SignatureRefused, check_digest, claim, content_digest, sign, signature_base

URL = "http://lake.example/feeds/office/visit?dry=1"
BODY = b'{"visit_id": "V1"}\n'
NOW = 1_780_000_000
KEY, KEYID = "a key of north", "north"


def signed(**headers: str) -> Message:
    """A request that north has signed, with some headers changed afterwards."""
    made = sign("POST", URL, KEY, KEYID, body=BODY, headers={"content-type": "application/x-ndjson"}, created=NOW, nonce="0123456789abcdef")
    return Message("POST", "/feeds/office/visit", "dry=1", made | {n.replace("_", "-"): v for n, v in headers.items()})


def refusal(message: Message, *, now: float = NOW, keys: tuple[str, ...] = (KEY,)) -> str:
    with pytest.raises(SignatureRefused) as refused:
        claim(message).verify(keys, now)
    return refused.value.code


def test_the_signature_base_and_mac_are_those_of_rfc_9421_b_2_5() -> None:
    key = base64.b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
    message = Message(
        "POST", "/foo", "", {"host": "example.com", "date": "Tue, 20 Apr 2021 02:07:55 GMT", "content-type": "application/json"}
    )  # fmt: skip
    parameters = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    base = signature_base(message, ["date", "@authority", "content-type"], parameters)
    assert base64.b64encode(hmac.digest(key, base, hashlib.sha256)).decode() == "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


def test_a_signed_request_is_believed_with_any_valid_key_within_the_clocks_bound() -> None:
    said = claim(signed())
    assert (said.keyid, said.created, said.nonce) == (KEYID, NOW, "0123456789abcdef")
    for now in (NOW - CLOCK_SKEW_S, NOW, NOW + CLOCK_SKEW_S):
        said.verify(["another", KEY], now)
    check_digest(signed(), BODY)


@pytest.mark.parametrize(
    ("now", "code"), [(NOW + CLOCK_SKEW_S + 1, "signature_expired"), (NOW - CLOCK_SKEW_S - 1, "signature_expired")], ids=["old", "early"]
)
def test_a_signature_outside_the_clocks_bound_is_expired(now: float, code: str) -> None:
    assert refusal(signed(), now=now) == code


def test_another_key_no_key_or_another_request_is_a_wrong_signature() -> None:
    assert refusal(signed(), keys=("another",)) == "signature_wrong"
    assert refusal(signed(), keys=()) == "signature_wrong"
    assert refusal(signed(content_digest=content_digest(b"other"))) == "signature_wrong"
    assert refusal(signed(content_type="text/csv")) == "signature_wrong"
    elsewhere = Message("POST", "/feeds/office/other", "dry=1", signed().headers)
    assert refusal(elsewhere) == "signature_wrong"
    assert refusal(Message("PUT", "/feeds/office/visit", "dry=1", signed().headers)) == "signature_wrong"
    assert refusal(Message("POST", "/feeds/office/visit", "dry=2", signed().headers)) == "signature_wrong"


def test_a_header_that_counts_and_is_not_covered_is_refused() -> None:
    assert refusal(signed(idempotency_key="k1")) == "signature_incomplete"
    assert refusal(signed(content_encoding="gzip")) == "signature_incomplete"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"signature": ""}, "signature_missing"),
        ({"signature_input": ""}, "signature_missing"),
        ({"signature_input": "sig1=garbage"}, "signature_malformed"),
        ({"signature_input": 'sig1=("@method" "@path" "@query" "content-digest" "content-type");created=1;keyid="north"'}, "signature_malformed"),
        ({"signature_input": 'sig1=("@method" "@method");created=1;keyid="n";nonce="0123456789abcdef"'}, "signature_malformed"),
        ({"signature_input": 'sig1=("@method");created=1;keyid="n";nonce="0123456789abcdef";alg="rsa"'}, "signature_malformed"),
        ({"signature_input": 'sig1=("@method");created=1;keyid="n";nonce="0123456789abcdef"'}, "signature_incomplete"),
        ({"signature": "sig1=:not base64!:"}, "signature_malformed"),
        ({"signature": "other=:AAAA:"}, "signature_malformed"),
    ],
)
def test_a_signature_that_cannot_be_read_says_so(given: dict[str, str], code: str) -> None:
    assert refusal(signed(**given)) == code


def test_a_body_is_bound_by_its_digest() -> None:
    with pytest.raises(SignatureRefused, match="digest_wrong"):
        check_digest(signed(), BODY + b" ")
    unsigned = Message("GET", "/", "", {})
    check_digest(unsigned, b"")
    with pytest.raises(SignatureRefused, match="digest_missing"):
        check_digest(unsigned, BODY)
