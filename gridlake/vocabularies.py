"""Code lists, the region tree and the work calendar, as CSV files say them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from gridlake.declared import Declared
from gridlake.settings import Settings

REGION_COLUMNS = ["region_system", "region_code", "region_name", "region_level", "parent_code"]
_REGIONS, _CALENDAR = "regions_", "work_calendar"


class VocabularyError(Exception):
    """A vocabulary file that lacks what every reader of it needs."""


@dataclass(frozen=True)
class Vocabulary:
    """One CSV file; all values are strings, empty is null."""

    name: str
    rows: pa.Table
    path: Path

    @cached_property
    def codes(self) -> frozenset[str]:
        """Every code of the list."""
        return frozenset(self.rows.column("code").to_pylist())

    @property
    def is_code_list(self) -> bool:
        """Whether it has code and name_zh."""
        return {"code", "name_zh"} <= set(self.rows.column_names)


class Vocabularies(Declared[Vocabulary]):
    """All vocabularies of a run, by file stem."""

    def __init__(self, vocabularies: list[Vocabulary]) -> None:
        super().__init__("vocabulary", vocabularies, lambda vocabulary: vocabulary.name)

    @cached_property
    def regions(self) -> pa.Table:
        """Every region of every region system; region_level is long, 1 = province … 5 = village; the root's parent_code is null."""
        parts = []
        for vocabulary in self.values():
            if vocabulary.name.startswith(_REGIONS):
                part = vocabulary.rows.select(REGION_COLUMNS)
                parts.append(part.set_column(3, "region_level", part.column("region_level").cast(pa.int64())))
        empty = pa.table({c: pa.array([], pa.int64() if c == "region_level" else pa.string()) for c in REGION_COLUMNS})
        return pa.concat_tables(parts) if parts else empty

    @cached_property
    def work_calendar(self) -> pa.Table:
        """date (date32), day_type, name."""
        rows = self[_CALENDAR].rows
        return rows.set_column(rows.column_names.index("date"), "date", rows.column("date").cast(pa.date32()))

    @property
    def code_lists(self) -> list[Vocabulary]:
        """The vocabularies that are code lists."""
        return [v for v in self.values() if v.is_code_list]


def load_all(settings: Settings) -> Vocabularies:
    """Every built-in vocabulary and those of `--contracts DIR/vocabularies`, which may replace a built-in one of the same name."""
    folders = [settings.expectations / "vocabularies", *([settings.contracts / "vocabularies"] if settings.contracts else [])]
    return Vocabularies(list({p.stem: load(p) for folder in folders for p in sorted(folder.glob("*.csv"))}.values()))


def load(path: Path) -> Vocabulary:
    """One CSV file in UTF-8 with a header; every column a string."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines))
        types = {name: pa.string() for name in header}
        rows = arrow_csv.read_csv(path, convert_options=arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]))
    except (StopIteration, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise VocabularyError(f"{path}: expected UTF-8 CSV with a header line: {error}") from error
    if path.stem.startswith(_REGIONS):
        missing = [c for c in REGION_COLUMNS if c not in rows.column_names]
        if missing:
            raise VocabularyError(f"{path}: a region vocabulary needs {', '.join(REGION_COLUMNS)}; it lacks {', '.join(missing)}")
        try:
            rows.column("region_level").cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise VocabularyError(f"{path}: region_level: expected 1 (province) to 7 (micro-grid): {error}") from error
        _refuse_repeats(path, rows, "region_code", "region_system")
    elif "code" in rows.column_names:
        # A class whose limit changes has one row for each time it holds.
        _refuse_repeats(path, rows, "code", "valid_from")
    return Vocabulary(path.stem, rows, path)


def _refuse_repeats(path: Path, rows: pa.Table, code: str, beside: str) -> None:
    key = [code, *([beside] if beside in rows.column_names else [])]
    counted = rows.group_by(key).aggregate([([], "count_all")])
    repeated = counted.filter(pc.greater(counted.column("count_all"), 1))
    if repeated.num_rows:
        raise VocabularyError(f"{path}: {code} {repeated.column(code)[0].as_py()} stands twice; keep one row")
