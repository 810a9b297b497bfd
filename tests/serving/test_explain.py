"""`gridlake explain` follows a record from its receipt to the counts it is part of, and shows nothing of class L4."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from gridlake.contracts import Contract
from gridlake.contracts.compile import RECEIPT_SCHEMA, bronze_schema
from gridlake.runs import Run
from gridlake.settings import Settings
from serving.explain import explain
from serving.publish import publish
from serving.trace import NotFound, Trace
from tests.serving import province

ONE, OTHER = "330100000000", "330200000000"
NAME, PHONE, SAID = "王建国", "13812345678", "居民反映楼道堆物"
RECEIVED = datetime(2026, 2, 25, 3, tzinfo=UTC)


@pytest.fixture(scope="module")
def lake(marts: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two senders that used the same local id; one of them sent the event twice."""
    run = province.run_over(tmp_path_factory.mktemp("explained") / "lake", marts)
    contract = run.contracts["city_platform__event"]
    run.tables.overwrite("bronze.city_platform__event", _bronze(run, contract))
    run.tables.ensure("ops.receipt", RECEIPT_SCHEMA)
    run.tables.append("ops.receipt", _receipts())
    for sender in (ONE, OTHER):
        day = date(2026, 2, 24) if sender == ONE else date(2026, 2, 25)
        event = {"event_id": f"{sender}-E1", "local_id": "E1", "region_system": "cn", "region_code": "330106002051", "business_date": day}
        _add(
            run,
            "staging.stg_city_platform__event",
            {**event, "_sender_code": sender, "description": SAID, "reporter_name_sealed": "k1.x", "reporter_name_token": "ab"},
        )
        _add(run, "business.event", {**event, "sender_code": sender, "grid_id": None, "class_code": "0101", "level_code": "1", "description": SAID})
        _add(
            run,
            "resolved.crosswalk",
            {"sender_code": sender, "entity": "event", "local_id": "E1", "canonical_id": f"{sender}-E1", "valid_from": RECEIVED},
        )
    subject = {"subject_id": f"{ONE}-E1"}
    _add(run, "factor.event", {"factor": "nil_report", **subject, "value": 1.0, "evidence_id": f"{ONE}-E1", "evidence_type": "event"})
    finding = {
        "finding_id": "f1",
        "model": "invalid_event",
        "model_version": "1.0.0",
        "subject_type": "event",
        **subject,
        "score": 0.7,
        "threshold": 0.6,
    }
    _add(run, "finding.finding", finding)
    _add(run, "finding.reason", {"finding_id": "f1", "factor": "nil_report", "contribution": 0.7, "reason_zh": "只说没有发现问题"})
    _add(run, "finding.evidence", {"finding_id": "f1", "factor": "nil_report", "evidence_type": "event", "evidence_id": f"{ONE}-E1"})
    publish(run)
    return run.settings


def _add(run: Run, name: str, row: dict[str, Any]) -> None:
    types = {"business_date": pa.date32(), "valid_from": pa.timestamp("us", "UTC")}
    floats = {"value", "score", "threshold", "contribution"}
    schema = pa.schema([(c, types.get(c, pa.float64() if c in floats else pa.string())) for c in row])
    run.tables.ensure(name, schema)
    run.tables.append(name, pa.Table.from_pylist([row], schema))


def _bronze(run: Run, contract: Contract) -> pa.Table:
    rows = []
    for number, (sender, version, state) in enumerate([(ONE, 1, "reported"), (ONE, 2, "closed"), (OTHER, 1, "reported")], 1):
        rows.append(
            {
                "event_id": "E1",
                "state_code": state,
                "description": SAID,
                "source_version": version,
                "reporter_name_sealed": run.keys.seal(pa.array([NAME]), "event.reporter_name")[0].as_py(),
                "reporter_name_token": run.keys.token(pa.array([NAME]))[0].as_py(),
                "reporter_phone_sealed": run.keys.seal(pa.array([PHONE]), "event.reporter_phone")[0].as_py(),
                "_sender_code": sender,
                "_received_at": RECEIVED,
                "_delivery_id": f"files:{sender}/events.jsonl@0123456789abcdef",
                "_source_position": f"files:{sender}/events.jsonl@0123456789abcdef#{number:010}",
                "_op": "upsert",
                "_contract_version": contract.version,
            }
        )
    return pa.Table.from_pylist(rows, bronze_schema(contract))


def _receipts() -> pa.Table:
    counts = {"received": 10, "accepted": 9, "refused": 1, "duplicate": 0, "waiting": 0}
    rows = [
        {
            "_delivery_id": f"files:{sender}/events.jsonl@0123456789abcdef", "feed": "city_platform__event", "sender_code": sender,
            "file_name": "events.jsonl", "batch": batch, "first_row": 1 + 10 * batch, "last_row": 10 + 10 * batch, "received_at": RECEIVED,
            "state": "landed", **counts,
        }
        for sender in (ONE, OTHER)
        for batch in (0, 1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, RECEIPT_SCHEMA)


def test_a_canonical_key_gives_the_whole_way_of_one_record(lake: Settings) -> None:
    [record] = Trace(lake).follow("event", f"{ONE}-E1")["records"]
    assert (record["sender_code"], record["local_id"], record["canonical_id"]) == (ONE, "E1", f"{ONE}-E1")
    assert [v["source_version"] for v in record["bronze"]] == [1, 2], "every version, oldest first"
    assert [(r["batch"], r["rows_of_this_record"]) for r in record["receipts"]] == [(0, [1, 2])], "only the batch that held it"
    assert set(record["staging"]) == {"staging.stg_city_platform__event"}
    assert [c["canonical_id"] for c in record["crosswalk"]] == [f"{ONE}-E1"]
    assert set(record["library"]) == {"business.event"}
    assert record["factors"][0]["factor"] == "nil_report"
    assert record["findings"][0]["reasons"][0]["contribution"] == 0.7
    assert [r["region_level"] for r in record["marts"]["mart.region_overview"]] == [1, 2, 3, 4, 5]


def test_a_local_id_finds_every_sender_that_used_it_and_sender_narrows_it(lake: Settings) -> None:
    trace = Trace(lake)
    assert [r["sender_code"] for r in trace.follow("event", "E1")["records"]] == [ONE, OTHER]
    [record] = trace.follow("event", "E1", sender=OTHER)["records"]
    assert record["canonical_id"] == f"{OTHER}-E1"
    assert record["findings"] == []


def test_a_feed_can_be_named_in_place_of_an_entity(lake: Settings) -> None:
    trace = Trace(lake)
    assert trace.follow("city_platform__event", f"{ONE}-E1")["records"] == trace.follow("event", f"{ONE}-E1")["records"]


def test_an_unknown_key_says_what_was_searched(lake: Settings) -> None:
    with pytest.raises(
        NotFound, match=r"event E404: .*searched bronze\.city_platform__event\.event_id = E404; bronze\.town_hall__request\.request_no = E404"
    ):
        Trace(lake).follow("event", "E404")


@pytest.mark.parametrize(("entity", "sender", "said"), [("dragon", None, r"one of .*address, .*, event, "), ("event", "nobody", "--sender nobody")])
def test_an_unknown_entity_or_sender_says_what_there_is(lake: Settings, entity: str, sender: str | None, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        Trace(lake).follow(entity, "E1", sender)


def _command(lake: Settings, *arguments: str) -> Any:
    return CliRunner().invoke(explain, [*arguments, "--home", str(lake.home), "--contracts", str(province.CONTRACTS)])


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_nothing_of_class_l4_and_no_free_text_is_shown(lake: Settings, form: list[str]) -> None:
    done = _command(lake, "event", "E1", *form)
    assert done.exit_code == 0, done.output
    for hidden in (NAME, PHONE, SAID, "k1.", Run.start(lake, quiet=True).keys.token(pa.array([NAME]))[0].as_py()):
        assert hidden not in done.output
    assert "密封" in done.output
    assert f"（文本，{len(SAID)} 字）" in done.output


def test_the_tree_tells_every_step(lake: Settings) -> None:
    told = "".join(_command(lake, "event", f"{ONE}-E1").output.split())
    for step in (
        "回执receipt(1)",
        "落地bronze.city_platform__event(2版)",
        "归集staging",
        "库library",
        "因子factor(1)",
        "研判finding(1)",
        "只说没有发现问题",
        "统计mart",
    ):
        assert step in told, step
    assert "浙江省›杭州市›西湖区" in told


def test_json_is_one_document(lake: Settings) -> None:
    document = json.loads(_command(lake, "event", f"{ONE}-E1", "--json").stdout)
    assert document["entity"] == "event"
    assert len(document["records"]) == 1


def test_an_error_ends_with_code_1(lake: Settings) -> None:
    done = _command(lake, "event", "E404", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"] == "NotFound"


def test_before_anything_is_published_the_lake_is_still_explained(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    run = province.run_over(tmp_path / "lake", {"refusal": marts["refusal"], "finding": marts["finding"]})
    run.tables.overwrite("bronze.city_platform__event", _bronze(run, run.contracts["city_platform__event"]))
    document = Trace(run.settings).follow("event", "E1", ONE)
    assert document["snapshot"] is None
    assert document["records"][0]["canonical_id"] == f"{ONE}-E1"
