"""What a power cut has torn is set aside before the engine opens a table: it would read a lost commit as an error, or as nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from gridlake.engine import EMBEDDED, Engine
from gridlake.tables import Tables

NAME = "bronze.city__feed"


@pytest.mark.parametrize("torn", [b"", b'{"commitInfo":{"gridlake.adds":"1","gridlake.transactions":"1"}}\n'])
def test_the_engine_opens_a_table_whose_newest_commit_was_torn(tmp_path: Path, torn: bytes) -> None:
    before = Tables(tmp_path / "tables")
    before.ensure(NAME, pa.schema([("key", pa.string())]))
    for number in range(3):
        before.append(NAME, pa.table({"key": [f"{number}"]}), {"log": number})
    (before.path(NAME) / "_delta_log" / f"{3:020}.json").write_bytes(torn)

    tables = Tables(tmp_path / "tables")
    engine = Engine(EMBEDDED, tables)
    try:
        engine.register({NAME: tables.version(NAME)})
        assert sorted(row.key for row in engine.spark.sql(f"select key from {NAME}").collect()) == ["0", "1"]
        assert sorted(row.key for row in engine.spark.sql("select key from landed.city__feed").collect()) == ["0", "1"]
    finally:
        engine.stop()
    assert tables.resume_point(NAME, "log") == 1
