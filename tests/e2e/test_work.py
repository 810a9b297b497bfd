"""What people and offices do in a simulated province ends in the library whole, and leads to what it comes from."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from tests.e2e.conftest import Lake

LIBRARY = {
    "business": (
        *("dispute", "dispute_step", "event", "task", "task_object", "task_result", "visit", "interface_call", "ticket", "ticket_step", "notice"),
        *("notice_receipt", "command_receipt", "course_progress", "exam_attempt", "training_point", "police_event", "review_case", "opinion"),
        *("external_finding", "address_correction"),
    ),
    "theme": ("address", "enterprise", "grid", "key_person", "key_place", "organisation", "platform_user", "team_member"),
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
        ("ticket where origin_type = 'interface_call'", "exists (from interface_call where call_id = origin_id and status_code <> 'success')"),
        ("ticket_step", "exists (from ticket where ticket.ticket_id = ticket_step.ticket_id)"),
        ("notice_receipt", "exists (from notice where notice.notice_id = notice_receipt.notice_id and is_receipt_required)"),
        ("notice_receipt", "exists (from platform_user as u where u.user_id = notice_receipt.user_id)"),
        ("command_receipt where origin_type = 'event'", "exists (from event where event_id = origin_id)"),
        (
            "command_receipt",
            "exists (from platform_user as u where u.user_id = command_receipt.user_id and u.organisation_id = command_receipt.organisation_id)",
        ),
        ("platform_user", "exists (from organisation as o where o.organisation_id = platform_user.organisation_id)"),
        (
            "platform_user where member_id is not null",
            "exists (from team_member as m where m.member_id = platform_user.member_id and m.role_code = 'leader')",
        ),
        ("course_progress", "exists (from team_member where team_member.member_id = course_progress.member_id)"),
        ("exam_attempt", "exists (from team_member where team_member.member_id = exam_attempt.member_id)"),
        (
            "training_point where origin_type = 'course_progress'",
            "exists (from course_progress where progress_id = origin_id and state_code = 'finished')",
        ),
        ("training_point where origin_type = 'exam_attempt'", "exists (from exam_attempt where attempt_id = origin_id and is_passed)"),
        (
            "police_event where direction_code = 'to_grid'",
            "exists (from event where event_id = transferred_event_id and channel_code = 'department')",
        ),
        ("review_case where correlation_type = 'event'", "exists (from event where event_id = correlation_id)"),
        ("opinion where correlation_id is not null", "exists (from event where event_id = correlation_id)"),
        ("address_correction where address_code is not null", "exists (from address where address.address_code = address_correction.address_code)"),
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


def test_a_ticket_stands_where_its_steps_left_it(library: duckdb.DuckDBPyConnection) -> None:
    rows = library.sql("""
        select state_code, closed_at is not null, arg_max(to_state, step_no), count(*) = max(step_no), min(step_no),
            bool_and(minutes_since_previous >= 0)
        from ticket inner join ticket_step using (ticket_id) group by ticket_id, state_code, closed_at""").fetchall()
    assert "closed" in {state for state, *_ in rows}
    for state, has_closed_at, reached, is_whole, first, runs_forward in rows:
        assert (state, has_closed_at, is_whole, first, runs_forward) == (reached, state == "closed", True, 1, True)


def test_nobody_who_posts_can_be_counted_and_whoever_calls_the_police_is_sealed(lake: Lake) -> None:
    posts = lake.tables.read("business.opinion").column_names
    assert [name for name in posts if any(word in name for word in ("author", "poster", "person", "user", "phone", "_token", "_sealed"))] == []
    personal = {
        "police_event": ("caller_name", "caller_id_number", "caller_phone", "address_text"),
        "review_case": ("applicant_name", "applicant_phone"),
    }
    for table, columns in personal.items():
        kept = lake.tables.read(f"business.{table}").column_names
        assert set(columns) & set(kept) == set()
        assert {f"{column}_token" for column in columns} <= set(kept)
