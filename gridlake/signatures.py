"""Signed requests: HTTP Message Signatures (RFC 9421) with hmac-sha256, and digests of bodies (RFC 9530).

What must be signed: @method, @path, @query where there is one, and each of the headers in `SIGNED_HEADERS` that the request has;
`created`, `nonce` and `keyid` among the parameters. One signature a request. Nothing here says whose key it is or remembers a nonce.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# Seconds that the sender's clock may differ from ours, either way.
CLOCK_SKEW_S = 300
SIGNED_HEADERS = ("content-digest", "content-type", "content-encoding", "idempotency-key")
_ALGORITHM = "hmac-sha256"
_INPUT = re.compile(
    r'(?P<label>[a-z*][a-z0-9_\-.*]{0,63})=(?P<all>\((?P<components>(?:"[a-z0-9@\-]+"(?: "[a-z0-9@\-]+")*)?)\)(?P<parameters>(?:;[^,]*)?))'
)
_PARAMETER = re.compile(r';\s*(?P<name>[a-z][a-z0-9_\-]*)=(?:"(?P<text>[ !#-\[\]-~]*)"|(?P<number>\d{1,15}))')
_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):\s*(?:,|$)")
_NONCE = re.compile(r"[\x21-\x7e]{16,128}")


class SignatureRefused(Exception):
    """A request that is not shown to come from its sender; `code` is for machines, the message says what was expected."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Message:
    """The parts of a request that a signature may cover; header names in small letters, the path as it was sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @classmethod
    def of_request(cls, scope: Mapping[str, Any]) -> Message:
        """The parts of a request as an ASGI server gives them."""
        headers: dict[str, str] = {}
        for raw_name, value in scope["headers"]:
            name, text = raw_name.decode("latin-1"), value.decode("latin-1")
            # Values of one name are one value (RFC 9421, section 2.1).
            headers[name] = f"{headers[name]}, {text}" if name in headers else text
        path = scope.get("raw_path") or scope["path"].encode()
        return cls(scope["method"], path.decode("latin-1"), scope["query_string"].decode("latin-1"), headers)

    def component(self, name: str) -> str:
        """The value of a component (RFC 9421, section 2); KeyError where the request has none."""
        derived = {
            "@method": self.method.upper(),
            "@path": self.path or "/",
            "@query": "?" + self.query,
            "@authority": self.headers.get("host", "").lower(),
        }
        return derived[name] if name.startswith("@") else self.headers[name].strip()

    def required(self) -> list[str]:
        """The components that a signature must cover."""
        return ["@method", "@path", *(["@query"] if self.query else []), *(name for name in SIGNED_HEADERS if name in self.headers)]


@dataclass(frozen=True)
class Claim:
    """What a request says of its signature, not yet believed."""

    keyid: str
    created: int
    expires: int | None
    nonce: str
    base: bytes
    signature: bytes

    def verify(self, keys: Iterable[str], now: float) -> None:
        """Raises SignatureRefused unless one of the keys made the signature, and made it within the clock's bound."""
        if not any(hmac.compare_digest(_mac(key, self.base), self.signature) for key in keys):
            raise SignatureRefused("signature_wrong", "no valid key of this keyid made this signature; check key, keyid and the signed components")
        if abs(now - self.created) > CLOCK_SKEW_S or (self.expires is not None and now > self.expires):
            raise SignatureRefused(
                "signature_expired",
                f"created {self.created}, this server's clock {int(now)}; expected at most {CLOCK_SKEW_S} s between them: set the clock, sign again",
            )


def claim(message: Message) -> Claim:
    """Read the headers Signature-Input and Signature; raises SignatureRefused where they are not as this module's first lines say."""
    given, signature = message.headers.get("signature-input", ""), message.headers.get("signature", "")
    if not given or not signature:
        raise SignatureRefused("signature_missing", "expected the headers Signature-Input and Signature (RFC 9421)")
    found = _INPUT.fullmatch(given.strip())
    if not found:
        raise SignatureRefused("signature_malformed", 'expected Signature-Input: <label>=("@method" "@path" …);created=…;nonce="…";keyid="…", once')
    parameters = {m["name"]: m["text"] if m["text"] is not None else m["number"] for m in _PARAMETER.finditer(found["parameters"])}
    components = [name.strip('"') for name in found["components"].split()]
    if "".join(m[0] for m in _PARAMETER.finditer(found["parameters"])) != found["parameters"] or len(components) != len(set(components)):
        raise SignatureRefused("signature_malformed", "Signature-Input has a parameter that cannot be read or a component twice")
    created, keyid, nonce = parameters.get("created", ""), parameters.get("keyid", ""), parameters.get("nonce", "")
    if not created.isdecimal() or not keyid or not _NONCE.fullmatch(nonce):
        raise SignatureRefused("signature_malformed", "expected created=<unix seconds>, keyid and a nonce of 16 to 128 visible ASCII characters")
    expires = parameters.get("expires")
    if parameters.get("alg", _ALGORITHM) != _ALGORITHM or (expires is not None and not expires.isdecimal()):
        raise SignatureRefused("signature_malformed", f'expected alg="{_ALGORITHM}" or none, and expires in unix seconds or none')
    missing = [name for name in message.required() if name not in components]
    if missing:
        raise SignatureRefused("signature_incomplete", f"the signature does not cover {', '.join(missing)}")
    try:
        base = signature_base(message, components, found["all"])
    except KeyError as absent:
        raise SignatureRefused("signature_malformed", f"the signature covers {absent}, which the request does not have") from None
    return Claim(keyid, int(created), int(expires) if expires else None, nonce, base, _signature(found["label"], signature))


def signature_base(message: Message, components: Iterable[str], parameters: str) -> bytes:
    """What is signed (RFC 9421, section 2.5)."""
    lines = [f'"{name}": {message.component(name)}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def content_digest(body: bytes) -> str:
    """The header Content-Digest of a body."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def check_digest(message: Message, body: bytes) -> None:
    """Raises SignatureRefused unless the body is the one whose digest was signed; a request without a body needs none."""
    given = message.headers.get("content-digest")
    if given is None and not body:
        return
    found = _DIGEST.search(given or "")
    if not found:
        raise SignatureRefused("digest_missing", "expected the header Content-Digest: sha-256=:<base64>: of the body as sent")
    if not hmac.compare_digest(found[1].encode(), base64.b64encode(hashlib.sha256(body).digest())):
        raise SignatureRefused("digest_wrong", "the body is not the one that Content-Digest was made of")


def sign(
    method: str, url: str, key: str, keyid: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None,
    created: int | None = None, nonce: str | None = None,
) -> dict[str, str]:  # fmt: skip
    """The headers of a signed request: those given, Content-Digest where there is a body, Signature-Input and Signature."""
    parts = urlsplit(url)
    all_headers = {name.lower(): value for name, value in (headers or {}).items()}
    if body:
        all_headers["content-digest"] = content_digest(body)
    message = Message(method, parts.path, parts.query, all_headers)
    components = message.required()
    listed = " ".join(f'"{name}"' for name in components)
    created = int(time.time()) if created is None else created
    parameters = f'({listed});created={created};nonce="{nonce or secrets.token_urlsafe(18)}";keyid="{keyid}";alg="{_ALGORITHM}"'
    mac = _mac(key, signature_base(message, components, parameters))
    return all_headers | {"signature-input": f"sig1={parameters}", "signature": f"sig1=:{base64.b64encode(mac).decode()}:"}


def _mac(key: str, base: bytes) -> bytes:
    return hmac.digest(key.encode(), base, hashlib.sha256)


def _signature(label: str, header: str) -> bytes:
    name, _, value = header.strip().partition("=")
    if name != label or not (len(value) > 1 and value.startswith(":") and value.endswith(":")):
        raise SignatureRefused("signature_malformed", f"expected Signature: {label}=:<base64>:")
    try:
        return base64.b64decode(value[1:-1], validate=True)
    except binascii.Error:
        raise SignatureRefused("signature_malformed", "the signature is no base64") from None
