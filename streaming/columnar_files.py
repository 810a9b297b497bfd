"""Rows of Parquet files, read a batch at a time after a look at what they unpack to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from streaming.rows import Block, Columns, RefusedWhole

_ROWS_AT_ONCE = 10_000
_MOST_COLUMNS = 1000
# A column chunk is unpacked page by page, but nothing bounds a page: a single value may fill it.
_LARGEST_COLUMN_CHUNK = 512 << 20


def read_parquet(path: Path, known: frozenset[str]) -> Iterator[Block]:
    """All rows. Raises RefusedWhole for what is no Parquet file, is damaged, or knows no column of the contract."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            if metadata.num_columns > _MOST_COLUMNS:
                raise RefusedWhole("format", f"{metadata.num_columns} columns, at most {_MOST_COLUMNS} expected")
            for group in range(metadata.num_row_groups):
                row_group = metadata.row_group(group)
                if any(row_group.column(c).total_uncompressed_size > _LARGEST_COLUMN_CHUNK for c in range(row_group.num_columns)):
                    raise RefusedWhole(
                        "archive_too_large", f"a column unpacks to more than {_LARGEST_COLUMN_CHUNK >> 20} MiB; write smaller row groups"
                    )
            if metadata.num_rows and not known & set(file.schema_arrow.names):
                raise RefusedWhole("header", "no column of the contract in the file")
            for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
                if batch.num_rows:
                    yield Columns(pa.Table.from_batches([batch]))
    except (pa.ArrowException, OSError) as error:
        raise RefusedWhole("format", f"not a whole Parquet file ({type(error).__name__}); send it again") from None
