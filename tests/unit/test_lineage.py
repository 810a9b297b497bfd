"""Columns are followed through what dbt's SQL is made of: subqueries, unions, stars, windows, lateral views, scratch tables."""

from __future__ import annotations

import pytest

from gridlake.lineage import Column, LineageError, as_json, from_json, of_queries

KNOWN = {"bronze.call": ["call_no", "kind", "said_at", "来电"], "staging.code_list": ["code", "name_zh"]}


def made(sql: str, column: str) -> dict[str, str]:
    return {str(o.column): o.kind for o in of_queries({"mart.x": sql}, KNOWN)["mart.x"].columns[column]}


@pytest.mark.parametrize(
    ("sql", "origins"),
    [
        ("select call_no as x from bronze.call", {"bronze.call.call_no": "IDENTITY"}),
        ("select cast(call_no as string) as x from bronze.call", {"bronze.call.call_no": "IDENTITY"}),
        ("select upper(kind) as x from bronze.call", {"bronze.call.kind": "TRANSFORMATION"}),
        ("select count(kind) as x from bronze.call", {"bronze.call.kind": "AGGREGATION"}),
        ("select count(*) as x from bronze.call", {}),
        ("with a as (select *, kind as x from bronze.call) select x from (select * from a) as b", {"bronze.call.kind": "IDENTITY"}),
        (
            "select kind as x from bronze.call union all select name_zh from staging.code_list",
            {"bronze.call.kind": "IDENTITY", "staging.code_list.name_zh": "IDENTITY"},
        ),
        ("select part as x from bronze.call lateral view explode(split(kind, ',')) as part", {"bronze.call.kind": "TRANSFORMATION"}),
        (
            "select row_number() over (partition by kind order by said_at) as x from bronze.call",
            {"bronze.call.kind": "TRANSFORMATION", "bronze.call.said_at": "TRANSFORMATION"},
        ),
        ("select `来电` as x from bronze.call", {"bronze.call.来电": "IDENTITY"}),
    ],
)
def test_a_column_is_followed_to_its_origins(sql: str, origins: dict[str, str]) -> None:
    assert made(sql, "x") == origins


def test_what_decides_on_rows_is_told_of_the_table() -> None:
    sql = "select a.kind from bronze.call as a left join staging.code_list as b on a.kind = b.code where a.said_at is not null group by a.kind"
    found = of_queries({"mart.x": sql}, KNOWN)["mart.x"]
    assert {(str(c.column), c.part) for c in found.conditions} == {
        ("bronze.call.kind", "JOIN"), ("staging.code_list.code", "JOIN"), ("bronze.call.said_at", "FILTER"), ("bronze.call.kind", "GROUP_BY")
    }  # fmt: skip
    assert found.tables == ("bronze.call", "staging.code_list")


def test_tables_made_of_each_other_are_followed_to_the_end_and_kept_as_json() -> None:
    queries = {
        "mart.daily": "select count(late) as late_count from changes.late",
        "changes.late": "create or replace table changes.late using delta location '/x' as select said_at > now as late from business.call",
        "business.call": "select said_at, date '2026-01-01' as now from bronze.call",
    }
    found = from_json(as_json(of_queries(queries, KNOWN)))
    assert [(str(s.column), s.kind) for s in found.sources(Column("mart.daily", "late_count"))] == [
        ("bronze.call.said_at", "AGGREGATION"), ("business.call.now", "AGGREGATION")
    ]  # fmt: skip
    assert found.tables_below("business.call") == ("changes.late",)
    assert [str(u.column) for u in found.used_by(Column("business.call", "said_at"))] == ["changes.late.late"]


@pytest.mark.parametrize("sql", ["select from where", "select * from bronze.unknown"])
def test_sql_that_cannot_be_told_names_its_table(sql: str) -> None:
    with pytest.raises(LineageError, match=r"mart\.x: expected") as refused:
        of_queries({"mart.x": sql}, KNOWN)
    assert refused.value.table == "mart.x"
