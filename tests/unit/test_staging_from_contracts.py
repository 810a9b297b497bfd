"""What a contract says becomes the SQL of its staging model; what cannot be said is refused with the place and the remedy."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gridlake.contracts import Column, Contract, ContractError, Contracts
from gridlake.contracts.staging import files, literal, staged_columns, statement, views

VISIT = Contract(
    source="city",
    feed="visit",
    title="走访",
    version="1.0.0",
    path=Path("city/visit.odcs.yaml"),
    defines="visit",
    columns=(
        Column("visit_id", "编号", "string", required=True, key_position=1, local_id_of="visit"),
        Column("kind_code", "类别", "string", required=True),
        Column("grid_id", "网格", "string", local_id_of="grid"),
        Column("note", "说明", "string", redact=True),
        Column("visitor_name", "走访人", "string", classification="L4"),
        Column("longitude", "经度", "number", position="longitude"),
        Column("latitude", "纬度", "number", position="latitude"),
        Column("changed_at", "变更时间", "timestamp", version_order=1),
    ),
)
CALL = Contract(
    source="hotline",
    feed="call",
    title="来电",
    version="1.0.0",
    path=Path("hotline/call.odcs.yaml"),
    conforms_to="visit",
    time_zone="America/New_York",
    coordinate_system="GCJ-02",
    columns=(
        Column("no", "编号", "integer", key_position=1),
        Column("kind", "类别", "string"),
        Column("day", "日期", "date"),
        Column("caller", "来电人", "string", classification="L4"),
        Column("score", "评分", "number"),
        Column("note", "说明", "string", redact=True),
    ),
)
MAP: dict[str, dict[str, Any]] = {
    "visit_id": {"column": "no"},
    "kind_code": {"column": "kind", "codes": {1: "a", "it's": "b"}, "default": "c"},
    "visitor_name": {"column": "caller"},
    "changed_at": {"column": "day"},
}


def said(contract: Contract, **changes: Any) -> dict[str, Any]:
    """What the model of the contract, so changed, is given."""
    changed = replace(contract, **changes)
    return statement(changed, Contracts([VISIT, changed] if changed.conforms_to else [changed]))


def values(contract: Contract, **changes: Any) -> dict[str, str]:
    return dict(said(contract, **changes)["values"])


def test_a_defining_feed_comes_out_in_its_own_columns() -> None:
    found = values(VISIT)
    assert found["kind_code"] == "cast(kind_code as string)"
    assert found["visitor_name_sealed"] == "visitor_name_sealed"
    assert "visitor_name" not in found


def test_a_conforming_feed_comes_out_in_the_columns_of_its_entity() -> None:
    assert said(CALL, mapping=MAP)["columns"] == said(VISIT)["columns"]


def test_codes_are_translated_and_quotes_escaped_by_backslash() -> None:
    found = values(CALL, mapping=MAP)["kind_code"]
    assert found == r"cast(case cast(kind as string) when '1' then 'a' when 'it\'s' then 'b' else 'c' end as string)"


def test_names_beyond_ascii_are_quoted_wherever_sql_names_the_source() -> None:
    columns = (
        Column("编号", "编号", "string", required=True, key_position=1),
        Column("来电人", "来电人", "string", classification="L4"),
        Column("说明", "说明", "string", redact=True),
        Column("时间", "时间", "timestamp", version_order=1),
    )
    mapping = {"visit_id": {"column": "编号"}, "visitor_name": {"column": "来电人"}, "note": {"column": "说明"}, "changed_at": {"column": "时间"}}
    call = replace(CALL, columns=columns, mapping=mapping, sql=None)
    said = statement(call, Contracts([VISIT, call]))
    assert (said["key"], said["version"]) == (["`编号`"], ["`时间`"])
    values = dict(said["values"])
    assert values["visit_id"] == "cast(`编号` as string)"
    assert (values["visitor_name_token"], values["note_sealed"]) == ("`来电人_token`", "`说明_sealed`")
    assert not [v for v in values.values() if re.search("(?<![`\u4e00-\u9fff])[\u4e00-\u9fff]", v)]


def test_a_date_becomes_the_midnight_of_its_zone() -> None:
    assert values(CALL, mapping=MAP)["changed_at"] == "to_utc_timestamp(cast(day as timestamp), 'America/New_York')"


def test_a_column_without_a_map_takes_the_one_of_its_name_or_none() -> None:
    found = values(CALL, mapping=MAP)
    assert (found["note"], found["note_sealed"]) == ("cast(note as string)", "note_sealed")
    assert found["grid_id"] == "cast(null as string)"


def test_the_position_says_its_datum() -> None:
    assert said(CALL, mapping=MAP)["position"] == {"longitude": "longitude", "latitude": "latitude", "datum": "GCJ-02"}


def test_a_feed_without_an_entity_keeps_its_own_columns() -> None:
    found = said(CALL, conforms_to=None)
    assert found["columns"][:4] == ["no", "kind", "day", "caller_sealed"]
    assert "own_id" not in found


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"visitor_name": {"column": "kind"}}, "not alike"),
        ({"kind_code": {"column": "caller"}}, "not alike"),
        ({"visitor_name": {"constant": "某人"}}, "not alike"),
        ({"kind_code": {"column": "score"}}, "say how with"),
        ({"kind_code": {"column": "knid"}}, "no column 'knid'"),
    ],
)
def test_a_map_that_cannot_be_right_is_refused(entry: dict[str, dict[str, Any]], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        said(CALL, mapping=MAP | entry)


def test_a_staging_sql_must_read_from_its_source() -> None:
    with pytest.raises(ContractError, match=r"hotline/call\.sql: expected a SELECT from"):
        said(CALL, sql="select 1")
    assert said(CALL, sql="select _source_position from {{ source }};")["sql"] == "select _source_position from newest"


@pytest.mark.parametrize(("value", "sql"), [("a", "'a'"), ("it's", r"'it\'s'"), ("a\\b", r"'a\\b'"), (None, "null"), (True, "true"), (3, "3")])
def test_literals_are_read_alike_by_both_engines(value: object, sql: str) -> None:
    assert literal(value) == sql


def test_an_entity_gets_its_union_as_a_view() -> None:
    contracts = Contracts([VISIT])
    assert "current_rows('visit')" in files(contracts)["models/staging/stg_visit.sql"]
    table = f"staging.stg_{VISIT.id}"
    staged = staged_columns(VISIT)
    made = views(contracts, {table: staged}.__getitem__)
    assert made.keys() == {"staging.stg_visit"}
    assert f"from {table} where _op = 'upsert'" in made["staging.stg_visit"]


@pytest.mark.parametrize("lacking", ["_op", None])
def test_no_view_is_made_over_a_table_that_lacks_a_column_or_is_not_there(lacking: str | None) -> None:
    present = [c for c in staged_columns(VISIT) if c != lacking] if lacking else []
    assert views(Contracts([VISIT]), lambda table: present) == {}


def test_every_feed_gets_a_model_a_source_and_tests() -> None:
    made = files(Contracts([VISIT, replace(CALL, mapping=MAP)]))
    assert made["models/staging/stg_hotline__call.sql"].startswith("-- one row per ")
    assert "hotline__call" in made["models/sources_from_contracts.yml"]
    assert "unique_together" in made["models/staging/feeds.yml"]
