"""Findings: their ids, their reasons that add up, what they may not say, and a model added by one file."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gridlake.runs import Run
from spark_jobs.declarations import load_models
from spark_jobs.detect import FactorError, detect
from tests.models.lake import NOON, event, write_lake

MINUTE = timedelta(minutes=1)
SQUARE = "POLYGON ((120.14 30.26, 120.15 30.26, 120.15 30.27, 120.14 30.27, 120.14 30.26))"
STALL = "东门口三号楼下有人摆摊占道，影响通行"


def _event_at(name: str, longitude: float, minutes: int, **more: Any) -> dict[str, Any]:
    position = {"longitude": longitude, "latitude": 30.265, "grid_id": "a-G1", "reporter_member_id": "a-M1", "channel_code": "grid"}
    return event(name, **{**position, "reported_at": NOON + minutes * MINUTE, **more})


def _events() -> list[dict[str, Any]]:
    return [
        event("a-nil", description="今日巡查未发现矛盾纠纷，一切正常"),
        event("a-first", grid_id="a-G9", description=STALL),
        event("a-again", grid_id="a-G9", description=STALL, reported_at=NOON + 30 * MINUTE),
        event("a-instant", closed_at=NOON + MINUTE, state_code="closed"),
        # Neither is enough alone: outside its grid at noon, and a report in the night.
        _event_at("a-outside", 120.16, 0, description="绿化带里堆放装修垃圾两车"),
        _event_at("a-night", 120.145, 700, description="沿河护栏缺失三米，有儿童在附近玩耍"),
        # Both: outside and impossibly far from the one before.
        _event_at("a-far", 121.2, 705, description="公交站牌倾斜约二十度，恐怕砸到候车的人"),
        event("a-plain", description="路灯三盏不亮，晚上漆黑一片，老人出行不便"),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("detect")
    made = write_lake(root, _events(), grids={"a-G1": SQUARE}, steps=[("a-instant", "report"), ("a-instant", "close"), ("a-plain", "handle")])
    detect(made)
    yield made
    made.close()


def _rows(run: Run, table: str) -> list[dict[str, Any]]:
    return run.tables.read(table).to_pylist()


def test_each_injected_kind_is_found_alone_and_weak_signals_need_company(run: Run) -> None:
    factors = defaultdict(set)
    for row in _rows(run, "factor.event"):
        factors[row["subject_id"]].add(row["factor"])
    found = {row["subject_id"] for row in _rows(run, "finding.finding")}
    assert (factors["a-nil"], factors["a-again"], factors["a-instant"]) == ({"nil_report"}, {"near_duplicate"}, {"instant_close"})
    assert (factors["a-outside"], factors["a-night"]) == ({"outside_grid"}, {"after_hours"})
    assert factors["a-far"] >= {"outside_grid", "teleport"}
    assert found == {"a-nil", "a-again", "a-instant", "a-far"}


def test_contributions_add_up_to_the_score_and_are_weight_times_value(run: Run) -> None:
    parts = defaultdict(list)
    for row in _rows(run, "finding.reason"):
        assert row["contribution"] == pytest.approx(row["weight"] * row["value"], abs=1e-6)
        parts[row["finding_id"]].append(row["contribution"])
    findings = _rows(run, "finding.finding")
    assert {f["finding_id"] for f in findings} == set(parts)
    for finding in findings:
        assert abs(math.fsum(parts[finding["finding_id"]]) - finding["score"]) < 1e-9
        assert finding["score"] >= finding["threshold"]


def test_each_reason_has_its_evidence_and_stands_in_the_finding_heaviest_first(run: Run) -> None:
    evidence = {(r["finding_id"], r["factor"]): (r["evidence_type"], r["evidence_id"]) for r in _rows(run, "finding.evidence")}
    reasons = _rows(run, "finding.reason")
    assert set(evidence) == {(r["finding_id"], r["factor"]) for r in reasons}
    subjects = {f["subject_id"]: f for f in _rows(run, "finding.finding")}
    assert evidence[subjects["a-again"]["finding_id"], "near_duplicate"] == ("event", "a-first")
    assert evidence[subjects["a-far"]["finding_id"], "outside_grid"] == ("grid", "a-G1")
    for finding in subjects.values():
        own = sorted((r for r in reasons if r["finding_id"] == finding["finding_id"]), key=lambda r: (-r["contribution"], r["factor"]))
        assert finding["reason_zh"] == "；".join(r["reason_zh"] for r in own)
        assert finding["reason_en"] == "; ".join(r["reason_en"] for r in own)


def test_reasons_have_their_numbers_filled_in_and_nothing_of_the_text(run: Run) -> None:
    texts = [e["description"] for e in _events()]
    for row in _rows(run, "finding.reason"):
        for said in (row["reason_zh"], row["reason_en"]):
            assert said
            assert "{" not in said
            assert not any(text[i : i + 6] in said for text in texts for i in range(len(text) - 5))
    reasons = {(r["factor"], r["reason_en"]) for r in _rows(run, "finding.reason")}
    assert ("near_duplicate", "100% alike to a report from the same place in the 1 h before") in reasons
    assert ("instant_close", "closed 60 seconds after the report, without handling steps or without a note") in reasons


def test_a_finding_id_is_the_digest_of_model_subject_and_period(run: Run) -> None:
    for finding in _rows(run, "finding.finding"):
        expected = hashlib.sha256(f"invalid_event|event|{finding['subject_id']}|once".encode()).hexdigest()[:32]
        assert finding["finding_id"] == expected


def test_detecting_again_writes_nothing_and_gives_the_same(run: Run) -> None:
    names = [n for n in run.tables.names() if n.startswith(("factor.", "finding."))]
    before = {n: (run.tables.version(n), run.tables.read(n)) for n in names}
    detect(run)
    for name in names:
        assert run.tables.version(name) == before[name][0]
        assert run.tables.read(name).equals(before[name][1])


def test_an_event_that_is_gone_takes_its_finding_with_it(tmp_path: Path) -> None:
    run = write_lake(tmp_path, _events())
    detect(run)
    run.close()
    run = write_lake(tmp_path, [e for e in _events() if e["event_id"] != "a-nil"])
    try:
        detect(run)
        assert "a-nil" not in {f["subject_id"] for f in _rows(run, "finding.finding")}
        assert len(_rows(run, "finding.reason")) == len(_rows(run, "finding.evidence"))
    finally:
        run.close()


def _declare(folder: Path, **changes: Any) -> Path:
    document = {
        "title": {"zh": "夜间上报", "en": "Reported at night"},
        "subject": "event",
        "period": "day",
        "purpose": "例子",
        "version": "2.1.0",
        "owner": "甲组",
        "threshold": 0.5,
        "factors": [{"factor": "after_hours", "weight": 1.0, "reason": {"zh": "{hour} 时上报", "en": "reported at {hour}"}}],
        **changes,
    }
    (folder / "detect").mkdir(parents=True, exist_ok=True)
    (folder / "detect" / "reported_at_night.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return folder


def test_a_model_is_added_by_one_file(tmp_path: Path) -> None:
    run = write_lake(tmp_path, _events(), contracts=_declare(tmp_path / "more"))
    try:
        done = detect(run)
        rows = [f for f in _rows(run, "finding.finding") if f["model"] == "reported_at_night"]
    finally:
        run.close()
    assert done["findings"]["reported_at_night"]["count"] == len(rows) == 2
    assert {(f["subject_id"], f["reason_zh"], f["model_version"]) for f in rows} == {
        ("a-night", "23 时上报", "2.1.0"),
        ("a-far", "23 时上报", "2.1.0"),
    }
    digest = hashlib.sha256(b"reported_at_night|event|a-night|2026-03-02").hexdigest()[:32]
    assert digest in {f["finding_id"] for f in rows}


def test_a_factor_is_added_by_one_declaration_and_its_query(tmp_path: Path) -> None:
    more = _declare(
        tmp_path / "more", factors=[{"factor": "wordy", "weight": 0.9, "reason": {"zh": "{characters} 字", "en": "{characters} characters"}}]
    )
    _write_factor(
        more,
        "select event_id as subject_id, 1.0d as value, event_id as evidence_id, 'event' as evidence_type, cast(char_length(description) as bigint)"
        " as characters from business.event where char_length(description) >= :characters",
    )
    run = write_lake(tmp_path, _events(), contracts=more)
    try:
        detect(run)
        said = {(f["subject_id"], f["reason_en"]) for f in _rows(run, "finding.finding") if f["model"] == "reported_at_night"}
    finally:
        run.close()
    assert said == {(e["event_id"], f"{len(e['description'])} characters") for e in _events() if len(e["description"]) >= 20}
    assert said


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select event_id as subject_id, 1.0d as value from business.event", "lacks evidence_id, evidence_type, characters"),
        (
            "select event_id as subject_id, 1.0d as value, '' as evidence_id, '' as evidence_type, description as characters from business.event",
            "numbers must be whole; cast characters as bigint",
        ),
        (
            "select 'a' as subject_id, 1.0d as value, event_id as evidence_id, 'event' as evidence_type, 1L as characters from business.event",
            "7 subjects more than once",
        ),
        (
            "select event_id as subject_id, 1.5d as value, event_id as evidence_id, 'event' as evidence_type, 1L as characters from business.event",
            "a value of 1.5; a signal lies between 0 and 1",
        ),
        ("select nothing from business.event", "the engine refuses the query"),
    ],
    ids=["columns", "text", "repeated", "range", "sql"],
)
def test_a_factor_that_breaks_its_promise_is_named_with_what_to_do(tmp_path: Path, query: str, said: str) -> None:
    more = _declare(tmp_path / "more", factors=[{"factor": "wordy", "weight": 0.9, "reason": {"zh": "长", "en": "long"}}])
    _write_factor(more, query)
    run = write_lake(tmp_path, _events(), contracts=more)
    try:
        with pytest.raises(FactorError) as error:
            detect(run)
    finally:
        run.close()
    assert "wordy" in str(error.value)
    assert said in str(error.value)


def _write_factor(folder: Path, query: str) -> None:
    factors = folder / "detect" / "factors"
    factors.mkdir(parents=True, exist_ok=True)
    declared = {
        "title": {"zh": "字多", "en": "Wordy"},
        "subject": "event",
        "description": "例子",
        "parameters": {"characters": 20},
        "numbers": {"characters": "字数"},
    }
    (factors / "wordy.yml").write_text(yaml.safe_dump(declared, allow_unicode=True), encoding="utf-8")
    (factors / "wordy.sql").write_text(query, encoding="utf-8")


def test_precision_and_recall_count_only_planted_events_that_reached_the_library(tmp_path: Path) -> None:
    run = write_lake(tmp_path, _events(), grids={"a-G1": SQUARE}, steps=[("a-instant", "report"), ("a-plain", "handle")])
    planted = [
        ("invalid_event", "nil_report", "a", "nil"),
        ("invalid_event", "near_duplicate", "a", "again"),
        ("invalid_event", "near_duplicate", "a", "plain"),  # not found
        ("invalid_event", "instant_close", "a", "refused"),  # not in the library
        ("another_model", "nil_report", "a", "plain"),
    ]
    columns = ["model", "kind", "sender_code", "event_id"]
    truth = run.settings.inbox / "_truth" / "finding_truth.parquet"
    truth.parent.mkdir(parents=True)
    pq.write_table(pa.table({name: [row[i] for row in planted] for i, name in enumerate(columns)}), truth)
    try:
        found = detect(run)["findings"]["invalid_event"]
        rows = {r["kind"]: r for r in _rows(run, "finding.model_quality")}
    finally:
        run.close()
    # Four findings (nil, again, instant, far), of which two were planted; of three planted ones in the library two were found.
    assert (found["count"], found["precision"], found["recall"]) == (4, 0.5, pytest.approx(2 / 3, abs=1e-6))
    assert found["by_kind"] == {
        "nil_report": {"truth_count": 1, "found_count": 1, "precision": 1.0, "recall": 1.0},
        "near_duplicate": {"truth_count": 2, "found_count": 1, "precision": 1.0, "recall": 0.5},
    }
    assert set(rows) == {"all", "nil_report", "near_duplicate"}


def test_every_model_states_a_version_so_that_findings_can_be_traced(run: Run) -> None:
    versions = {m.id: m.version for m in load_models(run.settings).values()}
    assert {(f["model"], f["model_version"]) for f in _rows(run, "finding.finding")} <= set(versions.items())
