"""The platform's signature: an Ed25519 key beside the lake that signs documents which leave it, and verification without the lake.

What is signed are the bytes of `canonical(document)`, the document without its member `signature`, so any program can check it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gridlake.tables import write_file

ALGORITHM = "Ed25519"
SIGNATURE = "signature"
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw
_ID_DIGITS = 16


class SignatureError(Exception):
    """A document that this key did not sign as it stands; the message says what differs and what to do."""


class PublicKey:
    """The half of the key that anyone may have; it comes from the platform, never from the document that it verifies."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.raw = key.public_bytes(*_RAW)

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """From a PEM file."""
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SignatureError(f"{path}: expected the platform's public key as PEM; {error}; ask the platform for it") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SignatureError(f"{path}: expected an {ALGORITHM} key, came {type(key).__name__}; ask the platform for its signing key")
        return cls(key)

    @property
    def id(self) -> str:
        """The first 16 hex digits of the key's SHA-256: what people compare by telephone."""
        return hashlib.sha256(self.raw).hexdigest()[:_ID_DIGITS]

    @property
    def pem(self) -> bytes:
        """The key as a PEM file."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def verify(self, document: Mapping[str, Any]) -> None:
        """Raises SignatureError unless the document stands as this key signed it."""
        signature = document.get(SIGNATURE)
        if not isinstance(signature, Mapping) or signature.get("algorithm") != ALGORITHM:
            raise SignatureError(f"expected a member `{SIGNATURE}` of algorithm {ALGORITHM}, found none; this document was never signed")
        if signature.get("key_id") != self.id:
            raise SignatureError(
                f"signed by key {signature.get('key_id')}, this is key {self.id}; take the key of the platform that signed, or refuse the document"
            )
        try:
            self._key.verify(base64.b64decode(str(signature.get("value")), validate=True), canonical(document))
        except (InvalidSignature, ValueError):
            raise SignatureError(
                "the signature does not fit: the document was changed after it was signed; ask the platform for the original"
            ) from None


class SigningKey:
    """The platform's private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """From a PEM file; made with mode 0600 on first use, the public half beside it as `<name>.pub`. An HSM takes this function's place."""
        if not path.exists():
            private = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            previous = os.umask(0o077)
            try:
                write_file(path, private)
            finally:
                os.umask(previous)
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(found, Ed25519PrivateKey):
            raise SignatureError(f"{path}: expected an {ALGORITHM} key, came {type(found).__name__}; move it away and a new one is made")
        key = cls(found)
        public = public_half(path)
        if not public.exists() or public.read_bytes() != key.public.pem:
            write_file(public, key.public.pem)
        return key

    def sign(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document with its member `signature`; an older signature is replaced."""
        signature = {"algorithm": ALGORITHM, "key_id": self.public.id, "value": base64.b64encode(self._key.sign(canonical(document))).decode()}
        return {**{name: value for name, value in document.items() if name != SIGNATURE}, SIGNATURE: signature}


def public_half(path: Path) -> Path:
    """Where the public half of a private key file lies."""
    return path.with_name(path.name + ".pub")


def canonical(document: Mapping[str, Any]) -> bytes:
    """The bytes that are signed: JSON with sorted names and no white space, UTF-8, without the signature."""
    content = {name: value for name, value in document.items() if name != SIGNATURE}
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
