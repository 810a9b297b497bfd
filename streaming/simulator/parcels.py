"""What is sent in which file: rows of a feed with their place, written as JSONL, CSV, XLSX or Parquet, byte for byte the same each time.

A row's place stands in the columns `_sender`, `_file` and `_order` (within the file); dirt adds `_kind`, `_state`, `_rule` and `_field`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from openpyxl import Workbook
from openpyxl.writer.excel import ExcelWriter

PLACE = ["_sender", "_file", "_order"]
TRUTH = ["_kind", "_state", "_rule", "_field"]
LINE = "_line"
# Office files carry times of their own; these are nobody's.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
CITY_PLATFORM = "city_platform"


@dataclass(frozen=True)
class Feed:
    """The rows of one feed in the order in which they lie in their files, and how to write them.

    `schema` gives the columns of Parquet files and decides what is written of the others; JSONL feeds carry bytes in `_line` instead.
    """

    name: str
    rows: pd.DataFrame
    schema: pa.Schema
    gb18030_senders: frozenset[str] = frozenset()
    source: str = CITY_PLATFORM


def arranged(
    name: str, parts: Sequence[pd.DataFrame], schema: pa.Schema, *, gb18030_senders: Iterable[str] = (), source: str = CITY_PLATFORM
) -> Feed:
    """The parts of a feed put in order; `row_number` counts a file's rows from 1. The named senders' CSV files are GB18030, the others' UTF-8."""
    columns = list(dict.fromkeys([c for part in parts for c in part.columns] + TRUTH))
    rows = pd.concat([_with_all(part, columns, parts) for part in parts], ignore_index=True)
    rows = rows.sort_values(PLACE, kind="stable", ignore_index=True)
    rows["row_number"] = rows.groupby(["_sender", "_file"]).cumcount() + 1
    return Feed(name, rows, schema, frozenset(gb18030_senders), source)


def monthly(name: str, rows: pd.DataFrame, sender: Any, suffix: str, first_month: str) -> pd.DataFrame:
    """The rows in their places: `<name>-<first month>-full.<suffix>` where version and clock are those of the start, else the month of the change.

    Rows that lie in the first file say so in a boolean column `_full`; the others follow each other by `changed_at`.
    """
    month = np.datetime_as_string(rows.changed_at.to_numpy().astype("datetime64[M]"))
    file = np.where(rows["_full"], f"{name}-{first_month}-full.{suffix}", np.char.add(np.char.add(f"{name}-", month), f".{suffix}"))
    seconds = rows.changed_at.to_numpy().astype("datetime64[s]").astype(np.int64)
    order = np.where(rows["_full"], np.arange(len(rows)), seconds).astype(float)
    return rows.drop(columns="_full").assign(_sender=np.asarray(sender, object), _file=file.astype(object), _order=order)


def lined(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows as JSON lines in their places."""
    return rows[PLACE].assign(**{LINE: json_lines(rows, columns)})


def _with_all(part: pd.DataFrame, columns: Sequence[str], parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The part with every column; one that another part has in another type, or lacks, becomes a column of objects."""
    alike = {c for c in columns if len({str(p[c].dtype) if c in p else "absent" for p in parts}) == 1}
    return pd.DataFrame({c: part[c] if c in alike else _as_any(part, c) for c in columns})


def _as_any(part: pd.DataFrame, column: str) -> pd.Series:
    # pandas looks at every object of a column of nothing; most rows are good ones, of which truth says nothing.
    kind: Any = pd.ArrowDtype(pa.string()) if column in TRUTH else object
    return part[column].astype(kind) if column in part else pd.Series(None, part.index, kind)


def json_lines(rows: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """A JSON object a row, as bytes; times as `yyyy-MM-dd HH:mm:ss`."""
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute("set enable_progress_bar = false")
        connection.register("given", pa.Table.from_pandas(rows[list(columns)], preserve_index=False))
        lines = connection.sql("select to_json(given)::varchar as line from given").to_arrow_table().column("line")
    # Bytes: Chinese text is a third smaller so than as Python strings.
    return pd.Series(lines.cast(pa.binary()).to_numpy(zero_copy_only=False), index=rows.index)


def write(feed: Feed, inbox: Path, advance: Callable[[int], None]) -> dict[str, int]:
    """Write the feed's files under `<inbox>/<source>/<feed>/<sender>/`; gives {path relative to the inbox: rows}."""
    written = {}
    for (sender, name), rows in feed.rows.groupby(["_sender", "_file"], sort=True):
        path = inbox / feed.source / feed.name / str(sender) / str(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, _content(feed, str(sender), path.suffix, rows))
        written[str(path.relative_to(inbox))] = len(rows)
        advance(1)
    return written


def replace(path: Path, content: bytes) -> None:
    """Write a file under another name first, so that nobody who watches the folder meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _content(feed: Feed, sender: str, suffix: str, rows: pd.DataFrame) -> bytes:
    match suffix:
        case ".jsonl":
            return _jsonl(rows)
        case ".csv":
            return _csv(rows, feed.schema, "gb18030" if sender in feed.gb18030_senders else "utf-8")
        case ".xlsx":
            return _xlsx(rows, feed.schema)
        case ".parquet":
            return _parquet(rows, feed.schema)
    raise ValueError(f"{feed.name}: no writer for files *{suffix}")


def _jsonl(rows: pd.DataFrame) -> bytes:
    # A file that breaks off in its last line has no line end there either.
    return b"\n".join(rows[LINE]) + (b"" if rows["_kind"].isin(["truncated_line"]).iloc[-1] else b"\n")


def _csv(rows: pd.DataFrame, schema: pa.Schema, encoding: str) -> bytes:
    table = pa.table({field.name: _text(rows[field.name], field.type) for field in schema})
    sink = io.BytesIO()
    csv.write_csv(table, sink, csv.WriteOptions(quoting_style="needed", eol="\r\n"))
    text = sink.getvalue()
    return text if encoding == "utf-8" else text.decode().encode(encoding)


def _text(values: pd.Series, kind: pa.DataType) -> pa.Array:
    """Values as a CSV file shows them; dirty columns hold text among numbers and times."""
    texts = [*map(str, values.astype(object))]
    if pa.types.is_date(kind):
        texts = [text[:10] for text in texts]
    return pa.array(texts, pa.string(), mask=values.isna().to_numpy())


def _xlsx(rows: pd.DataFrame, schema: pa.Schema) -> bytes:
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(schema.names)
    columns = [[_cell(v) for v in rows[name].astype(object)] for name in schema.names]
    for row in zip(*columns, strict=True):
        sheet.append(row)
    book.properties.created = book.properties.modified = datetime(*_NO_TIME)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        ExcelWriter(book, archive).write_data()
    fixed = io.BytesIO()
    with zipfile.ZipFile(packed) as given, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for entry in given.namelist():
            archive.writestr(zipfile.ZipInfo(entry, _NO_TIME), given.read(entry), zipfile.ZIP_DEFLATED)
    return fixed.getvalue()


def _cell(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def _parquet(rows: pd.DataFrame, schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False).replace_schema_metadata(None), sink, compression="zstd")
    return sink.getvalue()
