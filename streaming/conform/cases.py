"""The cases of one contract and sender: deliveries made from the contract, each row with the outcome that the contract promises.

Every row is judged here first by the contract's own decoder and checks. What cannot be made for this contract or sender (a foreign region for a
sender of all regions) is left out, so a case that is there can be passed.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, partial
from typing import Any

import numpy as np

from gridlake.contracts import Column, Contract, ContractError
from gridlake.regions import RegionTree
from gridlake.senders import Sender
from gridlake.vocabularies import Vocabularies
from streaming.checks import Checks
from streaming.decoder import DELETE, OP, Decoder
from streaming.rows import LARGEST_ROW_BYTES

ACCEPTED, REFUSED, DUPLICATE, WAITING = "accepted", "refused", "duplicate", "waiting"
EMPTY, WHOLE = "empty", "refused_whole"
Row = dict[str, Any]
# A code that no list has; letters and digits, so that it breaks no pattern by its signs.
_NO_CODE = "NoSuchCode"
# Where keys cannot be told apart rows are versions of one, so far apart that a case may count one on.
_VERSIONS_APART = 10
_WRONG: Mapping[str, Any] = {
    "string": 12345,
    "integer": "十二",
    "number": "三点五",
    "boolean": "是",
    "date": "2026年3月1日",
    "timestamp": "2026年3月1日 九时",
}


@dataclass(frozen=True)
class Outcome:
    """What becomes of a row, or of a whole delivery (`refused_whole`, `empty`)."""

    state: str
    rule: str | None = None
    field: str | None = None

    def __str__(self) -> str:
        place = f" {self.rule}" + (f"/{self.field}" if self.field else "") if self.rule else ""
        return self.state + place


@dataclass(frozen=True)
class Case:
    """One delivery and what must become of it: an outcome a row, or one for the whole delivery."""

    id: str
    title: str
    title_en: str
    suffix: str
    content: bytes
    expected: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_lines(self) -> bool:
        """Whether it is plain JSON lines, which every channel takes."""
        return self.suffix == ".jsonl" and self.expected[0].state != EMPTY

    @property
    def rows(self) -> list[bytes]:
        """The rows of JSON lines."""
        return self.content.removesuffix(b"\n").split(b"\n")


class CaseMaker:
    """Makes cases; `mark` goes into keys, so that two runs on one sandbox are not each other's repeats."""

    def __init__(self, contract: Contract, sender: Sender, vocabularies: Vocabularies, regions: RegionTree, mark: str, now: datetime) -> None:
        self._contract, self._sender, self._regions, self._mark, self._now = contract, sender, regions, mark, now
        self._decoder, self._checks = Decoder(contract), Checks(contract, vocabularies, regions)
        self._numbers = itertools.count(1)
        self._instead: dict[str, str] = {}
        self._examples = [dict(row) for row in contract.accept if row.get(OP) != DELETE]
        if not self._examples:
            raise ContractError(f"{contract.path}: gridlake.accept has no full row; cases are made from one, add it")
        self._set_key = self._key_setter()
        self._full = max(self._examples, key=len)

    def cases(self, volume: int) -> list[Case]:
        """Every case of the contract that this sender can be shown; `volume` rows in the last."""
        made = [
            self._accept(), self._reject(),
            self._rows("wrong_type", "类型不符", "wrong type", self._wrong_types()),
            self._rows("missing_required", "必填字段缺失", "a required value is missing", self._missing()),
            self._rows("unknown_column", "合约没有的字段", "a column that the contract does not have", self._unknown_columns()),
            self._rows("unknown_code", "代码表没有的代码", "a code that the list does not have", self._unknown_codes()),
            self._rows("out_of_limits", "超出长度、范围或格式", "beyond length, range or pattern", self._beyond_limits()),
            self._rows("unknown_region", "不存在的区划", "a region that does not exist", self._unknown_regions()),
            self._rows("foreign_region", "辖区之外的区划", "a region of another sender", self._foreign_regions()),
            self._rows("broken_encoding", "编码损坏", "broken encoding", self._broken_encodings()),
            self._rows("broken_json", "不成对象的行", "lines that are no object", self._broken_objects()),
            self._rows("huge_value", "过大的数值与过长的行", "huge numbers and lines", self._huge()),
            self._rows("repeat", "重复报送", "the same row again", self._repeats()),
            self._rows("out_of_order", "新旧版本次序颠倒", "a newer version before an older", self._out_of_order()),
            self._rows("delete", "删除", "deletes", self._deletes()),
            *self._files(), self._volume(volume),
        ]  # fmt: skip
        return [case for case in made if case is not None]

    def plain(self, rows: int) -> list[Row]:
        """So many different rows that the contract accepts from this sender; fewer where their keys cannot be told apart."""
        example = min(self._examples, key=len)
        made = [self._fresh(example) for _ in range(rows)]
        found = self._judge([_line(row) for row in made])
        return [row for row, reasons in zip(made, found, strict=True) if not reasons]

    # -- rows ---------------------------------------------------------------------------------------------------------------------------

    def _accept(self) -> Case:
        keys: dict[str, Row] = {}
        rows = []
        for example in self._contract.accept:
            old = json.dumps([example.get(c.name) for c in self._contract.key], default=str)
            if old not in keys:
                keys[old] = self._fresh({**self._examples[0], **example})
            adapted = self._in_scope(dict(example))
            rows.append({**adapted, **{c.name: keys[old][c.name] for c in self._contract.key}})
        lines = [_line(row) for row in rows]
        notes = [f"合约第 {n} 个接收示例 / accept example {n}" for n in range(1, len(rows) + 1)]
        self._require(lines, "gridlake.accept")
        return Case(
            "accept", "合约的接收示例", "the contract's rows to accept", ".jsonl", _content(lines), (Outcome(ACCEPTED),) * len(lines), tuple(notes)
        )

    def _reject(self) -> Case | None:
        def rows() -> Iterator[tuple[bytes, Outcome, str]]:
            for number, rejected in enumerate(self._contract.reject, 1):
                expected = Outcome(REFUSED, rejected.rule, rejected.field)
                whole = {**self._examples[0], **rejected.row}
                keys = {c.name: self._fresh(whole)[c.name] for c in self._contract.key if c.name in rejected.row}
                for row in ({**self._in_scope(dict(rejected.row)), **keys}, self._in_scope(dict(rejected.row)), dict(rejected.row)):
                    if (rejected.rule, rejected.field) in self._judge([_line(row)])[0]:
                        yield _line(row), expected, f"合约第 {number} 个拒收示例 / reject example {number}"
                        break

        return self._rows("reject", "合约的拒收示例", "the contract's rows to refuse", rows())

    def _wrong_types(self) -> Iterator[tuple[bytes, Outcome, str]]:
        for column in self._contract.columns:
            yield from self._refused({column.name: _WRONG[column.logical_type]}, "type", column)

    def _missing(self) -> Iterator[tuple[bytes, Outcome, str]]:
        for column in self._contract.columns:
            if column.required or column.key_position:
                yield from self._refused({column.name: None}, "required", column)

    def _unknown_columns(self) -> Iterator[tuple[bytes, Outcome, str]]:
        yield from self._refused({"not_in_contract": "x"}, "unknown_column", "not_in_contract")

    def _unknown_codes(self) -> Iterator[tuple[bytes, Outcome, str]]:
        for column in self._contract.columns:
            if column.code_list:
                yield from self._refused({column.name: _NO_CODE}, "code_list", column)
            if column.values:
                wrong = _NO_CODE if column.logical_type == "string" else max(column.values) + 1 if column.logical_type == "integer" else None
                if wrong is not None:
                    yield from self._refused({column.name: wrong}, "values", column)

    def _beyond_limits(self) -> Iterator[tuple[bytes, Outcome, str]]:
        for column in self._contract.columns:
            if column.max_length is not None:
                yield from self._refused({column.name: "A" * (column.max_length + 1)}, "length", column)
            if column.minimum is not None:
                yield from self._refused({column.name: _number(column, column.minimum - 1)}, "minimum", column)
            if column.maximum is not None:
                yield from self._refused({column.name: _number(column, column.maximum + 1)}, "maximum", column)
            if column.pattern:
                yield from self._refused({column.name: "不符 格式！"}, "pattern", column)

    def _unknown_regions(self) -> Iterator[tuple[bytes, Outcome, str]]:
        for column in self._contract.columns:
            if column.is_region:
                yield from self._refused({column.name: "999999999999"}, "region_unknown", column)

    def _foreign_regions(self) -> Iterator[tuple[bytes, Outcome, str]]:
        if self._sender.accepts_all_regions:
            return
        codes = self._regions.codes(self._contract.region_system).to_pylist()
        foreign = next((code for code in reversed(codes) if code not in self._own), None)
        for column in self._contract.columns:
            if column.is_region and foreign is not None:
                yield from self._refused({column.name: foreign}, "region_scope", column)

    def _broken_encodings(self) -> Iterator[tuple[bytes, Outcome, str]]:
        text = next((c for c in self._contract.columns if c.logical_type == "string" and not c.key_position and self._full.get(c.name)), None)
        text = text or next(c for c in self._contract.columns if c.logical_type == "string")
        row = _line({**self._fresh(self._full), text.name: "@@"})
        yield row.replace(b"@@", "乱码".encode("gb18030")), Outcome(REFUSED, "encoding"), "GB18030 字节写入 JSON / GB18030 bytes in JSON"
        yield row.replace(b"@@", b"\xff\xfe"), Outcome(REFUSED, "encoding"), "非 UTF-8 字节 / not UTF-8"
        yield row.replace(b"@@", b"a\\u0000b"), Outcome(REFUSED, "encoding", text.name), "含 NUL 字符 / a NUL character"
        yield row.replace(b"@@", b"\\ud83d"), Outcome(REFUSED, "encoding", text.name), "半个代理对 / half of a surrogate pair"

    def _broken_objects(self) -> Iterator[tuple[bytes, Outcome, str]]:
        row = _line(self._fresh(self._full))
        yield row[: len(row) // 2], Outcome(REFUSED, "json"), "写到一半的行 / a line cut off"
        yield b"[" + row + b"]", Outcome(REFUSED, "json"), "数组而非对象 / an array"
        yield row + row, Outcome(REFUSED, "json"), "一行两个对象 / two objects in one line"
        yield b"[" * 5000, Outcome(REFUSED, "json"), "过深的嵌套 / nested too deeply"
        key = self._contract.key[0].name
        yield row[:-1] + b"," + _line({key: "twice"})[1:], Outcome(REFUSED, "duplicate_key", key), "同一字段写两次 / a column named twice"

    def _huge(self) -> Iterator[tuple[bytes, Outcome, str]]:
        for column in self._contract.columns:
            if column.logical_type == "integer":
                yield from self._refused({column.name: 1 << 70}, "type", column)
            elif column.logical_type == "number":
                yield _line({**self._fresh(self._full), column.name: "@@"}).replace(b'"@@"', b"1e999"), Outcome(REFUSED, "type", column.name), "1e999"
        text = next(c for c in self._contract.columns if c.logical_type == "string")
        line = _line({**self._fresh(self._full), text.name: "A" * (LARGEST_ROW_BYTES + 1)})
        yield line, Outcome(REFUSED, "row_too_large"), "超过 1 MiB 的行 / a line of more than 1 MiB"

    def _repeats(self) -> Iterator[tuple[bytes, Outcome, str]]:
        row = self._fresh(self._full)
        yield _line(row), Outcome(ACCEPTED), "首次 / first time"
        yield _line(row), Outcome(DUPLICATE), "原样再报 / again as it was"
        yield _line(dict(reversed(row.items()))), Outcome(DUPLICATE), "字段次序不同的同一行 / the same in another order of columns"

    def _out_of_order(self) -> Iterator[tuple[bytes, Outcome, str]]:
        version = next((c for c in self._contract.version_order if c.logical_type == "integer"), None)
        if version is None:
            return
        older = self._fresh(self._full)
        newer = {**older, version.name: int(older.get(version.name) or 0) + 1}
        if not any(self._judge([_line(newer), _line(older)])):
            yield _line(newer), Outcome(ACCEPTED), "较新版本先到 / the newer version first"
            yield _line(older), Outcome(ACCEPTED), "较旧版本后到，收下但不作当前版本 / the older after it: kept, not current"

    def _deletes(self) -> Iterator[tuple[bytes, Outcome, str]]:
        example = next((row for row in self._contract.accept if row.get(OP) == DELETE), None)
        if example is None:
            return
        row = self._fresh(self._examples[0])
        gone = {**example, **{c.name: row[c.name] for c in self._contract.key}}
        gone |= {c.name: int(row[c.name]) + 1 for c in self._contract.version_order if c.logical_type == "integer" and row.get(c.name) is not None}
        yield _line(row), Outcome(ACCEPTED), "新增 / upsert"
        yield _line(gone), Outcome(ACCEPTED), "删除 / delete"
        key = self._contract.key[0].name
        without = {name: value for name, value in gone.items() if name != key}
        yield _line(without), Outcome(REFUSED, "required", key), "没有主键的删除 / a delete without its key"

    def _refused(self, change: Row, rule: str, place: Column | str) -> Iterator[tuple[bytes, Outcome, str]]:
        name = place if isinstance(place, str) else place.name
        title = place if isinstance(place, str) else f"{place.title} {place.name}"
        row = self._fresh(self._full)
        line = _line({key: value for key, value in {**row, **change}.items() if value is not None})
        # A wrong value may break another limit first (a text for a number has no length); the contract says which reason it gives.
        if (rule, name) in self._judge([line])[0]:
            yield line, Outcome(REFUSED, rule, name), title

    # -- whole deliveries ---------------------------------------------------------------------------------------------------------------

    def _files(self) -> Iterator[Case | None]:
        rows = self.plain(6)
        lines = [_line(row) for row in rows]
        half = len(lines) // 3 or 1
        parts = [rows[start : start + half] for start in range(0, len(rows), half)]
        fine = (Outcome(ACCEPTED),)
        yield Case("csv", "CSV（UTF-8）", "CSV in UTF-8", ".csv", _csv(parts[0], "utf-8"), fine * len(parts[0]))
        if len(parts) > 1:
            yield Case("csv_gb18030", "CSV（GB18030）", "CSV in GB18030", ".csv", _csv(parts[1], "gb18030"), fine * len(parts[1]))
        if len(parts) > 2:
            packed = gzip.compress(_content([_line(row) for row in parts[2]]), mtime=0)
            yield Case("gzip", "压缩的 JSON 行", "gzipped JSON lines", ".jsonl.gz", packed, fine * len(parts[2]))
        yield Case("damaged_file", "损坏的压缩文件", "a damaged archive", ".jsonl.gz", b"\x1f\x8b\x08" + b"\0" * 40, (Outcome(WHOLE, "format"),))
        yield Case("wrong_format", "未约定的文件格式", "another file format", ".pdf", b"%PDF-1.7\n", (Outcome(WHOLE, "format"),))
        body = _csv(parts[0], "utf-8").split(b"\n", 1)[1]
        yield Case("no_header", "没有列名行的 CSV", "CSV without a header", ".csv", body, (Outcome(WHOLE, "header"),))
        yield Case("empty", "空文件", "an empty delivery", ".jsonl", b"", (Outcome(EMPTY),))
        minimum = self._contract.volume.min
        if minimum is not None and minimum > 1:
            few = _content(lines[:1])
            yield Case("below_minimum", "不足约定行数", "fewer rows than agreed", ".jsonl", few, (Outcome(REFUSED, "volume_min"),))

    def _volume(self, rows: int) -> Case:
        lines = [_line(row) for row in self.plain(rows)]
        return Case(
            "volume", f"批量 {len(lines):,} 行", f"a volume of {len(lines):,} rows", ".jsonl", _content(lines), (Outcome(ACCEPTED),) * len(lines)
        )

    def _rows(self, name: str, title: str, title_en: str, rows: Iterable[tuple[bytes, Outcome, str]]) -> Case | None:
        made = list(rows)
        if not made:
            return None
        lines, expected, notes = zip(*made, strict=True)
        return Case(name, title, title_en, ".jsonl", _content(lines), tuple(expected), tuple(notes))

    # -- what a row needs to be this sender's and new -----------------------------------------------------------------------------------

    def _judge(self, lines: Sequence[bytes]) -> list[set[tuple[str, str | None]]]:
        decoded = self._decoder.lines(lines)
        reasons, _ = self._checks.check(decoded, [self._sender], np.zeros(len(lines), np.int64), self._now)
        found: list[set[tuple[str, str | None]]] = [set() for _ in lines]
        for reason in reasons:
            for row in reason.rows.tolist():
                found[row].add((reason.rule, reason.field))
        return found

    def _require(self, lines: Sequence[bytes], place: str) -> None:
        for number, reasons in enumerate(self._judge(lines), 1):
            if reasons:
                said = ", ".join(f"{rule}/{field}" if field else rule for rule, field in sorted(reasons, key=str))
                raise ContractError(
                    f"{self._contract.path}: {place}[{number}] with a region of {self._sender.code} is refused: {said}; "
                    "mend the example, or the sender's regions"
                )

    def _fresh(self, example: Row) -> Row:
        row = self._in_scope(example)
        return self._set_key(row, next(self._numbers))

    def _in_scope(self, row: Row) -> Row:
        """The row with a region of the sender in the place of each that it does not answer for, also inside codes that begin with it."""
        if self._sender.accepts_all_regions:
            return dict(row)
        for column in self._contract.columns:
            old = row.get(column.name)
            if column.is_region and isinstance(old, str) and self._regions.knows(self._contract.region_system, old) and old not in self._own:
                new = self._instead_of(old)
                row = {name: value.replace(old, new) if isinstance(value, str) else value for name, value in row.items()}
        return dict(row)

    @cached_property
    def _own(self) -> dict[str, None]:
        return dict.fromkeys(self._regions.subtree(self._contract.region_system, self._sender.regions).to_pylist())

    def _instead_of(self, region: str) -> str:
        """A region of the sender at the level of another's."""
        if region not in self._instead:
            system = self._contract.region_system
            depth = self._regions.depth(system, region)
            self._instead[region] = next((code for code in self._own if self._regions.depth(system, code) == depth), next(iter(self._own), region))
        return self._instead[region]

    def _key_setter(self) -> Callable[[Row, int], Row]:
        """A way to give a row a key of its own that the contract accepts; where there is none, it becomes another version of its key."""
        bases = [self._in_scope(row) for row in self._examples]
        for column in self._contract.key:
            for way in _WAYS.get(column.logical_type, ()):
                probes = [{**base, column.name: way(base.get(column.name), self._mark, n)} for base in bases for n in (1, 2, 4097)]
                if not any(row[column.name] is None for row in probes) and not any(self._judge([_line(row) for row in probes])):
                    return partial(_with_key, column.name, way, self._mark)
        version = next((c.name for c in self._contract.version_order if c.logical_type == "integer"), None)
        if version is None:
            raise ContractError(
                f"{self._contract.path}: no way found to give an accepted row another key, and no version number to count on; "
                "add a row to gridlake.accept whose key ends in digits that may vary"
            )
        return lambda row, n: {**row, version: n * _VERSIONS_APART}


def _with_key(name: str, way: Callable[[Any, str, int], Any], mark: str, row: Row, n: int) -> Row:
    return {**row, name: way(row.get(name), mark, n)}


def _marked(value: Any, mark: str, n: int) -> Any:
    return f"T{mark}{n:06d}"


def _digits_at(start: int | None, width: int) -> Callable[[Any, str, int], Any]:
    """Other digits in the place of `width` digits that begin at `start` (None: at the end)."""

    def way(value: Any, mark: str, n: int) -> Any:
        text = str(value or "")
        begin = len(text) - width if start is None else start
        if begin < 0 or not text[begin : begin + width].isdecimal():
            return None
        number = (int(mark, 36) * 8191 + n) % 10**width
        return f"{text[:begin]}{number:0{width}d}{text[begin + width :]}"

    return way


def _later_day(value: Any, mark: str, n: int) -> Any:
    try:
        return (date.fromisoformat(str(value)) + timedelta(days=n + int(mark, 36) % 97)).isoformat()
    except (ValueError, OverflowError):
        return None


_WAYS: dict[str, tuple[Callable[[Any, str, int], Any], ...]] = {
    "string": (_marked, _digits_at(None, 8), _digits_at(None, 6), _digits_at(6, 6), _digits_at(None, 4)),
    "integer": (lambda value, mark, n: int(value or 0) + int(mark, 36) * 8191 + n, lambda value, mark, n: int(value or 0) + n),
    "date": (_later_day,),
}


def _number(column: Column, value: float) -> float:
    return int(value) if column.logical_type == "integer" else value


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, default=str).encode()


def _content(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _csv(rows: Sequence[Row], encoding: str) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return written.getvalue().encode(encoding)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
