"""Thirty days, each an increment, end in the tables that one build makes: late rows, repeats and changes of old rows among them."""

from __future__ import annotations

import shutil
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from gridlake import transform
from tests.e2e.conftest import succeed
from tests.engine.deliveries import _no_tests, land_and_build
from tests.lakes import content, differing

DAYS, LAST = 30, date(2026, 10, 31)
PROVINCE = ("--days", "90", "--events", "2000", "--villages", "10")


@pytest.mark.deep
def test_thirty_increments_end_where_one_build_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform._Dbt, "test", _no_tests)
    province, first = tmp_path / "province", LAST - timedelta(days=DAYS - 1)
    stream = ("simulate", *PROVINCE, "--inbox", province, "--stream")
    succeed(*stream, "--before", first.isoformat(), "--into", tmp_path / "base")
    # What comes as tables is no stream: there from the beginning.
    for table in (p for p in province.glob("[!_]*/*/*/*") if p.suffix in {".csv", ".xlsx"}):
        there = tmp_path / "base" / table.relative_to(province)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(table, there)
    succeed(*stream, "--since", first.isoformat(), "--into", tmp_path / "days")
    inboxes, moments = [tmp_path / "base"], [_midnight_after(first - timedelta(days=1))]
    for number in range(DAYS):
        day = first + timedelta(days=number)
        inboxes.append(tmp_path / day.isoformat())
        moments.append(_midnight_after(day))
        for file in (tmp_path / "days").glob(f"*/*/*/*-{day}.jsonl"):
            there = inboxes[-1] / file.relative_to(tmp_path / "days")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, there)
    keys = tmp_path / "keys.json"

    for name in ("grown", "whole"):
        (tmp_path / name).mkdir()
        if keys.exists():
            # Sealed values are alike only under the same keys.
            shutil.copy(keys, tmp_path / name / "lake.keys.json")
        land_and_build(tmp_path / name / "lake", moments, inboxes, build_last_alone=name == "whole")
        shutil.copy(tmp_path / name / "lake.keys.json", keys)
    grown, whole = (content(tmp_path / name / "lake") for name in ("grown", "whole"))
    assert len(whole) > 150
    assert differing(grown, whole) == {}


def _midnight_after(day: date) -> datetime:
    return datetime.fromisoformat(f"{day + timedelta(days=1)}T00:00:00+08:00")
