"""Events made in chunks, by any number of processes, in either format, are the same events; texts are set as the grammar says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.simulator import chunks, plan, profiles, simulate
from streaming.simulator.typesetting import Letters, Page, Phrasing, write

HANGZHOU = "330100000000"
SMALL = {"days": 40, "events": 3000, "villages": 20, "spine": True}


def digests(inbox: Path) -> dict[str, str]:
    return {str(p.relative_to(inbox)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(inbox.rglob("*")) if p.is_file()}


@pytest.fixture
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "CHUNK_EVENTS", 600)


@pytest.mark.usefixtures("many_chunks")
def test_two_processes_write_the_bytes_that_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(tmp_path / "one", **SMALL)
    monkeypatch.setattr(chunks, "_WORTH_A_PROCESS", 1)
    simulate(tmp_path / "two", **SMALL)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.usefixtures("many_chunks")
def test_events_of_many_chunks_have_different_ids_and_whole_chains_of_steps(tmp_path: Path) -> None:
    document = simulate(tmp_path, **SMALL)
    steps = pd.concat(pq.read_table(p).to_pandas() for p in (tmp_path / "city_platform" / "event_step" / HANGZHOU).glob("*.parquet"))
    dirt = pq.read_table(tmp_path / "_truth" / "dirt_truth.parquet").to_pandas()
    steps = steps[(steps._op == "upsert") & ~steps.step_id.str.contains(r"^SJ\d{8}9")]
    numbers = steps.groupby("event_id").step_no.agg(list)
    assert numbers.map(lambda chain: sorted(chain) == list(range(1, len(chain) + 1))).all(), "an id of two events would have two first steps"
    assert document["events"] == SMALL["events"]
    assert document["findings"]["near_duplicate"] == round(SMALL["events"] * profiles.NEAR_DUPLICATE_SHARE)
    assert (dirt.kind == "truncated_line").sum() == 4


def test_no_file_is_left_between_plan_and_inbox(tmp_path: Path) -> None:
    simulate(tmp_path, **SMALL)
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]


def test_the_event_feed_as_parquet_holds_the_rows_that_it_holds_as_json_lines(tmp_path: Path) -> None:
    for name in ("jsonl", "parquet"):
        simulate(tmp_path / name, **SMALL, format=name)
    typed, lines = (accepted(tmp_path / name, name) for name in ("parquet", "jsonl"))
    assert len(typed) == len(lines) > SMALL["events"]
    pd.testing.assert_frame_equal(typed, lines)


def accepted(inbox: Path, suffix: str) -> pd.DataFrame:
    """The rows that must be accepted, as JSON would have them, in an order of their own."""
    dirt = pq.read_table(inbox / "_truth" / "dirt_truth.parquet").to_pandas()
    parts = []
    for path in sorted((inbox / "city_platform" / "event").glob(f"*/*.{suffix}")):
        bad = dirt[(dirt.sender_code == path.parent.name) & (dirt.file_name == path.name) & (dirt.expected_state != "accepted")].row_number - 1
        if suffix == "parquet":
            rows = pq.read_table(path).to_pandas().drop(index=bad)
            rows = rows.assign(**{c: rows[c].dt.strftime("%Y-%m-%d %H:%M:%S") for c in rows if c.endswith("_at")})
        else:
            found = path.read_bytes().removesuffix(b"\n").split(b"\n")
            rows = pd.DataFrame([json.loads(line) for number, line in enumerate(found) if number not in set(bad)])
        parts.append(rows.assign(sender=path.parent.name))
    every = pd.concat(parts, ignore_index=True)
    every = every[every["_op"] != "delete"].drop(columns="_op") if "_op" in every else every
    every = every.assign(**{c: every[c].astype(object).where(every[c].notna(), None) for c in every})
    return every.sort_values(["sender", "event_id", "source_version"], ignore_index=True)


def test_scale_counts_events_by_residents_and_all_means_every_city(tmp_path: Path) -> None:
    document = simulate(tmp_path, days=30, scale=1.0, cities=["all"], villages=12, spine=True)
    grids = sorted((tmp_path / "city_platform" / "grid").glob("*/*-full.csv"))
    assert len(grids) == len(document["parameters"]["cities"]) == 11
    dirt = pq.read_table(tmp_path / "_truth" / "dirt_truth.parquet").to_pandas()
    dirt = dirt[dirt.feed == "grid"]
    residents = 0
    for path, sender in zip(grids, sorted(document["parameters"]["cities"]), strict=True):
        encoding = "gb18030" if document["parameters"]["cities"].index(sender) % 2 else "utf-8"
        rows = pd.read_csv(path, dtype=str, encoding=encoding)
        bad = dirt[(dirt.sender_code == sender) & (dirt.file_name == path.name)].row_number - 1
        residents += rows.drop(index=bad).resident_count.astype(int).sum()
    assert document["events"] == round(residents / 1000 * profiles.EVENTS_PER_1000_RESIDENTS_AND_YEAR * 30 / 365)


def test_a_page_sets_the_pieces_of_each_row_one_after_the_other() -> None:
    letters = Letters()
    road, number = letters.number("建设路"), letters.number("号")
    digits = letters.run([str(n) for n in range(10)])
    page = Page(letters)
    own = page.add(pa.array(["甲", None, "乙丙"]))
    text = page.set(3, road, np.array([[digits + 4, number], [0, 0], [digits, 0]], np.int32), own)
    assert text.to_pylist() == ["建设路4号甲", "建设路", "建设路0乙丙"]
    assert page.set(0, np.zeros((0, 2), np.int32)).to_pylist() == []
    with pytest.raises(KeyError, match="there before the first page"):
        letters.number("新词")


def test_a_choice_says_every_production_and_nothing_else_as_often_as_the_others() -> None:
    letters = Letters()
    phrasing = Phrasing(letters, ["place"], {"what": ["{place}漏水{1-3}处", "停电"], "who": ["{surname}某", "无名"], "surname": ["陈", "王"]})
    what, who = phrasing.rule("what"), phrasing.rule("who")
    places = letters.numbers(["甲村", "乙村"])
    page, random = Page(letters), np.random.default_rng(1)
    given = {"place": places[np.arange(4000) % 2][:, None]}
    said = pd.Series(page.set(4000, write(random, what, given, np.arange(4000))).to_pylist())
    assert set(said[0::2]) == {"甲村漏水1处", "甲村漏水2处", "甲村漏水3处", "停电"}
    assert (said == "停电").mean() == pytest.approx(0.5, abs=0.04)
    names = pd.Series(page.set(4000, write(random, who, {}, np.arange(4000))).to_pylist()).value_counts(normalize=True)
    assert names.to_dict() == pytest.approx({"无名": 0.5, "陈某": 0.25, "王某": 0.25}, abs=0.04)
    with pytest.raises(ValueError, match="without quotation marks"):
        phrasing.read(['他说"好"{1-3000}'])
