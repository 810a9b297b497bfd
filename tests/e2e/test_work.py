"""Disputes, tasks and visits of a simulated province end in the library whole, and lead to what they come from."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from tests.e2e.conftest import Lake

LIBRARY = {
    "business": ("dispute", "dispute_step", "event", "task", "task_object", "task_result", "visit"),
    "theme": ("enterprise", "grid", "key_person", "key_place", "team_member"),
}


@pytest.fixture(scope="module")
def library(lake: Lake) -> duckdb.DuckDBPyConnection:
    """The tables of the library under their names."""
    connection = duckdb.connect()
    for schema, names in LIBRARY.items():
        for name in names:
            connection.register(name, lake.tables.read(f"{schema}.{name}"))
    return connection


def one(library: duckdb.DuckDBPyConnection, query: str) -> Any:
    """The only row that the query gives, or its only value."""
    (row,) = library.sql(query).fetchall()
    return row[0] if len(row) == 1 else row


@pytest.mark.parametrize("kind", ["dispute", "dispute_step", "task_object", "task_result", "visit"])
def test_the_library_has_one_row_for_each_id_that_was_accepted_and_not_deleted(lake: Lake, library: duckdb.DuckDBPyConnection, kind: str) -> None:
    key = {"dispute_step": "step_id", "task_object": "object_id", "task_result": "result_id"}.get(kind, f"{kind}_id")
    library.register("landed", lake.tables.read(f"bronze.city_platform__{kind}", columns=["_sender_code", key, "_op"]))
    query = f"select count(*) from (select _sender_code, {key} from landed group by all having bool_and(_op = 'upsert'))"
    assert one(library, f"select count(*) from {kind}") == one(library, query) > 0


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("dispute where origin_type = 'event'", "exists (from event where event_id = origin_id)"),
        ("dispute_step", "exists (from dispute where dispute.dispute_id = dispute_step.dispute_id)"),
        ("task_object", "exists (from task where task.task_id = task_object.task_id)"),
        ("task_result", "exists (from task_object where task_object.object_id = task_result.object_id)"),
        ("visit where origin_type = 'task_object'", "exists (from task_object where object_id = origin_id)"),
        ("visit", "exists (from team_member where team_member.member_id = visit.member_id)"),
        ("visit where subject_type = 'key_person'", "exists (from key_person where key_person_id = subject_id)"),
        ("visit where subject_type = 'key_place'", "exists (from key_place where key_place_id = subject_id)"),
        ("visit where subject_type = 'enterprise'", "exists (from enterprise where uscc = subject_id)"),
        ("visit where subject_type = 'grid_patrol'", "exists (from grid where grid.grid_id = subject_id)"),
    ],
)
def test_every_link_leads_somewhere(library: duckdb.DuckDBPyConnection, link: str, leads: str) -> None:
    count, leading = one(library, f"select count(*), count(*) filter (where {leads}) from {link}")
    assert count == leading > 0


def test_a_dispute_knows_its_steps_and_whether_it_is_closed(library: duckdb.DuckDBPyConnection) -> None:
    rows = library.sql("""
        select step_count, is_closed, state_code, (select count(*) from dispute_step as s where s.dispute_id = d.dispute_id) as steps,
            (select arg_max(to_state, step_no) from dispute_step as s where s.dispute_id = d.dispute_id) as reached
        from dispute as d""").fetchall()
    assert all(step_count == steps and state == reached for step_count, _, state, steps, reached in rows)
    assert {state for _, closed, state, *_ in rows if closed} <= {"closed", "rejected", "withdrawn"}
    assert {state for _, closed, state, *_ in rows if not closed} <= {"reported", "accepted", "assigned", "mediating"}


def test_a_task_counts_its_objects_and_ends_overdue_only_if_too_few_were_done(library: duckdb.DuckDBPyConnection) -> None:
    assert one(library, "select sum(object_count) from task") == one(library, "select count(*) from task_object")
    assert one(library, "select sum(done_count) from task") == one(library, "select count(*) from task_object where state_code = 'done'")
    assert one(library, "select bool_and(is_overdue = (state_code = 'overdue')) from task where is_finished and state_code <> 'cancelled'")


def test_parties_of_a_dispute_are_sealed_and_texts_say_no_number(lake: Lake, library: duckdb.DuckDBPyConnection) -> None:
    columns = lake.tables.read("business.dispute").column_names
    assert {"applicant_id_number_token", "respondent_name_sealed"} <= set(columns)
    assert not {"applicant_name", "applicant_phone", "respondent_name", "applicant_id_number"} & set(columns)
    assert one(library, "select count(*) from dispute where regexp_matches(description, '1[3-9][0-9]{9}')") == 0
