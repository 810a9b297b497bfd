"""How grid members learn: courses sent to them, exams each quarter, and the points that both bring. Of the members a sample is in training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import deliveries
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import PROVINCE, Ground
from streaming.simulator.parcels import Feed
from streaming.simulator.texts import Texts

_SOURCE = "province_platform"
# A sample, so that the feeds stay at some thousand rows; the province has 330,000 members.
_TRAINED = 300
# Code, name, type, minutes.
_COURSES = (
    ("KC01", "矛盾纠纷排查与化解", "video", 45),
    ("KC02", "出租房消防安全检查要点", "video", 30),
    ("KC03", "网格事项清单解读", "text", 40),
    ("KC04", "重点人员走访规范", "video", 35),
    ("KC05", "防范电信网络诈骗宣传", "text", 20),
    ("KC06", "突发事件先期处置", "drill", 90),
    ("KC07", "个人信息保护", "text", 25),
    ("KC08", "基层治理平台操作", "video", 50),
)
# assumed: a month for a course; one in twelve never begins it, one in ten begins and does not end it.
_COURSE_DAYS, _NEVER_BEGUN_SHARE, _BROKEN_OFF_SHARE = 30, 0.08, 0.10
# assumed: an exam of fifty questions every ninety days; one in six stays away, who failed sits it again within a week; one paper in ten has essays.
_EXAM_DAYS, _QUESTIONS, _FULL, _PASS = 90, 50, 100.0, 60.0
_ABSENT_SHARE, _ESSAY_SHARE = 0.16, 0.1
_DEDUCTED_SHARE, _DAILY_SHARE = 0.02, 0.6
_DAY = 86_400
_TEXT, _LONG, _REAL, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us")
_WHO = [("member_id", _TEXT), ("role_code", _TEXT), ("region_code", _TEXT)]
_VERSION = [("source_version", _LONG), ("changed_at", _TIME)]
_PROGRESS = pa.schema(
    [
        *((name, _TEXT) for name in ("progress_id", "course_id", "course_name", "course_type_code")),
        *_WHO,
        *((name, _LONG) for name in ("required_minutes", "studied_minutes", "progress_pct")),
        *((name, _TIME) for name in ("assigned_at", "deadline_at", "started_at", "finished_at")),
        ("state_code", _TEXT),
        *_VERSION,
    ]
)
_ATTEMPT = pa.schema(
    [
        *((name, _TEXT) for name in ("attempt_id", "exam_id", "exam_name")),
        *_WHO,
        *((name, _LONG) for name in ("attempt_no", "question_count", "correct_count")),
        *((name, _REAL) for name in ("full_marks", "pass_marks", "marks")),
        ("is_passed", pa.bool_()),
        *((name, _TEXT) for name in ("marking_code", "paper_digest")),
        *((name, _TIME) for name in ("started_at", "submitted_at")),
        *_VERSION,
    ]
)
_POINT = pa.schema(
    [
        ("point_id", _TEXT),
        *_WHO,
        ("rule_code", _TEXT),
        ("points", _LONG),
        ("earned_at", _TIME),
        *((name, _TEXT) for name in ("origin_type", "origin_id", "note")),
        *_VERSION,
    ]
)
# Typed files cannot hold text for a number or a time.
_PROGRESS_DIRT = (
    Dirt("unknown_code", "code_list", "course_type_code", {"course_type_code": "直播"}),
    Dirt("missing_required", "required", "course_name", {"course_name": None}),
    Dirt("out_of_range_number", "maximum", "progress_pct", {"progress_pct": 120, "state_code": "studying", "finished_at": None}),
    Dirt("unknown_region", "region_unknown", "region_code", {"region_code": "339900000000"}),
)
_ATTEMPT_DIRT = (
    Dirt("unknown_code", "code_list", "marking_code", {"marking_code": "机器"}),
    Dirt("missing_required", "required", "exam_id", {"exam_id": None}),
    Dirt("wrong_pattern", "pattern", "paper_digest", {"paper_digest": "A卷"}),
    Dirt("broken_rule", "correct_within_questions", None, {"correct_count": 53}),
)
_POINT_DIRT = (
    Dirt("unknown_code", "code_list", "rule_code", {"rule_code": "其他"}),
    Dirt("missing_required", "required", "points", {"points": None}),
    Dirt("wrong_pattern", "pattern", "member_id", {"member_id": "示例甲"}),
    Dirt("broken_rule", "origin_in_pairs", None, {"origin_type": "exam_attempt", "origin_id": None}),
)


def feeds(random: np.random.Generator, ground: Ground) -> Iterator[Feed]:
    """Course progress, attempts at exams and points, each quarter a Parquet file from the province."""
    trained = _trained(random, ground)
    progress = _progress(random, ground, trained)
    attempts = _attempts(random, ground, trained)
    for name, rows, schema, kinds in (
        ("course_progress", progress, _PROGRESS, _PROGRESS_DIRT),
        ("exam_attempt", attempts, _ATTEMPT, _ATTEMPT_DIRT),
        ("training_point", _points(random, progress, attempts), _POINT, _POINT_DIRT),
    ):
        # What a platform writes down after the last day is not there yet.
        rows = rows[rows.changed_at < ground.end]
        yield deliveries.typed_feed(random, _SOURCE, name, deliveries.quarterly(rows, PROVINCE, name, "parquet"), schema, kinds)


def _trained(random: np.random.Generator, ground: Ground) -> pd.DataFrame:
    """member_id (as the province has it), role_code and region_code of the members in training, who serve all the time."""
    members = ground.members
    serving = np.flatnonzero((members.left_date.isna() & (members.joined_date < ground.first_day)).to_numpy())
    chosen = members.iloc[np.sort(random.choice(serving, size=min(_TRAINED, len(serving)), replace=False))]
    return pd.DataFrame(
        {
            "member_id": chosen.sender_code.to_numpy(object) + "-" + chosen.member_id.to_numpy(object),
            "role_code": chosen.role_code.to_numpy(object),
            "region_code": ground.territory.grids.region_code.to_numpy(object)[chosen.grid],
        }
    )


def _progress(random: np.random.Generator, ground: Ground, trained: pd.DataFrame) -> pd.DataFrame:
    """Two versions of each: begun or not, and what it came to by the deadline."""
    every = pd.DataFrame(_COURSES, columns=["course_id", "course_name", "course_type_code", "required_minutes"])
    every["assigned_at"] = [_at(ground, number * ground.days // len(_COURSES), 9) for number in range(len(_COURSES))]
    rows = trained.merge(every, how="cross")
    count = len(rows)
    fate = random.random(count)
    begins, ends = fate >= _NEVER_BEGUN_SHARE, fate >= _NEVER_BEGUN_SHARE + _BROKEN_OFF_SHARE
    lag = np.minimum(random.lognormal(np.log(4 * _DAY), 0.8, count), (_COURSE_DAYS - 6) * _DAY).astype("timedelta64[s]")
    started_at, deadline_at = rows.assigned_at + lag, rows.assigned_at + np.timedelta64(_COURSE_DAYS, "D")
    finished_at = started_at + random.integers(1800, 5 * _DAY, count).astype("timedelta64[s]")
    rows["progress_id"] = "XX" + rows.assigned_at.dt.strftime("%Y%m") + "-" + _digits(np.arange(count))
    rows["deadline_at"], rows["started_at"] = deadline_at, started_at.where(begins)
    partly = random.uniform(0.1, 0.7, count)
    first = rows.assign(
        finished_at=deliveries.no_times(rows),
        studied_minutes=np.where(begins, np.round(rows.required_minutes * partly), 0).astype(int),
        source_version=1,
        state_code=np.where(begins, "studying", "assigned"),
        changed_at=started_at.where(begins, rows.assigned_at) + np.timedelta64(600, "s"),
    )
    first["progress_pct"] = first.studied_minutes * 100 // first.required_minutes
    last = first.assign(finished_at=finished_at.where(ends), source_version=2, state_code=np.where(ends, "finished", "overdue"))
    last["changed_at"] = finished_at.where(ends, deadline_at)
    last["studied_minutes"] = np.where(ends, rows.required_minutes + random.integers(0, 15, count), first.studied_minutes)
    last["progress_pct"] = np.where(ends, 100, first.progress_pct)
    return pd.concat([first, last], ignore_index=True)


def _attempts(random: np.random.Generator, ground: Ground, trained: pd.DataFrame) -> pd.DataFrame:
    """Each attempt; a paper with essays has its marks in a second version, days later."""
    days = range(min(_EXAM_DAYS, ground.days) * 2 // 3, ground.days, _EXAM_DAYS)
    held = pd.DataFrame({"day": [_at(ground, day, 14) for day in days]})
    quarter = held.day.dt.year.astype(str) + "年" + held.day.dt.quarter.astype(str) + "季度"
    held["exam_id"], held["exam_name"] = "SJ" + held.day.dt.strftime("%Y%m%d"), quarter + "网格员业务考试"
    rows = trained.merge(held, how="cross")
    rows = rows[random.random(len(rows)) >= _ABSENT_SHARE].reset_index(drop=True)
    skill = pd.Series(random.beta(6, 2, len(trained)), trained.member_id.to_numpy())
    again = rows[skill[rows.member_id].to_numpy() < random.uniform(0.5, 0.7, len(rows))]
    rows = pd.concat([rows.assign(attempt_no=1), again.assign(attempt_no=2, day=again.day + np.timedelta64(7, "D"))], ignore_index=True)
    count = len(rows)
    correct = random.binomial(_QUESTIONS, np.clip(skill[rows.member_id].to_numpy() + 0.08 * (rows.attempt_no - 1), 0, 1))
    started_at = rows.day + random.integers(0, 3600, count).astype("timedelta64[s]")
    essays = random.random(count) < _ESSAY_SHARE
    rows = rows.assign(
        attempt_id="KS" + rows.day.dt.strftime("%Y%m") + "-" + _digits(np.arange(count)), question_count=_QUESTIONS, correct_count=correct,
        full_marks=_FULL, pass_marks=_PASS, marks=correct * _FULL / _QUESTIONS, marking_code=np.where(essays, "manual", "automatic"),
        paper_digest=deliveries.digests(random, np.ones(count, np.bool_)), started_at=started_at,
        submitted_at=started_at + random.integers(1200, 3600, count).astype("timedelta64[s]"), source_version=1,
    )  # fmt: skip
    rows["is_passed"] = pd.Series(rows.marks >= _PASS, dtype=object)
    rows["changed_at"] = rows.submitted_at
    marked = rows[essays].assign(source_version=2, changed_at=rows.submitted_at[essays] + np.timedelta64(2, "D"))
    rows.loc[essays, "marks"], rows.loc[essays, "is_passed"] = np.nan, None
    return pd.concat([rows, marked], ignore_index=True)


def _points(random: np.random.Generator, progress: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """An entry for each finished course and passed exam, for some days of study, and now and then a deduction."""
    finished = progress[progress.state_code == "finished"]
    passed = attempts[(attempts.is_passed == True) & attempts.marks.notna()]  # noqa: E712 (a column of objects)
    full = passed[passed.marks == _FULL]
    studied = progress[(progress.source_version == 1) & progress.started_at.notna().to_numpy() & (random.random(len(progress)) < _DAILY_SHARE)]
    deducted = passed[random.random(len(passed)) < _DEDUCTED_SHARE]
    entries = (
        (finished, "course_finished", 10, "course_progress", "progress_id"),
        (passed, "exam_passed", 20, "exam_attempt", "attempt_id"),
        (full, "exam_full_marks", 10, "exam_attempt", "attempt_id"),
        (studied, "daily_study", 1, None, None),
        (deducted, "deduction", -10, None, None),
    )
    parts = []
    for rows, rule, points, origin, key in entries:
        entry = rows[["member_id", "role_code", "region_code"]].assign(rule_code=rule, points=points, earned_at=rows.changed_at, origin_type=origin)
        entry["origin_id"] = f"{PROVINCE}-" + rows[key] if key else None
        parts.append(entry.assign(note="替考，经核实扣减" if rule == "deduction" else None))
    found = pd.concat([part.astype({"origin_type": object, "origin_id": object, "note": object}) for part in parts], ignore_index=True)
    found = found.sort_values(["earned_at", "member_id", "rule_code"], kind="stable", ignore_index=True)
    found["point_id"] = "JF" + found.earned_at.dt.strftime("%Y%m") + "-" + _digits(np.arange(len(found)))
    return found.assign(source_version=1, changed_at=found.earned_at)


def _digits(number: NDArray[np.int64]) -> Texts:
    return np.asarray(np.char.zfill((number + 1).astype(str), 7), dtype=object)


def _at(ground: Ground, day: int, hour: int) -> pd.Timestamp:
    return pd.Timestamp(ground.first_day + np.timedelta64(day, "D")) + pd.Timedelta(hours=hour)
