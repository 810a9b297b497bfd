"""Reads a sample of a feed that has no contract yet and guesses what its columns are.

A guess is never more open than the sample allows: whatever looks like an ID number, a phone, a person's name or a home
address is class L4, and its values are not repeated.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from gridlake.contracts.model import ContractError, LogicalType
from gridlake.privacy import ID_NUMBER, LANDLINE, MOBILE
from gridlake.regions import RegionTree
from gridlake.vocabularies import Vocabularies

SAMPLE_ROWS = 100_000
_SNIFFED_BYTES = 4 * 1024 * 1024

# Java pattern, what such values look like, and how Python reads them.
_FORMATS: tuple[tuple[LogicalType, str, str, str], ...] = (
    ("timestamp", "yyyy-MM-dd HH:mm:ss", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "%Y-%m-%d %H:%M:%S"),
    ("timestamp", "yyyy-MM-dd'T'HH:mm:ss", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "%Y-%m-%dT%H:%M:%S"),
    ("timestamp", "yyyy-MM-dd HH:mm:ss.SSS", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "%Y-%m-%d %H:%M:%S.%f"),
    ("timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSS", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", "%Y-%m-%dT%H:%M:%S.%f"),
    ("timestamp", "yyyy-MM-dd'T'HH:mm:ssXXX", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)", "%Y-%m-%dT%H:%M:%S%z"),
    ("timestamp", "yyyy/MM/dd HH:mm:ss", r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "%Y/%m/%d %H:%M:%S"),
    ("timestamp", "yyyy/M/d H:mm", r"\d{4}/\d\d?/\d\d? \d\d?:\d\d", "%Y/%m/%d %H:%M"),
    ("timestamp", "yyyy-MM-dd HH:mm", r"\d{4}-\d\d-\d\d \d\d:\d\d", "%Y-%m-%d %H:%M"),
    ("timestamp", "yyyyMMddHHmmss", r"(?:19|20)\d{12}", "%Y%m%d%H%M%S"),
    ("timestamp", "MM/dd/yyyy HH:mm:ss", r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", "%m/%d/%Y %H:%M:%S"),
    ("timestamp", "dd/MM/yyyy HH:mm:ss", r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d", "%d/%m/%Y %H:%M:%S"),
    ("date", "yyyy-MM-dd", r"\d{4}-\d\d-\d\d", "%Y-%m-%d"),
    ("date", "yyyy/MM/dd", r"\d{4}/\d\d/\d\d", "%Y/%m/%d"),
    ("date", "yyyy/M/d", r"\d{4}/\d\d?/\d\d?", "%Y/%m/%d"),
    ("date", "yyyyMMdd", r"(?:19|20)\d{6}", "%Y%m%d"),
    ("date", "yyyy年M月d日", r"\d{4}年\d\d?月\d\d?日", "%Y年%m月%d日"),
    ("date", "MM/dd/yyyy", r"\d\d/\d\d/\d{4}", "%m/%d/%Y"),
    ("date", "dd/MM/yyyy", r"\d\d/\d\d/\d{4}", "%d/%m/%Y"),
)
_DISTINCT_TRIED = 2_000
# Whole numbers that all have as many digits as this or more are codes: quantities differ in length.
_CODE_LENGTH = 6

# What a header says. Matched anywhere in it, capitals or not.
_HEADERS = {
    "id_number": r"身份证|证件号|身份号码|护照|(^|_)id_?(card|no|number)(_|$)|identity|(^|_)sfz|(^|_)zjhm|passport",
    "phone": r"电话|手机|联系方式|phone|mobile|(^|_)tel(_|$)|(^|_)(lxdh|sjh)(_|$)",
    "person_name": r"姓名|联系人|当事人|(person|reporter|contact|caller|applicant|real|full|first|last|user|member)_?name|(^|_)xm(_|$)",
    "home_address": r"住址|户籍地|居住地|现住|家庭地址|门牌|home_?addr|(^|_)address(_|$)|residence",
}
_HINTS = {
    "longitude": r"经度|(^|_)(lon|lng|longitude)(_|$)",
    "latitude": r"纬度|(^|_)(lat|latitude)(_|$)",
    "key": r"编号|编码|流水号|主键|序号|(^|_)(id|no|key|uuid|guid|code)(_|$)",
    "code": r"代码|编码|编号|号码|邮编|code|(^|_)(id|no|zip)(_|$)|zipcode",
    "version": r"版本|version|revision",
    "changed": r"更新|变更|修改|changed|updated|modified|last_?update",
}
# The hundred most common family names hold 85 % of the population (Ministry of Public Security, 2020 report on names).
_FAMILY_NAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱"
    "侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常"
)
_PERSON_NAME = f"[{_FAMILY_NAMES}][\u4e00-\u9fff·]{{1,3}}"
_LENGTHS = (8, 16, 32, 64, 100, 200, 500, 1000, 2000, 4000)
_FREE_TEXT_LENGTH = 40
_PLAIN_ID, _SYNTHETIC_ID = r"[A-Za-z0-9_\-]+", "A1"
_ENUM_MOST, _ENUM_ROWS_PER_VALUE = 20, 5


@dataclass(frozen=True)
class Guess:
    """What one column seems to be; `decide` are the questions that only a person can answer."""

    name: str
    logical_type: LogicalType = "string"
    required: bool = False
    format: str | None = None
    pattern: str | None = None
    max_length: int | None = None
    values: tuple[str, ...] = ()
    code_list: str | None = None
    classification: str = "L1"
    sealed_kind: str | None = None
    redact: bool = False
    position: str | None = None
    is_region: bool = False
    key_position: int | None = None
    version_order: int | None = None
    decide: tuple[str, ...] = ()
    example: Any = None


@dataclass(frozen=True)
class Sample:
    """Rows as they came: `columns` as Arrow arrays, text where the format knows only text."""

    path: Path
    kind: str
    encoding: str | None
    columns: Mapping[str, pa.Array]

    @property
    def row_count(self) -> int:
        """Rows looked at."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


def read(path: Path) -> Sample:
    """The first 100,000 rows of a CSV (UTF-8 or GB18030), JSONL, XLSX or Parquet file."""
    readers = {".csv": _read_csv, ".txt": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".xlsx": _read_xlsx}
    readers[".parquet"] = _read_parquet
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ContractError(
            f"{path}: expected a sample ending in {', '.join(sorted(readers))}, came {path.suffix or 'no ending'}; convert or rename it"
        )
    sample = reader(path)
    if not sample.columns or not sample.row_count:
        raise ContractError(f"{path}: expected a header and at least one row, found none; take a sample with rows")
    return sample


def guess(sample: Sample, vocabularies: Vocabularies) -> list[Guess]:
    """A guess for every column, key and version columns marked."""
    guesses = [_guess_column(name, values, vocabularies, is_text=sample.kind == "csv") for name, values in sample.columns.items()]
    return _mark_key(sample, _mark_version(guesses))


def sealed_values(sample: Sample, guesses: Iterable[Guess]) -> frozenset[str]:
    """Every L4 value of the sample of two characters and more: what must not be repeated anywhere."""
    names = [g.name for g in guesses if g.classification == "L4"]
    return frozenset(v for name in names for v in pc.unique(_as_text(sample.columns[name])).to_pylist() if v and len(v) > 1)


def _read_csv(path: Path) -> Sample:
    with path.open("rb") as handle:
        head = handle.read(_SNIFFED_BYTES)
    encoding = _encoding(path, head)
    first = head.decode(encoding, errors="ignore").lstrip("\ufeff").splitlines()[:1]
    if not first:
        return Sample(path, "csv", encoding, {})
    delimiter = max(",;\t|", key=first[0].count)
    header = next(csv.reader(io.StringIO(first[0]), delimiter=delimiter))
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""])
    read = pa.csv.ReadOptions(encoding="utf8" if encoding == "utf-8" else encoding, block_size=_SNIFFED_BYTES)
    parse = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    batches: list[pa.RecordBatch] = []
    try:
        with pa.csv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert) as reader:
            for batch in reader:
                batches.append(batch)
                if sum(b.num_rows for b in batches) >= SAMPLE_ROWS:
                    break
    except pa.ArrowInvalid as error:
        raise ContractError(f"{path}: not a CSV with the same number of fields in every line: {error}; correct the sample") from error
    table = pa.Table.from_batches(batches) if batches else pa.table({})
    return _sample(path, "csv", table, encoding)


def _read_jsonl(path: Path) -> Sample:
    columns: dict[str, list[Any]] = {}
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines):
            if number >= SAMPLE_ROWS:
                break
            try:
                row = json.loads(line) if line.strip() else {}
            except ValueError as error:
                raise ContractError(f"{path} line {number + 1}: not JSON ({error}); one object a line is expected") from error
            if not isinstance(row, dict):
                raise ContractError(f"{path} line {number + 1}: expected one JSON object a line, came {type(row).__name__}; see JSON Lines")
            for name in row:
                columns.setdefault(name, [None] * number)
            for name, values in columns.items():
                values.append(row.get(name))
    return Sample(path, "jsonl", "utf-8", {name: _array(values) for name, values in columns.items()})


def _read_xlsx(path: Path) -> Sample:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        rows = book.worksheets[0].iter_rows(values_only=True, max_row=SAMPLE_ROWS + 1)
        header = [str(cell).strip() if cell is not None else "" for cell in next(rows, ())]
        columns: dict[str, list[Any]] = {name: [] for name in header if name}
        for row in rows:
            if any(cell is not None for cell in row):
                for name, cell in zip(header, row, strict=False):
                    if name:
                        columns[name].append(cell)
    finally:
        book.close()
    longest = max((len(v) for v in columns.values()), default=0)
    padded = {name: values + [None] * (longest - len(values)) for name, values in columns.items()}
    return Sample(path, "xlsx", None, {name: _array(values) for name, values in padded.items()})


def _read_parquet(path: Path) -> Sample:
    batches = list(itertools.islice(pa.parquet.ParquetFile(path).iter_batches(batch_size=SAMPLE_ROWS), 1))
    return _sample(path, "parquet", pa.Table.from_batches(batches) if batches else pa.table({}), None)


def _sample(path: Path, kind: str, table: pa.Table, encoding: str | None) -> Sample:
    return Sample(path, kind, encoding, {n: table.column(n).slice(0, SAMPLE_ROWS).combine_chunks() for n in dict.fromkeys(table.column_names)})


def _encoding(path: Path, head: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            # An incremental decoder lets a character be cut at the end of what was read.
            codecs.getincrementaldecoder(encoding)().decode(head, final=False)
        except UnicodeDecodeError:
            continue
        return encoding
    raise ContractError(f"{path}: neither UTF-8 nor GB18030; convert the sample to one of them")


def _array(values: list[Any]) -> pa.Array:
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {int} or kinds <= {bool} or kinds <= {int, float} or kinds <= {datetime}:
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, OverflowError):
            pass
    return pa.array([None if v is None else v if isinstance(v, str) else json.dumps(v, ensure_ascii=False, default=str) for v in values], pa.string())


def _as_text(values: pa.Array) -> pa.Array:
    if pa.types.is_string(values.type):
        return values
    if pa.types.is_timestamp(values.type):
        return pc.strftime(values, format="%Y-%m-%d %H:%M:%S")
    return pc.cast(values, pa.string(), safe=False)


def _share(values: pa.Array, pattern: str, *, whole: bool = True) -> float:
    """The part of the values (nulls left out) that match."""
    matched = pc.match_substring_regex(values, f"^(?:{pattern})$" if whole else pattern)
    return float(pc.mean(matched).as_py() or 0.0)


def _says(name: str, pattern: str) -> bool:
    return bool(re.search(pattern, name, re.IGNORECASE))


def _guess_column(name: str, given: pa.Array, vocabularies: Vocabularies, *, is_text: bool) -> Guess:
    values = given.drop_null()
    required = len(values) == len(given)
    if not len(values):
        return Guess(name, decide=("the sample has no value: type, limits and class are open",))
    guessed = Guess(name, required=required)
    if pa.types.is_nested(values.type):
        return replace(guessed, classification="L4", decide=("is nested: ask for flat columns",))
    text = _as_text(values)
    sealed = _sealed_kind(name, text)
    if sealed:
        return _sealed(guessed, sealed, values, text)
    if pa.types.is_boolean(values.type):
        return replace(guessed, logical_type="boolean", example=values[0].as_py())
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        is_date = pa.types.is_date(values.type)
        return replace(
            guessed,
            logical_type="date" if is_date else "timestamp",
            format="yyyy-MM-dd" if is_date else "yyyy-MM-dd HH:mm:ss",
            example=text[0].as_py(),
        )
    if pa.types.is_integer(values.type):
        return _positioned(replace(guessed, logical_type="integer", example=values[0].as_py()))
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        return _positioned(replace(guessed, logical_type="number", example=float(values[0].as_py())))
    return _guess_text(guessed, text, vocabularies, is_text=is_text)


def _guess_text(guessed: Guess, text: pa.Array, vocabularies: Vocabularies, *, is_text: bool) -> Guess:
    name, distinct = guessed.name, pc.unique(text)
    time = _time_format(distinct)
    if time:
        kind, written, others = time
        decide = (f"the days are also valid as {others[0]}: which is meant?",) if others else ()
        return replace(guessed, logical_type=kind, format=written, example=text[0].as_py(), decide=decide)
    regions = RegionTree(vocabularies.regions)
    known = {system: regions.codes(system) for system in pc.unique(vocabularies.regions.column("region_system")).to_pylist()}
    for system, codes in known.items():
        if len(codes) and pc.mean(pc.is_in(distinct, codes)).as_py() > 0.5:
            return replace(guessed, is_region=True, example=_first_in(text, codes), decide=(f"regions of system {system}",))
    length = _common_length(distinct)
    if length >= _CODE_LENGTH:
        is_key = _says(name, _HINTS["key"])
        question = "region codes, if the region vocabulary knows them?" if length == 12 else "a code, or a quantity?"
        return replace(guessed, pattern=f"[0-9]{{{length}}}", example=None if is_key else text[0].as_py(), decide=(question,))
    # Only a format that knows no types is read for types; JSON's "12" is a text and stays one.
    is_code = _says(name, _HINTS["code"])
    if is_text and not is_code and _share(distinct, r"-?(?:0|[1-9][0-9]{0,17})") == 1:
        return _positioned(replace(guessed, logical_type="integer", example=int(text[0].as_py())))
    if is_text and not is_code and _share(distinct, r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?") == 1:
        return _positioned(replace(guessed, logical_type="number", example=float(text[0].as_py())))
    if is_text and _share(distinct, "(?i:true|false)") == 1:
        return replace(guessed, logical_type="boolean", example=text[0].as_py().lower() == "true")
    return _guess_string(guessed, text, distinct, vocabularies)


def _guess_string(guessed: Guess, text: pa.Array, distinct: pa.Array, vocabularies: Vocabularies) -> Guess:
    longest = int(pc.max(pc.utf8_length(text)).as_py())
    limit = next((n for n in _LENGTHS if n >= 2 * longest), None)
    guessed = replace(guessed, max_length=limit, decide=() if limit else ("values are very long: which limit?",))
    free = longest > _FREE_TEXT_LENGTH or _share(distinct, f"{ID_NUMBER}|{MOBILE}", whole=False) > 0
    if free:
        return replace(
            guessed, classification="L3", redact=True, decide=(*guessed.decide, "free text: ID numbers, phones and names are blanked at landing")
        )
    fitting = [v.name for v in vocabularies.code_lists if set(distinct.to_pylist()) <= v.codes]
    named = [n for n in fitting if n in guessed.name.lower() or guessed.name.lower().removesuffix("_code") in n]
    if named:
        return replace(guessed, code_list=named[0], max_length=None, example=text[0].as_py())
    few = len(distinct) <= _ENUM_MOST and len(text) >= _ENUM_ROWS_PER_VALUE * len(distinct) and not _says(guessed.name, _HINTS["key"])
    if few:
        question = f"are these all values? fits code list {', '.join(fitting)}" if fitting else "are these all values, or is there a code list?"
        return replace(guessed, values=tuple(sorted(distinct.to_pylist())), max_length=None, example=text[0].as_py(), decide=(question,))
    if _share(distinct, _PLAIN_ID) == 1:
        return replace(guessed, pattern=_PLAIN_ID, example=_SYNTHETIC_ID[: limit or None])
    return guessed


def _positioned(guessed: Guess) -> Guess:
    for position in ("longitude", "latitude"):
        if _says(guessed.name, _HINTS[position]):
            return replace(guessed, logical_type="number", position=position, classification="L3", decide=("which coordinate system, which bounds?",))
    return guessed


def _sealed_kind(name: str, text: pa.Array) -> str | None:
    for kind, header in _HEADERS.items():
        if _says(name, header):
            return kind
    if _share(text, ID_NUMBER) > 0.5:
        return "id_number"
    if _share(text, f"{MOBILE}|{LANDLINE}") > 0.5:
        return "phone"
    distinct = pc.unique(text)
    # Half a sample of short words may begin with a family name by chance; nine in ten distinct ones do not.
    if len(distinct) >= 5 and _share(distinct, _PERSON_NAME) >= 0.9:
        return "person_name"
    return None


def _sealed(guessed: Guess, kind: str, values: pa.Array, text: pa.Array) -> Guess:
    decide: tuple[str, ...] = ("looks like " + {"id_number": "ID numbers", "phone": "phone numbers"}.get(kind, kind.replace("_", " ") + "s"),)
    if not pa.types.is_string(values.type):
        decide += ("is a number in the sample: ask for text, only text is sealed",)
    longest = int(pc.max(pc.utf8_length(text)).as_py())
    pattern = {"id_number": "[1-9][0-9]{16}[0-9X]", "phone": "1[3-9][0-9]{9}"}.get(kind)
    holds = pattern is not None and _share(text, pattern) == 1
    limit = None if holds else next((n for n in _LENGTHS if n >= 2 * longest), None)
    return replace(guessed, classification="L4", sealed_kind=kind, pattern=pattern if holds else None, max_length=limit, decide=decide)


def _time_format(distinct: pa.Array) -> tuple[LogicalType, str, list[str]] | None:
    tried = distinct.slice(0, _DISTINCT_TRIED).to_pylist()
    fitting = []
    for kind, written, shape, python in _FORMATS:
        if _share(distinct, shape.replace(r"\d", "[0-9]")) == 1 and all(_parses(v, python) for v in tried):
            fitting.append((kind, written))
    if not fitting:
        return None
    # `yyyy/M/d` reads all that `yyyy/MM/dd` does; only an order of day and month that could be the other one is a question.
    kind, written = fitting[0]
    return kind, written, [w for _, w in fitting[1:] if w.startswith("dd/")]


def _parses(value: str, python: str) -> bool:
    try:
        datetime.strptime(value, python)
    except ValueError:
        return False
    return True


def _common_length(distinct: pa.Array) -> int:
    """The number of digits that every value has; 0 where they differ or hold anything else."""
    lengths = pc.unique(pc.utf8_length(distinct))
    return int(lengths[0].as_py()) if len(lengths) == 1 and _share(distinct, "[0-9]+") == 1 else 0


def _first_in(text: pa.Array, codes: pa.Array) -> str:
    return str(text.filter(pc.is_in(text, codes))[0].as_py())


def _mark_version(guesses: list[Guess]) -> list[Guess]:
    numbers = [g.name for g in guesses if g.logical_type == "integer" and _says(g.name, _HINTS["version"])]
    times = [g.name for g in guesses if g.logical_type in {"timestamp", "date"} and _says(g.name, _HINTS["changed"])]
    order = {name: position for position, name in enumerate([*numbers[:1], *times[:1]], 1)}
    return [replace(g, version_order=order.get(g.name)) for g in guesses]


def _mark_key(sample: Sample, guesses: list[Guess]) -> list[Guess]:
    able = [g for g in guesses if g.required and g.classification != "L4" and not g.redact and g.logical_type in {"string", "integer", "date"}]
    able = [g for g in able if not g.values and not g.version_order]
    likely = sorted(able, key=lambda g: not _says(g.name, _HINTS["key"]))
    versions = [g.name for g in guesses if g.version_order]
    for found in _keys(sample, likely, versions):
        return [replace(g, key_position=found.index(g.name) + 1 if g.name in found else None) for g in guesses]
    question = "no column or pair of columns is unique in the sample: what names one thing?"
    first = likely[0].name if likely else guesses[0].name
    return [replace(g, key_position=1, required=True, decide=(*g.decide, question)) if g.name == first else g for g in guesses]


def _keys(sample: Sample, likely: list[Guess], versions: list[str]) -> Iterator[list[str]]:
    for guessed in likely:
        if _is_unique(sample, [guessed.name]):
            yield [guessed.name]
    for guessed in likely:
        if versions and _says(guessed.name, _HINTS["key"]) and _is_unique(sample, [guessed.name, *versions]):
            yield [guessed.name]
    for position, one in enumerate(likely[:8]):
        for other in likely[position + 1 : 8]:
            if _is_unique(sample, [one.name, other.name]):
                yield [one.name, other.name]


def _is_unique(sample: Sample, names: list[str]) -> bool:
    table = pa.table({name: sample.columns[name] for name in names})
    return int(table.group_by(names).aggregate([]).num_rows) == sample.row_count
