"""Payloads that nobody agreed on: a contract's own examples, changed in their values and in their bytes. The same seed gives the same payloads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

from gridlake.contracts import Contract

TEXTS = [
    "",
    " ",
    "0",
    "-0",
    "007",
    "1.0",
    "1e3",
    "NaN",
    "null",
    "true",
    "是",
    "２０２６",
    "a" * 3000,
    "字" * 2001,
    "\u0000",
    "a\u0000b",
    "\ufeff",
    "\u200b",
    "\u202e",
    "\ud83d",
    "\udc00x",
    "😀",
    "e\u0301",
    "'; drop table x --",
    "2026-02-30",
    "2026-02-29",
    "2024-02-29",
    "0000-01-01",
    "9999-12-31",
    "10000-01-01",
    "2026-03-01 24:00:00",
    "2026-03-01 23:59:60",
    "9999-12-31 23:59:59",
    "0001-01-01 00:00:00",
    "2026-03-01T09:00:00",
    "2026-03-01 09:00:00Z",
    "2026-03-01 09:00:00+08:00",
    "1940-06-03 00:30:00",
    "1986-05-04 02:30:00",
    "2026-3-1 9:0:0",
    " 2026-03-01 09:00:00",
    "2026-03-01 09:00:00\n",
    "2026-03-01 09:00:00.000",
    "٢٠٢٦-03-01",
    "330106002051",
    "330106002051 ",
    "３３０１０６００２０５１",
    "330106",
    "13800000001",
    "E1\r",
    "\t",
    "\\",
    '"',
    "{}",
    "[]",
]
NUMBERS = [
    "0",
    "-0",
    "-0.0",
    "1",
    "1.0",
    "1e0",
    "01",
    "+1",
    "1.",
    ".5",
    "1e400",
    "-1e400",
    "1e-400",
    "5e-324",
    "1.7976931348623157e308",
    "NaN",
    "Infinity",
    "-Infinity",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "9007199254740993",
    "0.1",
    "120.1534567890123456789",
    "1" * 400,
    "1" * 5000,
    "0x10",
    "1_000",
    "0.30000000000000004",
    "1e22",
    "123456789012345678901234567890",
]
OTHERS = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[1]",
    '{"a":1}',
    '{"a":{"a":{"a":[]}}}',
    "[" * 600 + "]" * 600,
    "[" * 60000,
    "nul",
    "TRUE",
    "'x'",
    "x",
]


def payloads(contract: Contract, count: int, seed: int) -> list[bytes]:
    """So many lines, a tenth of them the examples as they are; none holds a line feed."""
    random = Random(f"{contract.id}/{seed}")
    good, bad = [dict(row) for row in contract.accept], [dict(rejected.row) for rejected in contract.reject]
    fitting = (line for line in _lines(contract, good, bad, random) if line.strip() and b"\n" not in line)
    return list(islice(fitting, count))


def _lines(contract: Contract, good: list[dict[str, Any]], bad: list[dict[str, Any]], random: Random) -> Iterator[bytes]:
    names = [c.name for c in contract.columns]
    while True:
        row = dict(random.choice(good if not bad or random.random() < 0.8 else bad))
        choice = random.random()
        if choice < 0.1:
            yield encode(row, random)
        elif choice < 0.55:
            yield _with_values(row, names, random)
        else:
            line = encode(row, random) if random.random() < 0.7 else _with_values(row, names, random)
            for _ in range(random.choice((1, 1, 1, 2, 3))):
                line = random.choice(_BYTES)(line, random)
            yield line


def encode(row: dict[str, Any], random: Random) -> bytes:
    """A row as JSON, in one of the ways in which it may be written."""
    items = list(row.items())
    if random.random() < 0.3:
        random.shuffle(items)
    separators = random.choice([(",", ":"), (", ", ": "), (" , ", " : "), (",\t", ":\t")])
    return json.dumps(dict(items), ensure_ascii=random.random() < 0.5, separators=separators, default=str).encode("utf-8", "surrogatepass")


def _with_values(row: dict[str, Any], names: list[str], random: Random) -> bytes:
    raw: dict[str, str] = {}
    for _ in range(random.choice((1, 1, 2, 4))):
        name = random.choice([*names, *names, *row, "_op", "platform_url", "x", "", names[0].upper(), f" {names[0]}", "姓名", "a\u0000"])
        kind = random.random()
        if kind < 0.15:
            row.pop(name, None)
        elif kind < 0.25 and row:
            row[name] = random.choice(list(row.values()))
        elif kind < 0.6:
            row[name] = random.choice(TEXTS)
        else:
            raw[name] = random.choice(NUMBERS if kind < 0.85 else OTHERS)
            row[name] = f"@@{len(raw)}@@"
    line = encode(row, random)
    for number, text in enumerate(raw.values(), 1):
        line = line.replace(f'"@@{number}@@"'.encode(), text.encode())
    return line


def _at(line: bytes, random: Random) -> int:
    return random.randrange(len(line) + 1)


def _flip(line: bytes, random: Random) -> bytes:
    if not line:
        return line
    place = random.randrange(len(line))
    return line[:place] + bytes([line[place] ^ (1 << random.randrange(8))]) + line[place + 1 :]


def _insert(line: bytes, random: Random) -> bytes:
    place = _at(line, random)
    piece = random.choice(
        [
            b"\x00",
            b"\xff",
            b"\xef\xbb\xbf",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\r",
            b"\t",
            b" ",
            b'"',
            b"\\",
            b"\\u0000",
            b"\\ud800",
            b"{",
            b"}",
            b",",
            b":",
            bytes([random.randrange(256)]),
        ]
    )
    return line[:place] + piece + line[place:]


def _cut(line: bytes, random: Random) -> bytes:
    return line[: _at(line, random)]


def _remove(line: bytes, random: Random) -> bytes:
    start = _at(line, random)
    return line[:start] + line[start + random.randrange(1, 12) :]


def _repeat(line: bytes, random: Random) -> bytes:
    start = _at(line, random)
    end = min(len(line), start + random.randrange(1, 40))
    return line[:end] + line[start:end] + line[end:]


def _twice(line: bytes, random: Random) -> bytes:
    """One of its members once more, with its own or another value."""
    inner = line.strip()
    if not (inner.startswith(b"{") and inner.endswith(b"}")):
        return line
    members = inner[1:-1].split(b",")
    member = random.choice(members)
    if random.random() < 0.5:
        member = member.partition(b":")[0] + b":" + random.choice([b"null", b'"x"', b"1"])
    return b"{" + inner[1:-1] + random.choice([b",", b" , "]) + member + b"}"


def _other_encoding(line: bytes, random: Random) -> bytes:
    text = line.decode("utf-8", "replace")
    return text.encode(random.choice(["gb18030", "utf-16-le", "utf-16", "utf-8-sig", "latin-1", "utf-7"]), "replace").replace(b"\n", b"")


def _around(line: bytes, random: Random) -> bytes:
    before, after = random.choice(
        [(b"", b"x"), (b"[", b"]"), (b"\xef\xbb\xbf", b""), (b" ", b" "), (b"", line), (b"", b"\r"), (b"//", b""), (b"\x1e", b""), (b"", b"\x00")]
    )
    return before + line + after


_BYTES: list[Callable[[bytes, Random], bytes]] = [_flip, _insert, _cut, _remove, _repeat, _twice, _other_encoding, _around]
