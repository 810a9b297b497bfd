"""Three deliveries, built one after the other, end in the tables that one full build of all of them makes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from gridlake import transform
from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA
from gridlake.runs import LIBRARY, Run, RunError
from gridlake.tables import Tables
from tests.engine.bronze import at, land, new_run

EVENT = "city_platform__event"
STEPS = ("stage", "resolve", "build", "detect", "mart")
VILLAGE, NEXT_VILLAGE = "330106002051", "330106002053"
REGIONS = """region_system,region_code,region_name,region_level,parent_code
cn,330000000000,浙江省,1,
cn,330100000000,杭州市,2,330000000000
cn,330106000000,西湖区,3,330100000000
cn,330106002000,北山街道,4,330106000000
cn,330106002051,甲社区,5,330106002000
cn,330106002053,乙社区,5,330106002000
cn,330200000000,宁波市,2,330000000000
"""
BUILT = ("staging", "theme", "item", "business", "sharing", "factor", "finding", "mart")


def event(number: int, version: int = 1, day: int = 1, **given: Any) -> dict[str, Any]:
    """An event of March 2026, reported at 10:00 in Shanghai of that day."""
    reported_at = at("2026-03-01 02:00:00") + timedelta(days=day - 1)
    return {
        "event_id": f"E{number}",
        "class_code": "0101",
        "level_code": "1",
        "description": "楼道堆物",
        "region_code": VILLAGE,
        "grid_id": "G1",
        "longitude": 120.14,
        "latitude": 30.26,
        "occurred_at": reported_at,
        "reported_at": reported_at,
        "deadline_at": reported_at + timedelta(days=2),
        "state_code": "reported",
        "channel_code": "grid",
        "organisation_name": "北山街道",
        "source_version": version,
        "changed_at": reported_at + timedelta(hours=version),
        **given,
    }


def gone(number: int, version: int) -> dict[str, Any]:
    """The deletion of an event."""
    return {"_op": "delete", "event_id": f"E{number}", "source_version": version, "changed_at": at("2026-03-20 00:00:00")}


def step(number: int, order: int, action: str, minutes: int) -> dict[str, Any]:
    """A step of handling an event, so many minutes after 10:00 on 1 March."""
    moment = at("2026-03-01 02:00:00") + timedelta(minutes=minutes)
    return {
        "step_id": f"E{number}-{order}",
        "event_id": f"E{number}",
        "step_no": order,
        "action_code": action,
        "from_state": None if order == 1 else "reported",
        "to_state": "reported" if order == 1 else "accepted",
        "happened_at": moment,
        "source_version": 1,
        "changed_at": moment,
    }


def grid(name: str, region_code: str = VILLAGE, version: int = 1) -> dict[str, Any]:
    """A grid."""
    return {
        "grid_id": name,
        "grid_name": f"网格{name}",
        "region_code": region_code,
        "grid_type_code": "urban",
        "longitude": 120.14,
        "latitude": 30.26,
        "source_version": version,
        "changed_at": at("2026-01-01 00:00:00") + timedelta(days=version),
    }


def member(name: str, role: str, grid_id: str = "G1", version: int = 1, **given: Any) -> dict[str, Any]:
    """A member of a grid's team."""
    row = {"member_id": name, "grid_id": grid_id, "role_code": role, "joined_date": at("2025-01-01 00:00:00").date(), "source_version": version}
    return {**row, "changed_at": at("2026-01-01 00:00:00") + timedelta(days=version), **given}


def region(code: str, level: int, parent: str | None, version: int = 1, since: str = "2020-01-01", **given: Any) -> dict[str, Any]:
    """A region as the province reports it."""
    key = {"region_code": code, "region_name": f"区划{code[:9]}", "region_level": level, "parent_code": parent, "source_version": version}
    return {**key, "valid_from": at(f"{since} 00:00:00").date(), "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version), **given}


def day(when: str, day_type: str, version: int = 1, region_code: str = "330000000000", **given: Any) -> dict[str, Any]:
    """A day of the calendar that the province publishes."""
    key = {"calendar_date": at(f"{when} 00:00:00").date(), "region_code": region_code, "source_version": version}
    return {**key, "day_type": day_type, "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version), **given}


def item(class_code: str, version: int = 1, **given: Any) -> dict[str, Any]:
    """An item of the catalogue that the province publishes."""
    key = {"item_code": f"PA{class_code}0000", "item_version": 1, "item_name": "公布的事项", "class_code": class_code, "limit_hours": 36}
    key |= {"valid_from": at("2026-01-01 00:00:00").date()}
    return {**key, "source_version": version, "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version), **given}


def organisation(name: str, kind: str, level: int, parent: str | None, region_code: str, version: int = 1, **given: Any) -> dict[str, Any]:
    """An organisation of the tree."""
    row = {"organisation_id": name, "organisation_name": f"机构{name}", "organisation_type_code": kind, "organisation_level": level}
    row |= {"parent_organisation_id": parent, "region_code": region_code, "dingtalk_id": f"GO_{name}", "source_version": version}
    return {**row, "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version), **given}


def house(village: str, version: int, occupants: int = 3) -> dict[str, Any]:
    """A house that was counted to another village."""
    row = {"house_id": "H1", "region_code": village, "house_use_code": "residence", "is_rented": True, "occupant_count": occupants}
    return {**row, "source_version": version, "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version)}


def course(state: str, version: int, **given: Any) -> dict[str, Any]:
    """A member's course of March, due on the 10th."""
    row = {"progress_id": "C1", "course_id": "K1", "member_id": "hangzhou-M1", "role_code": "leader", "region_code": VILLAGE, "studied_minutes": 30}
    row |= {"assigned_at": at("2026-02-28 16:00:00"), "deadline_at": at("2026-03-10 00:00:00"), "state_code": state, "source_version": version}
    return {**row, "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version), **given}


def points(number: int, amount: int, when: str) -> dict[str, Any]:
    """Points that a member earned or lost."""
    row = {"point_id": f"P{number}", "member_id": "hangzhou-M1", "role_code": "leader", "region_code": VILLAGE, "points": amount}
    return {**row, "rule_code": "daily_study", "earned_at": at(when), "source_version": 1, "changed_at": at(when)}


def call(number: int, event_id: str | None, state: str = "transferred", version: int = 1) -> dict[str, Any]:
    """A call to the police on 2 March, handed over to the grid after half an hour where it names an event."""
    row: dict[str, Any] = {"police_event_id": f"J{number}", "nature_code": "non_police", "category_code": "noise", "region_code": VILLAGE}
    row |= {"reported_at": at("2026-03-02 02:00:00"), "state_code": state, "source_version": version}
    row |= {"direction_code": "to_grid", "transferred_at": at("2026-03-02 02:30:00"), "transferred_event_id": event_id} if event_id else {}
    return {**row, "changed_at": at("2026-03-02 03:00:00") + timedelta(days=version)}


def assessment(score: float | None, state: str, version: int) -> dict[str, Any]:
    """What a city gives itself for an indicator."""
    row = {"indicator_code": "A01", "region_code": "330100000000", "quarter_start_date": at("2026-01-01 00:00:00").date(), "full_score": 4.0}
    row |= {"self_score": score, "state_code": state, "evidence_count": 2, "source_version": version}
    return {**row, "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version)}


def acceptance(round_no: int, score: float, conclusion: str, **given: Any) -> dict[str, Any]:
    """An acceptance of it by the city."""
    row = {"acceptance_id": f"Y{round_no}", "indicator_code": "A01", "region_code": "330100000000", "level_code": "city", "round_no": round_no}
    row |= {"quarter_start_date": at("2026-01-01 00:00:00").date(), "score": score, "conclusion_code": conclusion, "source_version": 1}
    return {**row, "accepted_at": at("2026-03-05 00:00:00"), "changed_at": at("2026-03-05 00:00:00"), **given}


def connection(stage: str, state: str, planned: str, version: int = 1, **given: Any) -> dict[str, Any]:
    """A stage of connecting an application in a city."""
    row = {"application_code": "mediation", "region_code": "330100000000", "stage_code": stage, "state_code": state, "open_problem_count": 2}
    row |= {"planned_date": at(f"{planned} 00:00:00").date(), "source_version": version}
    return {**row, "changed_at": at("2026-03-01 00:00:00") + timedelta(days=version), **given}


def finding_id(number: int) -> str:
    """That of the finding on an event which the model of invalid events judges once."""
    return hashlib.sha256(f"invalid_event|event|hangzhou-E{number}|once".encode()).hexdigest()[:32]


def handled(number: int, deadline: str, version: int = 1, **given: Any) -> dict[str, Any]:
    """How far the handling of a finding has come."""
    row = {
        "result_id": f"R{number}",
        "origin_type": "finding",
        "origin_id": finding_id(number),
        "region_code": VILLAGE,
        "outcome_code": "in_progress",
    }
    row |= {"organisation_name": "北山街道", "dispatched_at": at("2026-03-11 00:00:00"), "deadline_at": at(deadline), "source_version": version}
    return {**row, "reported_at": at("2026-03-11 01:00:00"), "changed_at": at("2026-03-11 00:00:00") + timedelta(days=version), **given}


def answered(number: int) -> dict[str, Any]:
    """An answer to a finding."""
    row: dict[str, Any] = {"feedback_id": f"A{number}", "finding_id": finding_id(number), "model": "invalid_event", "subject_type": "event"}
    row |= {"subject_id": f"hangzhou-E{number}", "region_code": VILLAGE, "state_code": "signed", "organisation_name": "北山街道", "source_version": 1}
    moments = {name: at(f"2026-03-1{day} 00:00:00") for name, day in (("dispatched_at", 3), ("signed_at", 4), ("reported_at", 4), ("changed_at", 4))}
    return row | moments


def begin_other_business(run: Run) -> None:
    """A house, a course, points, calls to the police, an assessment and a connection, as they begin."""
    given: dict[str, Any] = {"delivery": 1, "received_at": "2026-03-12 00:00:00"}
    land(run, "public_security__house", [house(VILLAGE, 1), house(NEXT_VILLAGE, 4)], **given)
    land(run, "province_platform__course_progress", [course("studying", 1)], **given)
    land(run, "province_platform__training_point", [points(1, 10, "2026-02-27 00:00:00"), points(2, 10, "2026-03-01 00:00:00")], **given)
    land(run, "public_security__police_event", [call(1, "hangzhou-E1"), call(2, "hangzhou-E11"), call(3, None, "received")], **given)
    land(run, "province_platform__self_assessment", [assessment(None, "filling", 1)], **given)
    failed = acceptance(1, 1.0, "failed", supervision_deadline_date=at("2026-03-09 00:00:00").date())
    land(run, "province_platform__acceptance", [failed], **given)
    stages = [connection("manual", "done", "2026-03-01", finished_date=at("2026-03-04 00:00:00").date()), connection("live", "blocked", "2026-03-20")]
    land(run, "province_platform__application_connection", stages, **given)


def end_other_business(run: Run) -> None:
    """They go on; a version of the house comes late."""
    given: dict[str, Any] = {"delivery": 2, "received_at": "2026-03-15 00:00:00"}
    land(run, "public_security__house", [house(VILLAGE, 3, occupants=5), house(VILLAGE, 2)], **given)
    land(run, "province_platform__course_progress", [course("finished", 2, finished_at=at("2026-03-11 00:00:00"), studied_minutes=45)], **given)
    land(run, "province_platform__training_point", [points(3, -5, "2026-03-02 00:00:00")], **given)
    land(run, "public_security__police_event", [call(1, "hangzhou-E1", "returned", version=2)], **given)
    land(run, "province_platform__self_assessment", [assessment(3.5, "reviewed", 2)], **given)
    land(run, "province_platform__acceptance", [acceptance(2, 3.0, "passed_with_remarks")], **given)
    land(run, "province_platform__application_connection", [connection("live", "in_progress", "2026-03-12", version=2)], **given)


def refuse(run: Run) -> None:
    """Of twelve events ten were accepted, two refused."""
    reasons = [[("maximum", "longitude")], [("maximum", "longitude"), ("code_list", "class_code")]]
    held(run, "2026-03-12 00:00:00", "refused", 0, reasons)
    told(run, "2026-03-12 00:00:00", received=12, accepted=10, refused=2)


def release(run: Run) -> None:
    """A replay has accepted the first of the two."""
    held(run, "2026-03-15 00:00:00", "released", 1, [[]])
    told(run, "2026-03-15 00:00:00", counted_at=at("2026-03-12 00:00:00"), state="replayed", accepted=1, refused=-1)


def held(run: Run, received_at: str, state: str, number: int, reasons: list[list[tuple[str, str]]]) -> None:
    run.tables.ensure(f"quarantine.{EVENT}", QUARANTINE_SCHEMA)
    rows = [
        {
            "_sender_code": "hangzhou",
            "_received_at": at(received_at),
            "_source_position": f"files:hangzhou/e.jsonl@1#{place:010d}",
            "_delivery_id": "files:hangzhou/e.jsonl@1",
            "reasons": [{"rule": rule, "field": field, "detail": "expected less"} for rule, field in why],
            "state": state,
            "state_number": number,
        }
        for place, why in enumerate(reasons, 11)
    ]
    run.tables.append(f"quarantine.{EVENT}", pa.Table.from_pylist(rows, QUARANTINE_SCHEMA))


def told(run: Run, received_at: str, **given: Any) -> None:
    run.tables.ensure("ops.receipt", RECEIPT_SCHEMA)
    row = dict.fromkeys(("received", "accepted", "refused", "duplicate", "waiting"), 0) | {
        "_delivery_id": "files:hangzhou/e.jsonl@1",
        "feed": EVENT,
        "sender_code": "hangzhou",
        "received_at": at(received_at),
        "state": "landed",
        "row_outcomes": b"ar",
    }
    run.tables.append("ops.receipt", pa.Table.from_pylist([row | given], RECEIPT_SCHEMA))


def divide(run: Run) -> None:
    """On 10 March a county becomes two, below which its townships and villages have new codes; one village becomes two; a name was corrected late."""
    gone: dict[str, Any] = {"version": 2, "valid_to": at("2026-03-10 00:00:00").date()}
    since: dict[str, Any] = {"since": "2026-03-10"}
    rows = [
        region("330110000000", 3, "330100000000", **gone),
        region("330191000000", 3, "330100000000", **since, replaces_codes="330110000000"),
        region("330192000000", 3, "330100000000", **since, replaces_codes="330110000000"),
        region("330110001000", 4, "330110000000", **gone),
        region("330191001000", 4, "330191000000", **since, replaces_codes="330110001000"),
        region("330110001051", 5, "330110001000", **gone),
        region("330191001051", 5, "330191001000", **since, replaces_codes="330110001051"),
        # This township keeps its code, and one of its villages, below the other county.
        region("330110002000", 4, "330192000000", version=2, **since),
        region("330110002052", 5, "330110002000", **gone),
        region("330110002061", 5, "330110002000", **since, replaces_codes="330110002052"),
        region("330110002062", 5, "330110002000", **since, replaces_codes="330110002052"),
        # The newest version came with the first delivery.
        region("330110002051", 5, "330110002000", version=2, since="2026-02-01", region_name="丁社区"),
    ]
    land(run, "city_platform__region", rows, delivery=2, received_at="2026-03-13 00:00:00")


def first(run: Run) -> None:
    """Ten events; the grid of some has not arrived yet. A county that is to be divided."""
    refuse(run)
    begin_other_business(run)
    county = [region("330110000000", 3, "330100000000"), region("330110001000", 4, "330110000000"), region("330110001051", 5, "330110001000")]
    county += [region("330110002000", 4, "330110000000"), region("330110002051", 5, "330110002000"), region("330110002052", 5, "330110002000")]
    county += [region("330110002051", 5, "330110002000", version=3, since="2026-03-05", region_name="丁村社区")]
    # Announced and called off before it began.
    county += [region("330110002053", 5, "330110002000", since="2026-06-01")]
    county += [{"_op": "delete", "region_code": "330110002053", "source_version": 2, "changed_at": at("2026-03-08 00:00:00")}]
    land(run, "city_platform__region", county, delivery=1, received_at="2026-03-12 00:00:00")
    published = [day("2026-03-07", "makeup_workday"), day("2026-03-09", "holiday")]
    land(run, "province_platform__work_calendar", published, delivery=1, received_at="2026-03-12 00:00:00")
    items = [item("0904"), item("0101"), item("0105", limit_hours=8, limit_kind_code="working", valid_from=at("2025-01-01 00:00:00").date())]
    land(run, "province_platform__item_catalogue", items, delivery=1, received_at="2026-03-12 00:00:00")
    # The last one of February.
    events = [*(event(n, day=n) for n in range(1, 11)), event(12, day=-20)]
    events[7] |= {"class_code": "0105", "closed_at": at("2026-03-11 03:00:00"), "state_code": "closed"}
    # Nothing was found, says who reports these; a model finds them invalid. Of one the handling will be overdue when the third delivery comes.
    events += [event(13, day=6, description="巡查未发现问题"), event(14, day=0, description="巡查未发现问题")]
    land(run, "city_platform__event", events, delivery=1, received_at="2026-03-12 00:00:00")
    results = [handled(13, "2026-03-20 00:00:00"), handled(14, "2026-03-14 00:00:00")]
    land(run, "city_platform__handling_result", results, delivery=1, received_at="2026-03-12 00:00:00")
    land(run, "city_platform__event", [event(1, day=2)], delivery=1, received_at="2026-03-12 00:00:00", sender="ningbo")
    tree = [
        organisation("O1", "city_centre", 2, None, "330100000000"),
        organisation("O2", "county_centre", 3, "O1", "330106000000"),
        organisation("O3", "command_room", 4, "O2", "330106002000"),
        organisation("O4", "safety_platform", 4, "O3", "330106002000", dingtalk_id="GO_O3"),
        organisation("O5", "grid", 6, "O3", VILLAGE, grid_id="G1", organisation_name="网格G1", dingtalk_id=None),
        organisation("O6", "county_centre", 3, "O1", "330110000000"),
        organisation("O7", "command_room", 4, "O6", "330106002000"),
        organisation("O8", "command_room", 4, "O9", "330106002000", dingtalk_id=None),
    ]
    land(run, "city_platform__organisation", tree, delivery=1, received_at="2026-03-12 00:00:00")
    # The one of February belongs to an event of March that will be deleted.
    steps = [
        step(1, 1, "report", 0),
        step(12, 1, "report", -30_000),
        step(10, 1, "report", -20_000),
        step(9, 1, "report", -2000),
        step(9, 2, "accept", 10),
    ]
    land(run, "city_platform__event_step", steps, delivery=1, received_at="2026-03-12 00:00:00")
    land(run, "city_platform__team_member", [member("M1", "leader"), member("M2", "other")], delivery=1, received_at="2026-03-12 00:00:00")


def second(run: Run) -> None:
    """Corrections, moves to another day, month and class, deletes, a repeat, a late older version, the grid, further steps."""
    divide(run)
    # A ring, another external id, and a parent that was missing.
    tree = [
        organisation("O2", "county_centre", 3, "O3", "330106000000", version=2, dingtalk_id="GO_new"),
        organisation("O9", "county_centre", 3, "O1", "330106000000"),
    ]
    land(run, "city_platform__organisation", tree, delivery=2, received_at="2026-03-13 00:00:00")
    # From 6 March a class is another item, for which there is less time.
    items = [
        item("0101", version=2, valid_from=at("2026-01-01 00:00:00").date(), valid_to=at("2026-03-06 00:00:00").date()),
        item("0101", item_code="PA01990000", limit_hours=24, valid_from=at("2026-03-06 00:00:00").date(), replaces_codes="PA01010000"),
    ]
    land(run, "province_platform__item_catalogue", items, delivery=3, received_at="2026-03-13 00:00:00")
    # The same moment as the first delivery: two cuts may lie within one.
    changes = [
        event(2, 3, day=2, closed_at=at("2026-03-02 05:30:00"), state_code="closed"),
        event(3, 2, day=8, class_code="0102"),
        gone(4, 2),
        gone(5, 5),
        event(6, day=6),
        event(7, 3, day=7, region_code=NEXT_VILLAGE),
        event(12, 2, day=3),
    ]
    land(run, "city_platform__event", changes, delivery=2, received_at="2026-03-12 00:00:00")
    land(run, "city_platform__grid", [grid("G1"), grid("G2")], delivery=1, received_at="2026-03-13 00:00:00")
    land(
        run,
        "city_platform__event_step",
        [step(1, 2, "accept", 35), step(1, 3, "dispatch", 90), step(12, 2, "accept", 10)],
        delivery=2,
        received_at="2026-03-13 00:00:00",
    )
    land(run, "city_platform__team_member", [member("M2", "dedicated", version=2)], delivery=2, received_at="2026-03-13 00:00:00")
    # Events look calendar and items up, and are all counted anew when these change.
    taken_back = {"_op": "delete", "calendar_date": at("2026-03-07 00:00:00").date(), "region_code": "330000000000", "source_version": 2}
    of_a_city = day("2026-03-10", "holiday", region_code="330100000000")
    land(run, "province_platform__work_calendar", [taken_back, of_a_city], delivery=2, received_at="2026-03-13 00:00:00")
    without_item = {"_op": "delete", "item_code": "PA09040000", "item_version": 1, "source_version": 2}
    land(run, "province_platform__item_catalogue", [without_item], delivery=2, received_at="2026-03-13 00:00:00")


def third(run: Run) -> None:
    """Older versions that come late (also after a deletion), a return from deletion, steps withdrawn and moved, a grid moved, a new day."""
    release(run)
    end_other_business(run)
    land(run, "city_platform__problem_feedback", [answered(13)], delivery=3, received_at="2026-03-15 00:00:00")
    changes = [
        event(2, 2, day=2, class_code="0103"),
        event(5, 4, day=5, class_code="0104"),
        event(4, 3, day=4, state_code="handling"),
        event(7, 2, day=7),
        event(11, day=14),
        gone(10, 9),
    ]
    land(run, "city_platform__event", changes, delivery=3, received_at="2026-03-15 00:00:00")
    withdrawn = {"_op": "delete", "step_id": "E1-2", "source_version": 2, "changed_at": at("2026-03-02 00:00:00")}
    of_another = {**step(12, 2, "accept", 10), "event_id": "E8", "source_version": 2}
    land(run, "city_platform__event_step", [withdrawn, of_another], delivery=3, received_at="2026-03-15 00:00:00")
    # The older version of G2 comes last.
    grids = [grid("G1", NEXT_VILLAGE, version=2), grid("G2", NEXT_VILLAGE, version=0)]
    land(run, "city_platform__grid", grids, delivery=2, received_at="2026-03-15 00:00:00")
    left = member("M1", "leader", version=2, left_date=at("2026-03-10 00:00:00").date())
    land(run, "city_platform__team_member", [left], delivery=3, received_at="2026-03-15 00:00:00")


DELIVERIES: dict[str, Callable[[Run], None]] = {"2026-03-11 16:00:00": first, "2026-03-12 16:00:00": second, "2026-03-15 16:00:00": third}
LAST = "2026-03-15 16:00:00"


def build(home: Path, as_of: str, *deliveries: Callable[[Run], None]) -> dict[str, dict[str, Any]]:
    run = new_run(home, as_of, home.parent / "declared", run_id="test" if as_of == LAST else as_of[:10])
    try:
        for deliver in deliveries:
            deliver(run)
        return {name: run.perform(name) for name in (*STEPS, "check")}
    finally:
        run.close()


@contextmanager
def watched() -> Iterator[list[str]]:
    """The paths of the models that dbt builds in the meantime."""
    asked: list[str] = []
    run = transform._Dbt.run

    def noted(self: transform._Dbt, options: list[str], models: int) -> list[Any]:
        results = run(self, options, models)
        asked.extend(r.node.original_file_path.removeprefix("models/").removesuffix(".sql") for r in results if r.node.resource_type == "model")
        return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transform._Dbt, "run", noted)
        yield asked


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, dict[str, Any]]]:
    """A lake built in three increments, one built at once, and what the last increment returned; under `asked` the models that it built."""
    folder = tmp_path_factory.mktemp("increments")
    # A handful of regions in the place of the province's 27,036.
    (folder / "declared" / "vocabularies").mkdir(parents=True)
    (folder / "declared" / "vocabularies" / "regions_cn.csv").write_text(REGIONS, encoding="utf-8")
    returned: dict[str, dict[str, Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        for number, (as_of, deliver) in enumerate(DELIVERIES.items()):
            # From the second on as if there were many rows, as there are in the lake that is built at once.
            if number:
                patch.setattr(transform, "SPAN_ROWS", 1)
            with watched() as asked:
                returned = build(folder / "grown", as_of, deliver)
        returned["asked"] = dict.fromkeys(asked, True)
        returned["whole"] = build(folder / "whole", LAST, *DELIVERIES.values())
    return folder / "grown", folder / "whole", returned


def one(home: Path, name: str, **where: Any) -> dict[str, Any]:
    found = [row for row in Tables(home / "tables").read(name).to_pylist() if all(row[k] == v for k, v in where.items())]
    assert len(found) == 1, f"{name} where {where}: {len(found)} rows"
    return found[0]


def test_three_increments_end_where_one_full_build_ends(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, whole, _ = lakes
    names = [name for name in Tables(whole / "tables").names() if name.partition(".")[0] in BUILT]
    assert len(names) > 35
    differing = {}
    for name in names:
        one_way, other_way = Tables(grown / "tables").read(name), Tables(whole / "tables").read(name)  # noqa: F841 - DuckDB reads them by name
        differing[name] = duckdb.sql("(from one_way except all from other_way) union all (from other_way except all from one_way)").fetchall()
    assert {name: found for name, found in differing.items() if found} == {}
    # Each month's steps in a commit of their own, and those of events that have steps in several.
    steps = Tables(whole / "tables").read("business.event_step")
    assert len(set(steps.column("business_month").to_pylist())) == Tables(whole / "tables").version("business.event_step") == 2


def test_checks_of_increments_find_what_a_check_of_everything_finds(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    _, _, returned = lakes

    def broken(failures: list[dict[str, Any]]) -> dict[tuple[str, ...], int]:
        return {(f["suite"], f["expectation"], f["title"], f["column"] or ""): f["unexpected_count"] for f in failures}

    grown, whole = returned["check"]["failures"], returned["whole"]["check"]["failures"]
    assert broken(grown) == broken(whole)
    # Counted on from what the first check found. The step of February, which is as it was: its event has gone.
    told = {(f["table"], f["column"]): f["observed"] for f in grown}
    assert told["business.event_step", "event_id"] == next(
        f["observed"] for f in whole if (f["table"], f["column"]) == ("business.event_step", "event_id")
    )


def test_what_cannot_have_changed_is_not_built(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    _, _, returned = lakes
    asked = returned["asked"].keys()
    brought = {"event", "event_step", "grid", "team_member", "problem_feedback"}
    staged = {name.removeprefix("staging/stg_city_platform__") for name in asked if "city_platform__" in name}
    assert staged == brought
    assert {"staging/row_conservation", "theme/team", "business/event", "mart/event_daily", "mart/region_overview"} <= asked
    # Its steps brought nothing, but a dispute may be overdue since yesterday.
    assert "business/dispute" in asked
    assert (
        not {
            "theme/region",
            "theme/key_person",
            "theme/key_place",
            "theme/organisation",
            "item/event_level",
            "item/item",
            "theme/working_day",
            "theme/calendar_region",
            "business/visit",
        }
        & asked
    )
    assert returned["build"]["tables"].keys() >= {"theme.person", "business.event"}, "the result names every table"


def test_a_table_that_something_else_has_changed_is_built_again(lakes: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    grown, _, _ = lakes
    shutil.copytree(grown, tmp_path / "lake")
    shutil.copytree(grown.parent / "declared", tmp_path / "declared")
    tables = Tables(tmp_path / "lake" / "tables")
    steps = tables.read("business.event_step")
    DeltaTable(tables.path("business.event_step")).delete(f"step_id = '{steps.column('step_id')[0].as_py()}'")
    run = new_run(tmp_path / "lake", LAST, tmp_path / "declared")
    try:
        with watched() as asked:
            run.perform("build")
    finally:
        run.close()
    assert set(asked) == {"business/event_step", "business/event"}
    assert tables.read("business.event_step").sort_by("step_id").equals(steps.sort_by("step_id"))


def test_libraries_built_one_by_one_are_those_of_the_whole_step(lakes: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    grown, _, _ = lakes
    shutil.copytree(grown, tmp_path / "lake")
    shutil.copytree(grown.parent / "declared", tmp_path / "declared")
    tables = Tables(tmp_path / "lake" / "tables")
    tables.overwrite("theme.grid", tables.read("theme.grid").slice(0, 0))
    run = new_run(tmp_path / "lake", LAST, tmp_path / "declared", run_id="one by one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transform._Dbt, "test", lambda *_: [])
        try:
            run.perform("stage")
            with pytest.raises(RunError, match=r"build\.business reads item, theme, which this run has not built"):
                run.perform("build", library="business")
            done = [run.perform("build", library=library) for library in ("theme", "item", "business", "sharing")][-1]
            with watched() as asked:
                run.perform("build", library="business")
        finally:
            run.close()
    assert asked == [], "nothing has changed since"
    assert {name.partition(".")[0] for name in done["tables"]} == set(LIBRARY)
    for name in done["tables"]:
        one_way, other_way = tables.read(name), Tables(grown / "tables").read(name)  # noqa: F841 - DuckDB reads them by name
        assert duckdb.sql("(from one_way except all from other_way) union all (from other_way except all from one_way)").fetchall() == [], name


def test_a_run_does_not_go_on_with_the_staging_tables_of_another(lakes: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(lakes[0], tmp_path / "lake")
    overtaken = new_run(tmp_path / "lake", LAST, lakes[0].parent / "declared", run_id="overtaken")
    overtaken.steps["stage"] = {}
    try:
        with pytest.raises(RunError, match="run overtaken: mart expected the staging tables of this run, run test has made them anew"):
            overtaken.perform("mart")
    finally:
        overtaken.close()


def test_models_of_what_happens_follow_the_changes(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    """Which they do is in what dbt compiled for the last increment."""
    compiled = lakes[0] / "dbt" / "target" / "compiled" / "gridlake" / "models"
    staged = [f"staging/stg_city_platform__{entity}" for entity in ("event", "event_step")]
    for model in (
        *staged,
        "business/event_step",
        "business/event",
        "mart/event_daily",
        "mart/event_timing",
        "mart/overdue",
        "mart/finding",
        "mart/loop_closure",
    ):
        assert '"months": ["2026-0' in (compiled / f"{model}.sql").read_text(encoding="utf-8"), model


def test_increments_are_merged_not_rebuilt(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    for table in ("staging/stg_city_platform__event", "business/event", "business/event_step", "mart/event_daily"):
        commits = [json.loads(line) for path in (grown / "tables" / table / "_delta_log").glob("*.json") for line in path.read_text().splitlines()]
        operations = sorted(entry["commitInfo"]["operation"] for entry in commits if "commitInfo" in entry)
        assert operations.count("MERGE") == 2, f"{table}: {operations}"


def test_a_loop_that_the_clock_alone_makes_overdue_is_counted(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    february, march = (one(lakes[0], "mart.loop_closure", business_date=at(f"{day} 00:00:00").date()) for day in ("2026-02-28", "2026-03-06"))
    assert [(loop["dispatched_count"], loop["overdue_count"], loop["signed_count"]) for loop in (february, march)] == [(1, 1, 0), (1, 0, 1)]


def test_a_replay_moves_rows_on_the_day_on_which_they_came(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    day_of_receipt = one(lakes[0], "mart.feed_quality", feed=EVENT)
    states = ("business_date", "received", "accepted", "refused", "duplicate", "waiting")
    assert [day_of_receipt[name] for name in states] == [at("2026-03-12 00:00:00").date(), 12, 11, 1, 0, 0]
    assert day_of_receipt["last_received_at"] == at("2026-03-12 00:00:00")
    refusals = Tables(lakes[0] / "tables").read("mart.refusal").to_pylist()
    assert {(r["rule"], r["field"], r["row_count"]) for r in refusals} == {("maximum", "longitude", 1), ("code_list", "class_code", 1)}


def test_the_newest_version_wins_in_whatever_order_versions_arrive(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    assert one(grown, "business.event", event_id="hangzhou-E2")["state_code"] == "closed"
    assert one(grown, "business.event", event_id="hangzhou-E7")["region_code"] == NEXT_VILLAGE


def test_deletes_hold_against_older_versions_and_yield_to_newer_ones(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    events = set(Tables(grown / "tables").read("business.event").column("event_id").to_pylist())
    assert "hangzhou-E5" not in events
    assert "hangzhou-E10" not in events
    assert "hangzhou-E4" in events
    assert one(grown, "staging.stg_city_platform__event", event_id="hangzhou-E5")["_op"] == "delete"


def test_a_published_day_lies_over_the_vocabularys_until_it_is_taken_back(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    days = [row for row in Tables(grown / "tables").read("theme.work_calendar").to_pylist() if f"{row['calendar_date']:%Y-%m}" == "2026-03"]
    said = {(row["region_code"], row["calendar_date"].day): (row["day_type"], row["is_working_day"], row["is_default"]) for row in days}
    assert len(said) == len(days) == 32
    province, city = "330000000000", "330100000000"
    assert said[province, 7] == ("weekend", False, True)
    assert said[province, 9] == ("holiday", False, False)
    assert said[province, 10] == ("workday", True, True)
    assert said[city, 10] == ("holiday", False, False)


def test_a_class_without_a_published_item_is_an_item_by_the_code_list(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    published, again = one(grown, "item.item", item_code="PA01010000"), one(grown, "item.item", class_code="0904")
    assert (published["item_code"], published["item_name"], published["limit_hours"], published["is_default"]) == (
        "PA01010000",
        "公布的事项",
        36,
        False,
    )
    assert (again["item_code"], again["item_name"], again["limit_hours"], again["is_default"]) == ("0904", "楼道堆放杂物", 48, True)
    without_class = one(grown, "item.item", dispute_type_code="medical")
    assert (without_class["item_name"], without_class["class_code"]) == ("医疗纠纷", None)
    assert one(grown, "item.item", dispute_type_code="family")["item_code"] == "0102"


def spans(home: Path, name: str, *columns: str, **where: Any) -> list[tuple[Any, ...]]:
    """The rows of a history in order, of the columns and the days on which they begin and end."""
    found = [row for row in Tables(home / "tables").read(name).to_pylist() if all(row[k] == v for k, v in where.items())]
    days = [{k: f"{v:%Y-%m-%d}" if k.startswith("valid_") and v else v for k, v in row.items()} for row in found]
    return sorted((tuple(row[c] for c in (*columns, "valid_from", "valid_to")) for row in days), key=str)


def test_a_history_has_every_span_in_its_place_whenever_its_versions_came(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    assert spans(grown, "theme.grid_history", "region_code", grid_id="hangzhou-G1") == [
        (VILLAGE, "2026-01-02", "2026-01-03"),
        (NEXT_VILLAGE, "2026-01-03", None),
    ]
    assert spans(grown, "theme.grid_history", "region_code", grid_id="hangzhou-G2") == [
        (VILLAGE, "2026-01-02", None),
        (NEXT_VILLAGE, "2026-01-01", "2026-01-02"),
    ]
    assert spans(grown, "theme.team_member_history", "role_code", member_id="hangzhou-M2") == [
        ("dedicated", "2026-01-03", None),
        ("other", "2026-01-02", "2026-01-03"),
    ]
    assert spans(grown, "theme.region_history", "region_name", region_code="330110002051") == [
        ("丁村社区", "2026-03-05", None),
        ("丁社区", "2026-02-01", "2026-03-05"),
        ("区划330110002", "2020-01-01", "2026-02-01"),
    ]
    assert spans(grown, "theme.house_history", "region_code", "occupant_count", house_id="hangzhou-H1") == [
        (VILLAGE, 3, "2026-03-02", "2026-03-04"),
        (VILLAGE, 5, "2026-03-04", "2026-03-05"),
        (NEXT_VILLAGE, 3, "2026-03-05", None),
    ]
    called_off = spans(grown, "theme.region_history", "is_current", region_code="330110002053")
    assert called_off == [(False, "2026-06-01", "2026-06-01")]


def above(home: Path, code: str, day: str, level: int) -> list[str]:
    """What a region stood below on a day, or what stood in its place."""
    rows = spans(home, "mart.region_closure_history", "ancestor_code", region_code=code, ancestor_level=level)
    return [ancestor for ancestor, begun, ended in rows if begun <= day and (ended is None or day < ended)]


def test_codes_of_then_and_of_now_both_resolve_on_any_day(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    before, after = "2026-03-09", "2026-03-10"
    # By new codes, by old codes, and a township that kept its own.
    for village in ("330110001051", "330191001051"):
        assert (above(grown, village, before, 3), above(grown, village, after, 3)) == (["330110000000"], ["330191000000"])
        assert (above(grown, village, before, 5), above(grown, village, after, 5)) == (["330110001051"], ["330191001051"])
    assert (above(grown, "330110002051", before, 3), above(grown, "330110002051", after, 3)) == (["330110000000"], ["330192000000"])
    # A part of the new county was all of it; what named the old county, or the divided village, names no one of the new ones.
    assert above(grown, "330192000000", before, 3) == ["330110000000"]
    assert (above(grown, "330110000000", after, 3), above(grown, "330110000000", after, 2)) == ([], ["330100000000"])
    assert [above(grown, "330110002052", after, level) for level in (5, 4, 3)] == [[], ["330110002000"], ["330192000000"]]


def test_a_change_of_regions_says_what_went_where(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    rows = Tables(grown / "tables").read("mart.region_change").to_pylist()
    said = {(r["old_code"], r["new_code"]): (r["change_code"], r["village_count"], r["village_share"]) for r in rows}
    assert said == {
        ("330110000000", "330191000000"): ("split", 1, pytest.approx(1 / 3)),
        # The divided village, whose halves lie there, and the one that kept its code.
        ("330110000000", "330192000000"): ("split", 2, pytest.approx(2 / 3)),
        ("330110001000", "330191001000"): ("renumbered", 1, 1.0),
        ("330110001051", "330191001051"): ("renumbered", 1, 1.0),
        # How much of a village went where nobody says.
        ("330110002052", "330110002061"): ("split", 0, 0.0),
        ("330110002052", "330110002062"): ("split", 0, 0.0),
    }


def test_the_tree_of_organisations_says_what_does_not_fit(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    tree = {r["organisation_id"][-2:]: r for r in Tables(grown / "tables").read("theme.organisation_tree").to_pylist()}
    assert tree["O7"]["organisation_path"] == "hangzhou-O1/hangzhou-O6/hangzhou-O7"
    assert (tree["O8"]["name_path"], tree["O8"]["depth"], tree["O8"]["tree_state"]) == ("机构O1/机构O9/机构O8", 2, "whole")
    assert {name for name, r in tree.items() if r["tree_state"] == "ring"} == {"O2", "O3", "O4", "O5"}
    drift = Tables(grown / "tables").read("theme.organisation_drift").to_pylist()
    assert {(r["drift_code"], r["subject_id"]) for r in drift if r["subject_type"] != "organisation_name"} == {
        *(("ring", f"hangzhou-O{n}") for n in (2, 3, 4, 5)),
        ("parent_below", "hangzhou-O2"),
        ("parent_elsewhere", "hangzhou-O2"),
        ("parent_elsewhere", "hangzhou-O7"),
        ("external_id_shared", "hangzhou-O3"),
        ("external_id_shared", "hangzhou-O4"),
        ("external_id_changed", "hangzhou-O2"),
        ("external_id_missing", "hangzhou-O8"),
        ("grid_without_organisation", "hangzhou-G2"),
    }
    changed = one(grown, "theme.organisation_drift", drift_code="external_id_changed")
    assert (changed["since"], changed["reason_zh"]) == (at("2026-03-03 00:00:00"), "浙政钉标识由 GO_O2 改为 GO_new")
    unknown = one(grown, "theme.organisation_drift", unit_name="北山街道", sender_code="hangzhou")
    assert unknown["drift_code"] == "name_unknown"


def test_what_falls_under_an_item_that_was_replaced_is_counted_with_the_new_limit(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    days = {r["business_date"]: r for r in Tables(grown / "tables").read("mart.item_daily").to_pylist() if r["subject_code"] == "0101"}
    changed_on = at("2026-03-06 00:00:00").date()
    assert {r["item_code"] for day, r in days.items() if day < changed_on} == {"PA01010000"}
    assert {r["item_code"] for day, r in days.items() if day >= changed_on} == {"PA01990000"}
    mapping = one(grown, "mart.item_impact", old_item_code="PA01010000")
    assert (mapping["new_item_code"], mapping["change_code"], mapping["limit_hours_change"]) == ("PA01990000", "replaced", -12)
    before = [r for day, r in days.items() if day < changed_on]
    assert mapping["open_event_count"] == sum(r["open_count"] for r in before) > 0
    assert mapping["recent_event_count"] == sum(r["subject_count"] for r in before)


def test_one_local_id_of_two_senders_is_two_events(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    assert one(grown, "business.event", event_id="ningbo-E1")["local_id"] == "E1"
    assert one(grown, "business.event", event_id="hangzhou-E1")["local_id"] == "E1"


def test_every_bronze_row_is_current_deleted_or_superseded(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    fate = one(grown, "staging.row_conservation", feed="city_platform__event")
    assert {name: fate[name] for name in fate if name.endswith("_count")} == {
        "bronze_count": 27,
        "staged_count": 15,
        "current_count": 13,
        "deleted_count": 2,
        "superseded_count": 12,
        "lost_count": 0,
        "strange_count": 0,
    }


def test_an_event_grows_overdue_without_any_new_row(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    assert one(grown, "business.event", event_id="hangzhou-E9")["is_overdue"]
    assert not one(grown, "business.event", event_id="hangzhou-E11")["is_overdue"]
    assert not one(grown, "business.event", event_id="hangzhou-E2")["is_overdue"]


def test_a_day_that_has_become_whole_is_reported_without_any_new_row(lakes: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(lakes[0], tmp_path / "lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transform._Dbt, "test", lambda *_: [])
        # On the evening before only the clock moves, and it makes no event overdue.
        for as_of, rows in (("2026-03-30 16:00:00", [event(15, day=31)]), ("2026-03-31 16:00:00", [])):
            run = new_run(tmp_path / "lake", as_of, lakes[0].parent / "declared", run_id=as_of[:10])
            try:
                land(run, EVENT, rows, delivery=4, received_at="2026-03-31 00:00:00")
                for name in ("stage", "build", "mart"):
                    run.perform(name)
            finally:
                run.close()
    last = one(tmp_path / "lake", "mart.region_reporting", region_code="330100000000", business_date=at("2026-03-31 00:00:00").date())
    assert (last["has_reported"], last["event_count"]) == (True, 1)


def test_only_hours_of_working_days_count_and_the_nearest_calendar_says_which(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    # Monday, 10:00 to 13:30.
    assert one(grown, "business.event", event_id="hangzhou-E2")["working_handling_minutes"] == 210
    # Sunday 10:00 to Wednesday 11:00: Monday is a holiday of the province, Tuesday one of the city since the second delivery.
    found = one(grown, "business.event", event_id="hangzhou-E8")
    assert (found["handling_minutes"], found["working_handling_minutes"]) == (4380, 120)
    days = Tables(grown / "tables").read("theme.working_day").to_pylist()
    worked = {row["calendar_region_code"]: row["work_seconds"] for row in days if row["calendar_date"].isoformat() == "2026-03-10"}
    assert worked == {"330000000000": 30_600, "330100000000": 0}
    assert one(grown, "theme.calendar_region", region_code="330200000000")["calendar_region_code"] == "330000000000"
    assert one(grown, "theme.calendar_region", region_code=VILLAGE)["calendar_region_code"] == "330100000000"


def test_a_limit_in_working_hours_is_overrun_only_by_working_hours(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    found = one(grown, "business.event", event_id="hangzhou-E8")
    assert found["closed_at"] > found["deadline_at"]
    assert (found["limit_kind_code"], found["is_overdue"]) == ("working", False)
    before = Tables(grown / "tables").read("business.event", version=0).to_pylist()
    ((minutes, overdue),) = [(row["working_handling_minutes"], row["is_overdue"]) for row in before if row["event_id"] == "hangzhou-E8"]
    assert (minutes, overdue) == (630, True), "before the city had a holiday"


def test_steps_give_counts_and_minutes(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    found = one(grown, "business.event", event_id="hangzhou-E1")
    assert (found["step_count"], found["first_response_minutes"], found["handling_minutes"]) == (2, 90, None)
    assert one(grown, "business.event", event_id="hangzhou-E2")["handling_minutes"] == 210
    assert [one(grown, "business.event", event_id=f"hangzhou-E{n}")["step_count"] for n in (8, 12)] == [1, 1], "a step that went to another event"
    assert one(grown, "business.event_step", step_id="hangzhou-E1-3")["minutes_since_previous"] == 90


def test_counts_of_a_region_are_those_of_all_below_it(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    overview = {(r["region_code"]): r for r in Tables(grown / "tables").read("mart.region_overview").to_pylist()}
    assert overview["330000000000"]["event_count"] == 13
    assert overview["330100000000"]["event_count"] == overview["330106000000"]["event_count"] == 13
    # The grid moved to the village that only E7 names; the others stay in the village that they name.
    assert overview["hangzhou-G1"]["event_count"] == 1
    assert (overview[VILLAGE]["event_count"], overview[NEXT_VILLAGE]["event_count"]) == (12, 1)
    assert overview["330106000000"]["grid_count"] == 2
    assert overview["330200000000"]["event_count"] == 0
    # The last whole day is the 15th; E1 of the 1st lies before both weeks.
    assert (overview["330106000000"]["event_count_7d"], overview["330106000000"]["event_count_previous_7d"]) == (2, 9)


def test_a_team_is_who_is_there_today(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    team = one(grown, "theme.team", grid_id="hangzhou-G1")
    assert (team["leader_count"], team["dedicated_count"], team["member_count"], team["has_leader"]) == (0, 1, 1, False)
    march, february = (one(grown, "mart.team_staffing", region_code="hangzhou-G1", month_date=at(f"2026-0{m}-01 00:00:00").date()) for m in (3, 2))
    short = ("leader_short_count", "dedicated_short_count", "part_time_short_count", "adviser_short_count", "short_grid_count")
    assert [march[name] for name in short] == [1, 0, 1, 1, 1]
    assert [february[name] for name in ("leader_count", *short)] == [1, 0, 0, 1, 1, 1], "who has left since was there"
    unmanned = one(grown, "mart.team_staffing", region_code="hangzhou-G2", month_date=at("2026-03-01 00:00:00").date())
    assert (unmanned["member_count"], unmanned["grid_without_leader_count"]) == (0, 1)
    months = {row["month_date"] for row in Tables(grown / "tables").read("mart.team_staffing").to_pylist()}
    assert len(months) == 13


def test_days_without_events_are_days_not_reported(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    reporting = [r for r in Tables(grown / "tables").read("mart.region_reporting").to_pylist() if r["region_code"] == "330100000000"]
    assert {r["business_date"].day for r in reporting if not r["has_reported"]} == {5, 10, 11, 12, 13, 15}


def test_what_the_yaml_tests_holds_on_the_increments(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    _, _, returned = lakes
    assert {name: returned[name]["tests"]["failures"] for name in ("stage", "build", "mart")} == {"stage": [], "build": [], "mart": []}
    assert returned["build"]["tests"]["passed"] > 5
    checked = returned["check"]
    assert [f for f in checked["failures"] if f["severity"] == "critical" and not f["table"].startswith("bronze.")] == []
    assert checked["checks"]["passed"] > 300


def test_no_mart_and_no_share_holds_sealed_values_tokens_or_free_text(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    _, whole, _ = lakes
    tables = Tables(whole / "tables")
    kept: dict[str, list[str]] = {}
    for name in tables.names():
        if name.partition(".")[0] in {"mart", "sharing"}:
            schema: pa.Schema = tables.schema(name)
            kept[name] = [c for c in schema.names if c.endswith(("_sealed", "_token")) or c in {"description", "closing_note"}]
    assert {name: columns for name, columns in kept.items() if columns} == {}


def test_positions_are_moved_to_cgcs2000_and_the_original_is_kept(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    _, whole, _ = lakes
    found = one(whole, "staging.stg_city_platform__event", event_id="hangzhou-E1")
    assert (found["longitude_original"], found["latitude_original"]) == (120.14, 30.26)
    east, north = gcj02(found["longitude"], found["latitude"])
    # A tenth of a metre; uncorrected it would be some 500 metres.
    assert abs(east - 120.14) < 1e-6
    assert abs(north - 30.26) < 1e-6
    assert abs(found["longitude"] - 120.14) > 1e-3


def gcj02(longitude: float, latitude: float) -> tuple[float, float]:
    """The public forward formula, WGS84 to GCJ-02, written independently of the macro."""
    from math import cos, pi, sin, sqrt

    x, y = longitude - 105, latitude - 35
    wave = (20 * sin(6 * x * pi) + 20 * sin(2 * x * pi)) * 2 / 3
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * sqrt(abs(x)) + wave
    north += (20 * sin(y * pi) + 40 * sin(y / 3 * pi)) * 2 / 3 + (160 * sin(y / 12 * pi) + 320 * sin(y * pi / 30)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * sqrt(abs(x)) + wave
    east += (20 * sin(x * pi) + 40 * sin(x / 3 * pi)) * 2 / 3 + (150 * sin(x / 12 * pi) + 300 * sin(x / 30 * pi)) * 2 / 3
    axis, eccentricity, radians = 6378245.0, 0.00669342162296594323, latitude / 180 * pi
    magic = 1 - eccentricity * sin(radians) ** 2
    north = north * 180 / (axis * (1 - eccentricity) / (magic * sqrt(magic)) * pi)
    east = east * 180 / (axis / sqrt(magic) * cos(radians) * pi)
    return longitude + east, latitude + north


def counts(row: dict[str, Any]) -> dict[str, Any]:
    """What a mart counts in a row, without the zeros."""
    return {name: value for name, value in row.items() if name.endswith(("_count", "_sum")) and value}


def test_training_counts_courses_by_their_assignment_and_points_by_their_day(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    # Assigned on 1 March in Shanghai, finished a day late; the points of February are that month's.
    march = one(grown, "mart.training_monthly", month_date=at("2026-03-01 00:00:00").date(), role_code="leader")
    learned = {"course_count": 1, "finished_course_count": 1, "late_course_count": 1, "studied_minutes_sum": 45}
    assert counts(march) == {"learner_count": 1, **learned, "points_sum": 5, "deducted_points_sum": -5}
    february = one(grown, "mart.training_monthly", month_date=at("2026-02-01 00:00:00").date())
    assert counts(february) == {"learner_count": 1, "points_sum": 10}


def test_what_the_police_handed_over_is_looked_for_among_the_events(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, whole, _ = lakes
    for home in (grown, whole):
        handed = one(home, "mart.police_flow", direction_code="to_grid")
        # The event of the second call came with the last delivery; the first call was handed back.
        assert counts(handed) == {
            "police_event_count": 2,
            "non_police_count": 2,
            "transferred_count": 2,
            "returned_count": 1,
            "transfer_minutes_sum": 60,
            "transfer_count": 2,
        }
        assert counts(one(home, "mart.police_flow", direction_code="")) == {"police_event_count": 1, "non_police_count": 1}


def test_of_several_rounds_of_acceptance_the_last_one_counts(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    found = one(grown, "mart.pilot_progress", indicator_code="A01")
    assert (found["dimension_code"], found["responsible_department"]) == ("overall", "发展改革委")
    of_itself = {"assessment_count": 1, "submitted_count": 1, "reviewed_count": 1, "evidence_count": 2, "full_score_sum": 4.0, "self_score_sum": 3.5}
    assert counts(found) == of_itself | {"city_acceptance_count": 1, "city_passed_count": 1, "city_score_sum": 3.0}


def test_a_stage_is_late_when_its_day_has_gone_by(lakes: tuple[Path, Path, dict[str, Any]]) -> None:
    grown, _, _ = lakes
    done, live = (one(grown, "mart.connection_progress", stage_code=stage) for stage in ("manual", "live"))
    assert counts(done) == {"step_count": 1, "done_count": 1, "late_count": 1, "open_problem_count": 2}
    assert counts(live) == {"step_count": 1, "in_progress_count": 1, "late_count": 1, "open_problem_count": 2}
