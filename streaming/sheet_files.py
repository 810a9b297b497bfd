"""Rows of XLSX workbooks, read in bounded memory: what a workbook unpacks to is looked at before it is unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.cell.cell import ERROR_CODES
from openpyxl.workbook import Workbook

from streaming.rows import Block, CellError, Cells, RefusedWhole, Unreadable
from streaming.text_files import header

# A sheet of half a million rows of 20 cells unpacks to so much, its texts, which are held in memory, to a third of that; more is for CSV or Parquet.
_LARGEST_PART, _LARGEST_TEXTS, _LARGEST_RATIO, _HARMLESS_BYTES = 400 << 20, 128 << 20, 200, 10 << 20
_MOST_PARTS = 5000
_TEXTS = "xl/sharedStrings.xml"
_ROWS_AT_ONCE = 5000
_ROWS_LOOKED_AT = 50
_LONGEST_CELL = 32_767  # Excel's own limit
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"  # .xls, and .xlsx under a password
_ERROR = CellError()


def read_sheet(path: Path, known: frozenset[str], names: Sequence[str], keep: Callable[[], str]) -> Iterator[Block]:
    """Rows below the header of the sheet named like the feed, else of the only visible sheet that holds anything."""
    _look_at_parts(path)
    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        yield from _rows(_sheet(workbook, names), known, keep)
    except RefusedWhole:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged workbook breaks its reader anywhere, with any exception
        raise RefusedWhole("format", f"the workbook is damaged ({type(error).__name__}); save it again as .xlsx") from None


def _look_at_parts(path: Path) -> None:
    with path.open("rb") as content:
        if content.read(len(_OLD_OFFICE)) == _OLD_OFFICE:
            raise RefusedWhole("format", "an old .xls or a workbook under a password; save it as .xlsx without a password")
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if len(parts) > _MOST_PARTS:
                raise RefusedWhole("archive_too_large", f"{len(parts)} parts in the workbook, at most {_MOST_PARTS} expected")
            for part in parts:
                limit = _LARGEST_TEXTS if part.filename == _TEXTS else _LARGEST_PART
                if part.file_size > limit or part.file_size > max(_HARMLESS_BYTES, _LARGEST_RATIO * part.compress_size):
                    raise RefusedWhole("archive_too_large", f"a part of the workbook unpacks to {part.file_size >> 20} MiB")
                if part.filename.endswith((".xml", ".rels")):
                    with archive.open(part) as content:
                        start = content.read(4096)
                    if b"<!DOCTYPE" in start or b"<!ENTITY" in start:
                        raise RefusedWhole("format", "the workbook declares XML entities; save it again as .xlsx")
            if sum(part.file_size for part in parts) > _LARGEST_PART + _LARGEST_TEXTS:
                raise RefusedWhole("archive_too_large", "the workbook's parts unpack to more than a full sheet takes")
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise RefusedWhole("format", f"not an .xlsx workbook ({type(error).__name__})") from None


def _sheet(workbook: Workbook, names: Sequence[str]) -> Any:
    visible = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
    named = [sheet for sheet in visible if sheet.title in names]
    if named:
        return named[0]
    filled = [sheet for sheet in visible if _holds_anything(sheet)]
    if len(filled) > 1:
        raise RefusedWhole("format", f"{len(filled)} sheets hold rows; expected one, or one named {' or '.join(names)}")
    return filled[0] if filled else None


def _holds_anything(sheet: Any) -> bool:
    return any(value is not None for row in sheet.iter_rows(max_row=_ROWS_LOOKED_AT, values_only=True) for value in row)


def _rows(sheet: Any, known: frozenset[str], keep: Callable[[], str]) -> Iterator[Block]:
    if sheet is None:
        return
    sheet.reset_dimensions()
    found: Iterator[tuple[Any, ...]] = sheet.iter_rows(values_only=True)
    names: tuple[str, ...] = ()
    for row in found:
        if any(value is not None for value in row):
            names = header(row, known)
            break
    width, rows = len(names), list[Sequence[Any]]()
    for row in found:
        # A cell to the right of the header makes the row too wide, which the decoder refuses; empty ones there are the sheet's own.
        beyond = any(value is not None for value in row[width:])
        cells = row if beyond else row[:width] + (None,) * (width - len(row))
        if all(value is None for value in cells):
            continue
        if any(type(value) is str and len(value) > _LONGEST_CELL for value in cells):
            if rows:
                yield Cells(names, rows)
                rows = []
            yield Unreadable("row_too_large", f"a cell of more than {_LONGEST_CELL} characters", reference=keep())
            continue
        rows.append([_ERROR if type(value) is str and value in ERROR_CODES else value for value in cells])
        if len(rows) == _ROWS_AT_ONCE:
            yield Cells(names, rows)
            rows = []
    if rows:
        yield Cells(names, rows)
