"""Classification, column encryption, join tokens, masks, redaction, small-number suppression.

Class L4 (ID number, phone, person's name, exact home) leaves the lander only as ciphertext and token. Ciphertext is
deterministic (AES-SIV, RFC 5297): a repeated landing writes the same bytes, and it tells no more than the token does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import operator
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from numpy.typing import NDArray

from gridlake.tables import write_file

CLASSES = {
    "L1": "公开 public",
    "L2": "内部 internal",
    "L3": "敏感 sensitive",
    "L4": "高敏感 highly sensitive: only ciphertext and join token are kept",
}
# Fewer persons than this are not published: the smallest cell that statistics offices commonly publish.
SMALLEST_PUBLISHED_COUNT = 5
# A mart with this column counts persons of whom little is to be known (residents, not staff): `publishable_counts` says what is published of it.
PERSONS = "person_count"
# What `publishable_counts` adds, and how a dictionary describes it: no model of dbt has the column.
SUPPRESSED, SUPPRESSED_LABEL, SUPPRESSED_MEANING = "is_suppressed", "是否隐去", "人数过少或可推算出过少人数，不予公布"
TOKEN_DIGITS = 32  # 128 bits: no collision to be expected among a province's 65 million residents
_CHUNK = 4 * 1024 * 1024
_URLSAFE = bytes.maketrans(b"+/", b"-_")

# Resident ID numbers (18 digits, and 15 as issued before 1999), mobile numbers and landlines inside free text; spaces and
# hyphens may part the groups of a number.
_BIRTHDAY = r"(?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])"
ID_NUMBER = (
    rf"(?:[1-9][0-9]{{5}}[\- ]?(?:18|19|20)[0-9]{{2}}[\- ]?{_BIRTHDAY}[\- ]?[0-9]{{3}}[0-9Xx]"
    rf"|\b[1-9][0-9]{{7}}{_BIRTHDAY}[0-9]{{3}}\b)"
)
MOBILE = r"(?:\+?86[\- ]?)?1[3-9][0-9][\- ]?[0-9]{4}[\- ]?[0-9]{4}"
LANDLINE = r"0[0-9]{2,3}[\- ][0-9]{7,8}"
# Written in groups of 3-3-4: China's 400 and 800 numbers, and all of North America.
GROUPED = r"(?:\+?1[\-. ])?\(?[2-9][0-9]{2}(?:\) ?|[\-. ])[2-9][0-9]{2}[\-. ][0-9]{4}"
_WIDE = "０１２３４５６７８９"
_PLAIN = str.maketrans(_WIDE, "0123456789")
_SHORTEST_NUMBER = 7  # a landline without its area code
# So many digits with no more between two of them than any number's groups have.
_NUMBER_LIKE = rf"(?:[0-9{_WIDE}][\-. ()]{{0,2}}){{{_SHORTEST_NUMBER - 1}}}[0-9{_WIDE}]"
REDACTED = {"id_number": "[证件号]", "phone": "[电话]", "own": "[姓名或地址]"}


class Keys:
    """Column keys by version; the newest seals, every version opens."""

    def __init__(self, versions: dict[int, bytes], token_key: bytes) -> None:
        self._versions = versions
        self._newest = max(versions)
        size = hashlib.sha256().block_size
        block = (token_key if len(token_key) <= size else hashlib.sha256(token_key).digest()).ljust(size, b"\0")
        self._token_pads = [hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C)]
        self._siv = {number: AESSIV(_derive(key, b"column", 64)) for number, key in versions.items()}
        self._gcm = {number: AESGCM(_derive(key, b"stream", 32)) for number, key in versions.items()}

    @classmethod
    def load(cls, path: Path) -> Keys:
        """Keys from a JSON file; made with mode 0600 on first use. A KMS takes this function's place."""
        if not path.exists():
            made = {"token_key": os.urandom(32).hex(), "versions": {"1": os.urandom(32).hex()}}
            previous = os.umask(0o077)
            try:
                write_file(path, json.dumps(made, indent=1).encode())
            finally:
                os.umask(previous)
        document = json.loads(path.read_text(encoding="utf-8"))
        versions = {int(number): bytes.fromhex(key) for number, key in document["versions"].items()}
        return cls(versions, bytes.fromhex(document["token_key"]))

    def seal(self, values: pa.Array, context: str) -> pa.Array:
        """Ciphertexts `k<version>.<base64url>` of a string array; null stays null. `context` binds them to their column."""
        siv, associated, prefix = self._siv[self._newest], [context.encode()], f"k{self._newest}."

        def sealed(value: str) -> str:
            return prefix + binascii.b2a_base64(siv.encrypt(value.encode() or b"\0", associated), newline=False).translate(_URLSAFE).decode()

        return _map_distinct(values, sealed)

    def open(self, values: pa.Array, context: str) -> pa.Array:
        """The plain values of sealed ones; raises cryptography's InvalidTag for another context or key."""
        associated = [context.encode()]

        def plain(sealed: str) -> str:
            number, _, body = sealed.partition(".")
            opened = self._siv[int(number[1:])].decrypt(base64.urlsafe_b64decode(body), associated)
            return "" if opened == b"\0" else opened.decode()

        return _map_distinct(values, plain)

    def token(self, values: pa.Array) -> pa.Array:
        """Join tokens: equal for equal values whatever feed or key version they come from."""
        return _map_distinct(values, self._token_of)

    def _token_of(self, value: str) -> str:
        # HMAC-SHA256 with the key's two blocks hashed beforehand: half the time of hmac.digest, which sets OpenSSL up anew for each value.
        inner, outer = self._token_pads[0].copy(), self._token_pads[1].copy()
        inner.update(value.encode())
        outer.update(inner.digest())
        return outer.hexdigest()[:TOKEN_DIGITS]

    def seal_bytes(self, content: bytes) -> str:
        """One refused row's bytes, sealed; deterministic like `seal`."""
        sealed = self._siv[self._newest].encrypt(content or b"\0", [b"payload"])
        return f"k{self._newest}." + base64.urlsafe_b64encode(sealed).decode()

    def open_bytes(self, sealed: str) -> bytes:
        """The bytes that `seal_bytes` sealed."""
        number, _, body = sealed.partition(".")
        opened = self._siv[int(number[1:])].decrypt(base64.urlsafe_b64decode(body), [b"payload"])
        return b"" if opened == b"\0" else opened

    def seal_stream(self, source: IO[bytes], target: IO[bytes]) -> int:
        """Seal bytes of any length in 4 MiB chunks, memory bounded; gives the number of plain bytes.

        Format: `GLS1`, key version (4 bytes), then chunks of length (4), nonce (12), AES-GCM text bound to the chunk's number and
        to whether it is the last.
        """
        gcm, total = self._gcm[self._newest], 0
        target.write(b"GLS1" + self._newest.to_bytes(4, "big"))
        for number, (chunk, is_last) in enumerate(_chunks(source)):
            nonce = os.urandom(12)
            text = gcm.encrypt(nonce, chunk, _place(number, is_last))
            target.write(len(text).to_bytes(4, "big") + nonce + text)
            total += len(chunk)
        return total

    def open_stream(self, source: IO[bytes], target: IO[bytes]) -> int:
        """Undo `seal_stream`; raises InvalidTag when a chunk was changed, moved or cut off."""
        if source.read(4) != b"GLS1":
            raise ValueError("not a sealed stream: expected it to begin with GLS1")
        gcm, total, number = self._gcm[int.from_bytes(source.read(4), "big")], 0, 0
        length = source.read(4)
        while length:
            nonce, text = source.read(12), source.read(int.from_bytes(length, "big"))
            length = source.read(4)
            chunk = gcm.decrypt(nonce, text, _place(number, is_last=not length))
            target.write(chunk)
            total, number = total + len(chunk), number + 1
        if number == 0:
            raise ValueError("a sealed stream without any chunk: it was cut off; take the file from the sender again")
        return total


def redact(text: pa.Array, own_values: Sequence[pa.Array] = ()) -> pa.Array:
    """Free text without ID numbers, phone numbers and the row's own L4 values (names, addresses of two letters and more)."""
    redacted = _without_numbers(text)
    texts, was_blanked = pc.fill_null(redacted, "").to_pylist(), False
    for own in own_values:
        # NUL stands for what is no value to look for: no text of ours holds it.
        values = pc.fill_null(pc.if_else(pc.greater_equal(pc.utf8_length(own), 2), own, "\0"), "\0").to_pylist()
        for row in [row for row, found in enumerate(map(operator.contains, texts, values)) if found]:
            texts[row], was_blanked = texts[row].replace(values[row], REDACTED["own"]), True
    return pc.if_else(pc.is_valid(text), pa.array(texts, pa.string()), pa.scalar(None, pa.string())) if was_blanked else redacted


def _without_numbers(text: pa.Array) -> pa.Array:
    """ID and phone numbers blanked; most texts hold nothing like a number, and one look tells."""
    holding = pc.fill_null(pc.match_substring_regex(text, _NUMBER_LIKE), False)
    if not pc.any(holding).as_py():
        return text
    found = _with_plain_digits(text.filter(holding))
    for pattern, kind in ((ID_NUMBER, "id_number"), (MOBILE, "phone"), (LANDLINE, "phone"), (GROUPED, "phone")):
        found = pc.replace_substring_regex(found, pattern, REDACTED[kind])
    return pc.replace_with_mask(text, holding, found)


def _with_plain_digits(text: pa.Array) -> pa.Array:
    # Full-width digits in rows that hold enough of them for a phone number; other rows stay as they are.
    wide = pc.fill_null(pc.greater_equal(pc.count_substring_regex(text, f"[{_WIDE}]"), _SHORTEST_NUMBER), False)
    if not pc.any(wide).as_py():
        return text
    plain = [t.translate(_PLAIN) if w else t for t, w in zip(text.to_pylist(), wide.to_pylist(), strict=True)]
    return pa.array(plain, pa.string())


def mask(kind: str, value: str | None) -> str | None:
    """How an L4 value is shown to someone entitled to see that it is there: 张*, 138****5678, 3301**********1234."""
    if not value:
        return value
    if kind == "person_name":
        return value[0] + "*" * (len(value) - 1)
    if kind == "phone":
        return value[:3] + "*" * max(len(value) - 7, 1) + value[-4:] if len(value) >= 8 else "*" * len(value)
    if kind == "id_number":
        return value[:4] + "*" * max(len(value) - 8, 1) + value[-4:] if len(value) >= 10 else "*" * len(value)
    return "*" * len(value)


def publishable_counts(counts: pa.Table, regions: pa.Table) -> pa.Table:
    """Counts of persons as they may be published: one row per region of any level and kind of person, without what would tell of a few.

    `counts`: region_system, region_code (where each person is counted once), any columns that say the kind, person_count.
    `regions`: region_system, region_code, parent_code. Gives the columns of `counts` and is_suppressed; a region that is not told of has one row
    without kind and number, and nothing below it is told of.

    Raises ValueError where a count stands in a region that is not among the regions.
    """
    keys = ["region_system", "region_code"]
    kinds = [name for name in counts.column_names if name not in {*keys, PERSONS}]
    tree = regions.select([*keys, "parent_code"]).to_pandas().drop_duplicates(keys).reset_index(drop=True)
    place = pd.MultiIndex.from_frame(tree[keys])
    frame = counts.to_pandas()
    at = place.get_indexer(pd.MultiIndex.from_frame(frame[keys]))
    if (at < 0).any():
        raise ValueError(
            f"{(at < 0).sum()} counts of persons stand in no known region, e.g. {frame.loc[at < 0, 'region_code'].iloc[0]}; build mart.region first"
        )
    kind = frame.groupby(kinds, dropna=False).ngroup() if kinds else pd.Series(0, index=frame.index)
    own = np.zeros((len(tree), int(kind.max()) + 1 if len(frame) else 1), dtype=np.int64)
    np.add.at(own, (at, kind.to_numpy()), frame[PERSONS].to_numpy(np.int64))
    parent = place.get_indexer(pd.MultiIndex.from_arrays([tree.region_system, tree.parent_code]))
    total, is_told, is_listed = _told(own, parent)

    shown, column = np.nonzero(np.where(is_told[:, None], total, 0))
    labels = frame[kinds].assign(_kind=kind).drop_duplicates("_kind").set_index("_kind")
    told = tree.loc[shown, keys].reset_index(drop=True).join(labels.loc[column].reset_index(drop=True) if len(shown) else labels)
    told = told.assign(**{PERSONS: total[shown, column], SUPPRESSED: False})
    withheld = tree.loc[is_listed & ~is_told, keys].assign(**{SUPPRESSED: True})
    # A count that is withheld is null, whatever the engine says of the mart's column.
    schema = pa.schema([field.with_nullable(True) for field in counts.schema]).append(pa.field(SUPPRESSED, pa.bool_()))
    parts = [pa.Table.from_pandas(part.reindex(columns=schema.names), schema, preserve_index=False) for part in (told, withheld)]
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in (*keys, *kinds)])


def _told(own: NDArray[np.int64], parent: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Totals by region and kind (n, k), the regions that are told of, and those whose parent is.

    A region with a small cell is left out with all below it. What is left out of a region can be computed from its total, so it must not be small in
    any cell either: its smallest other parts are left out too until it is not. What is published are then sums of such groups, and no difference of
    sums parts a group.
    """
    total = own.copy()
    level = np.zeros(len(parent), dtype=np.int64)
    above = parent.copy()
    while (above >= 0).any():
        level += above >= 0
        above = np.where(above >= 0, parent[above], -1)
    for depth in range(int(level.max(initial=0)), 0, -1):
        rows = np.flatnonzero(level == depth)
        np.add.at(total, parent[rows], total[rows])
    is_small = _has_small_cell(total)
    is_told, is_listed = np.zeros(len(parent), dtype=np.bool_), parent < 0
    is_told[is_listed] = ~is_small[is_listed]
    is_counted = total.any(axis=1)
    for depth in range(1, int(level.max(initial=0)) + 1):
        rows = np.flatnonzero((level == depth) & is_counted)
        rows = rows[is_told[parent[rows]]]
        is_listed[rows], is_told[rows] = True, ~is_small[rows]
        families, family = np.unique(parent[rows], return_inverse=True)
        # Persons whom the source places in the region and in no part of it are in nothing that is told of below.
        left_out = own[families]
        np.add.at(left_out, family[is_small[rows]], total[rows[is_small[rows]]])
        for number in np.flatnonzero(_has_small_cell(left_out)):
            parts = rows[(family == number) & ~is_small[rows]]
            parts = parts[np.argsort(total[parts].sum(axis=1), kind="stable")]
            enough = ~_has_small_cell(left_out[number] + np.cumsum(total[parts], axis=0))
            is_told[parts[: int(np.argmax(enough)) + 1]] = False
    return total, is_told, is_listed


def _has_small_cell(cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    small: NDArray[np.bool_] = np.any((cells > 0) & (cells < SMALLEST_PUBLISHED_COUNT), axis=1)
    return small


def looks_sensitive(text: str) -> bool:
    """Whether an ID number or a phone number stands in the text."""
    return bool(re.search(f"(?:{ID_NUMBER})|(?:{MOBILE})", text))


def _derive(key: bytes, purpose: bytes, length: int) -> bytes:
    # HKDF-Expand of RFC 5869; the stored keys are uniformly random, so no extract step is needed.
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.digest(key, block + purpose + bytes([counter]), hashlib.sha256)
        output, counter = output + block, counter + 1
    return output[:length]


def _map_distinct(values: pa.Array, function: Callable[[str], str]) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    encoded = pc.dictionary_encode(values)
    distinct = pa.array([function(v) for v in encoded.dictionary.to_pylist()], pa.string())
    return distinct.take(encoded.indices)


def _chunks(source: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    chunk = source.read(_CHUNK)
    while following := source.read(_CHUNK):
        yield chunk, False
        chunk = following
    yield chunk, True


def _place(number: int, is_last: bool) -> bytes:
    return number.to_bytes(8, "big") + bytes([is_last])
