"""Rows of Parquet files, read a batch at a time after a look at what they unpack to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gridlake.tables import DiskFull
from streaming.rows import LARGEST_ROW_BYTES, Block, Columns, RefusedWhole, Unreadable

_ROWS_AT_ONCE = 10_000
_MOST_COLUMNS = 1000
# A column chunk is unpacked page by page, but nothing bounds a page: a single value may fill it.
_LARGEST_COLUMN_CHUNK = 512 << 20


def read_parquet(path: Path, known: frozenset[str], keep: Callable[[], str]) -> Iterator[Block]:
    """All rows; one that is too large is kept by `keep` as the file that it stands in.

    Raises RefusedWhole for what is no Parquet file, is damaged, or knows no column of the contract.
    """
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
                yield from _blocks(pa.Table.from_batches([batch]), keep)
    except DiskFull:
        raise  # nothing is wrong with the file
    except (pa.ArrowException, OSError) as error:
        raise RefusedWhole("format", f"not a whole Parquet file ({type(error).__name__}); send it again") from None


def _blocks(table: pa.Table, keep: Callable[[], str]) -> Iterator[Block]:
    start = 0
    for row in np.flatnonzero(_sizes(table) > LARGEST_ROW_BYTES).tolist():
        if row > start:
            yield Columns(table.slice(start, row - start))
        yield Unreadable("row_too_large", f"more than {LARGEST_ROW_BYTES} bytes in one row", reference=keep())
        start = row + 1
    if start < table.num_rows:
        yield Columns(table.slice(start))


def _sizes(table: pa.Table) -> npt.NDArray[np.int64]:
    """Bytes of each row's texts; of other columns only where one of them is large."""
    sizes = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy()
        elif column.nbytes > LARGEST_ROW_BYTES and (pa.types.is_nested(kind) or pa.types.is_dictionary(kind)):
            sizes += np.array([column.slice(row, 1).nbytes for row in range(table.num_rows)])
    return sizes
