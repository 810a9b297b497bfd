"""The pilot assessment of the cities' governance: self-assessments, acceptances, the negative list, and the catalogue of evidence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from gridlake.vocabularies import Vocabularies
from streaming.simulator import deliveries
from streaming.simulator.applications import Standing
from streaming.simulator.deliveries import Period
from streaming.simulator.dirt import Dirt
from streaming.simulator.parcels import Feed
from streaming.simulator.scenario_projects import PROMOTED, Projects
from streaming.simulator.texts import kept

_TEXT, _LONG, _REAL, _DATE, _TIME = pa.string(), pa.int64(), pa.float64(), pa.date32(), pa.timestamp("us")
_VERSION = [("source_version", _LONG), ("changed_at", _TIME)]
_DAY, _HOUR = np.timedelta64(1, "D"), np.timedelta64(1, "h")

_SELF_ASSESSMENT = pa.schema(
    [
        *((name, _TEXT) for name in ("indicator_code", "region_code")),
        ("quarter_start_date", _DATE),
        *((name, _REAL) for name in ("full_score", "self_score")),
        ("progress_pct", _LONG),
        *((name, _TEXT) for name in ("completion_note", "responsible_organisation", "state_code")),
        *((name, _TIME) for name in ("submitted_at", "reviewed_at")),
        ("evidence_count", _LONG),
        *_VERSION,
    ]
)
_ACCEPTANCE = pa.schema(
    [
        *((name, _TEXT) for name in ("acceptance_id", "indicator_code", "region_code")),
        ("quarter_start_date", _DATE),
        ("level_code", _TEXT),
        ("round_no", _LONG),
        ("score", _REAL),
        *((name, _TEXT) for name in ("conclusion_code", "opinion", "organisation_name")),
        ("accepted_at", _TIME),
        ("supervision_deadline_date", _DATE),
        *_VERSION,
    ]
)
_NEGATIVE_ITEM = pa.schema(
    [
        *((name, _TEXT) for name in ("negative_item_id", "type_code", "region_code")),
        ("occurred_date", _DATE),
        ("description", _TEXT),
        *((name, _LONG) for name in ("participant_count", "death_count", "view_count")),
        ("responsible_organisation", _TEXT),
        ("deducted_score", _REAL),
        ("state_code", _TEXT),
        ("reported_at", _TIME),
        *((name, _DATE) for name in ("rectification_deadline_date", "closed_date")),
        *_VERSION,
    ]
)
_EVIDENCE = pa.schema(
    [
        *((name, _TEXT) for name in ("evidence_id", "subject_type", "subject_id", "region_code", "type_code", "file_name", "content_digest")),
        ("size_bytes", _LONG),
        *((name, _TEXT) for name in ("tags", "organisation_name")),
        ("uploaded_at", _TIME),
        *_VERSION,
    ]
)
# assumed: a quarter is reported in its last days, later by a city without much zeal, and reviewed within weeks after it.
_DAYS_TO_SUBMIT, _DAYS_TO_REVIEW = 74, 14
_FILLING_SHARE, _RETURNED_SHARE = 0.2, 0.04
# assumed: one assessment in four is accepted by the city itself, one in eleven by the province; the city's own marks are the kinder ones.
_BY_CITY_SHARE, _BY_PROVINCE_SHARE = 0.25, 0.09
_SUPERVISED_SHARE = 0.6
_REWORK_DAYS = 45
# assumed: in a year the province lists some sixty items.
_ITEMS_A_YEAR = 60
_TYPE_SHARE = {
    "mass_incident": 0.12, "extreme_case": 0.08, "safety_accident": 0.22, "harmful_opinion": 0.25, "repeated_petition": 0.28, "falsification": 0.05,
}  # fmt: skip
_WHAT_HAPPENED = {
    "mass_incident": "因拖欠工资聚集讨薪", "extreme_case": "因家庭矛盾引发伤害案件", "safety_accident": "出租房电动自行车起火",
    "harmful_opinion": "短视频反映处置不力引发关注", "repeated_petition": "拆迁补偿问题多次越级走访", "falsification": "台账与实际走访不符",
}  # fmt: skip
_NOTES = ("制度已建立并运行", "县级全覆盖，数据已接入平台", "较上季度提升，个别乡镇未达标", "正在补齐台账")
_OPINIONS = ("佐证材料不足", "个别县未覆盖", "成效数据与平台不一致")
_FILES = {
    "document": ("季度总结.pdf", "工作方案.docx"),
    "picture": ("现场照片.jpg",),
    "video": ("演示.mp4",),
    "table": ("台账.xlsx",),
    "certificate": ("获奖证书.pdf",),
}
_FILE_SHARE = {"document": 0.5, "picture": 0.2, "table": 0.2, "video": 0.06, "certificate": 0.04}
_MEDIAN_BYTES = {"document": 6e5, "picture": 2e6, "table": 2e5, "video": 9e7, "certificate": 4e5}

_SELF_ASSESSMENT_DIRT = (
    Dirt("wrong_type", "type", "self_score", {"self_score": "四分半"}),
    Dirt("unknown_code", "code_list", "indicator_code", {"indicator_code": "Z99"}),
    Dirt("missing_required", "required", "responsible_organisation", {"responsible_organisation": None}),
    Dirt("broken_rule", "score_within_full", None, {"full_score": 4.0, "self_score": 9.5}),
)
_ACCEPTANCE_DIRT = (
    Dirt("unknown_code", "code_list", "conclusion_code", {"conclusion_code": "合格"}),
    Dirt("out_of_range_number", "maximum", "score", {"score": 42.0}),
    Dirt("broken_rule", "failure_is_explained", None, {"conclusion_code": "failed", "opinion": None}),
)
_NEGATIVE_ITEM_DIRT = (
    Dirt("unknown_code", "code_list", "type_code", {"type_code": "火灾", "participant_count": None, "death_count": None, "view_count": None}),
    Dirt("broken_rule", "deducted_once_verified", None, {"state_code": "reported", "deducted_score": 3.0, "closed_date": None}),
)
_EVIDENCE_DIRT = (
    Dirt("wrong_type", "type", "size_bytes", {"size_bytes": "半兆"}),
    Dirt("wrong_pattern", "pattern", "content_digest", {"content_digest": "md5:1234"}),
    Dirt("unknown_code", "code_list", "subject_type", {"subject_type": "自评"}),
)


def feeds(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, projects: Projects, period: Period) -> Iterator[Feed]:
    """What the province sends of the pilot, as CSV by month; evidence of the projects too."""
    assessed = assess(random, vocabularies, where, period)
    yield self_assessment(random, assessed, period)
    yield acceptance(random, assessed, where, period)
    yield negative_item(random, vocabularies, where, period)
    yield evidence_file(random, assessed, projects, period)


def assess(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, period: Period) -> pd.DataFrame:
    """One row per indicator, city and quarter that the period touches, with what is said of it and when.

    Columns: indicator_code, region_code, region_name, zeal, quarter (first day), full_score, self_score, responsible_organisation, evidence_count;
    begun, submitted, returned, resubmitted and reviewed (NaT where it does not happen).
    """
    indicators = vocabularies["pilot_indicator"].rows.to_pandas()
    first, last = (day.astype("datetime64[M]").astype(int) // 3 for day in (period.first_day, period.end - _DAY))
    quarters = np.arange(first - 1, last + 1) * 3
    indicator, city, quarter = (axis.ravel() for axis in np.indices((len(indicators), len(where.cities), len(quarters))))
    zeal = where.cities.zeal.to_numpy()[city]
    full = indicators.full_score.to_numpy(float)[indicator]
    share = np.clip(0.45 + 0.4 * zeal + 0.02 * quarter + random.normal(0, 0.08, len(indicator)), 0.1, 1.0)
    start = quarters[quarter].astype("datetime64[M]").astype("datetime64[s]")
    begun = start + random.integers(20, 50, len(start)) * _DAY + 9 * _HOUR
    submitted = start + (_DAYS_TO_SUBMIT + np.round(14 * (1 - zeal)) + random.integers(0, 5, len(start))).astype(int) * _DAY + 10 * _HOUR
    returned = np.where(random.random(len(start)) < _RETURNED_SHARE, submitted + 3 * _DAY, np.datetime64("NaT", "s"))
    resubmitted = returned + 4 * _DAY
    reviewed = np.where(np.isnat(resubmitted), submitted, resubmitted) + random.integers(5, 5 + _DAYS_TO_REVIEW, len(start)) * _DAY + 2 * _HOUR
    name = where.cities.region_name.to_numpy(object)[city]
    return pd.DataFrame(
        {
            "indicator_code": indicators.code.to_numpy(object)[indicator],
            "region_code": where.cities.region_code.to_numpy(object)[city],
            "region_name": name,
            "zeal": zeal,
            "quarter": start,
            "full_score": full,
            # Marks are given in steps of a quarter.
            "self_score": np.floor(full * share * 4) / 4,
            "responsible_organisation": name + indicators.responsible_department.to_numpy(object)[indicator],
            "evidence_count": random.poisson(0.8 + 0.5 * zeal),
            "begun": np.where(random.random(len(start)) < _FILLING_SHARE, begun, np.datetime64("NaT", "s")),
            "submitted": submitted,
            "returned": returned,
            "resubmitted": resubmitted,
            "reviewed": reviewed,
        }
    )


def self_assessment(random: np.random.Generator, assessed: pd.DataFrame, period: Period) -> Feed:
    """The states of each self-assessment as it is filled in, submitted, sometimes returned, and reviewed."""
    rows = deliveries.histories(assessed[["begun", "submitted", "returned", "resubmitted", "reviewed"]].to_numpy("datetime64[s]"), period)
    state, at_hand = rows.state.to_numpy(), assessed.iloc[rows.record].reset_index(drop=True)
    is_filled = state > 0
    submitted = at_hand.submitted.where((state == 1) | (state == 2) | at_hand.resubmitted.isna(), at_hand.resubmitted)
    found = at_hand[["indicator_code", "region_code", "full_score", "responsible_organisation"]].assign(
        quarter_start_date=at_hand.quarter,
        self_score=at_hand.self_score.where(is_filled),
        progress_pct=np.where(is_filled, np.round(at_hand.self_score / at_hand.full_score * 100), 30).astype(int),
        completion_note=kept(np.array(_NOTES, object)[random.integers(len(_NOTES), size=len(rows))], is_filled),
        state_code=np.array(["filling", "submitted", "returned", "submitted", "reviewed"], object)[state],
        submitted_at=submitted.where(is_filled),
        reviewed_at=at_hand.reviewed.where(state == 4),
        evidence_count=np.where(is_filled, at_hand.evidence_count, 0),
        source_version=rows.version,
        changed_at=rows["at"],
    )
    return deliveries.from_province(random, "self_assessment", found, _SELF_ASSESSMENT, _SELF_ASSESSMENT_DIRT, period)


def acceptance(random: np.random.Generator, assessed: pd.DataFrame, where: Standing, period: Period) -> Feed:
    """Some reviewed self-assessments are accepted by the city or the province; what has to be put right is looked at again."""
    drawn = random.random(len(assessed))
    chosen = assessed[(drawn < _BY_CITY_SHARE + _BY_PROVINCE_SHARE)].reset_index(drop=True)
    drawn = drawn[drawn < _BY_CITY_SHARE + _BY_PROVINCE_SHARE]
    by_city = drawn < _BY_CITY_SHARE
    # What a city without much zeal says of itself stands up less well.
    ratio = np.clip(chosen.self_score / chosen.full_score * random.uniform(0.82 + 0.12 * by_city + 0.06 * chosen.zeal, 1.0), 0, 1)
    at = (chosen.reviewed + random.integers(4, 30, len(chosen)) * _DAY + 2 * _HOUR).astype("datetime64[s]")
    first = chosen.assign(ratio=ratio, by_city=by_city, at=at, round_no=1)
    again = first[(first.ratio >= 0.5) & (first.ratio < 0.62)]
    again = again.assign(ratio=np.minimum(again.ratio + 0.2, 1), at=again["at"] + _REWORK_DAYS * _DAY, round_no=2)
    rows = pd.concat([first, again], ignore_index=True).sort_values("at", kind="stable", ignore_index=True)
    conclusion = np.select([rows.ratio >= 0.8, rows.ratio >= 0.62, rows.ratio >= 0.5], ["passed", "passed_with_remarks", "rework"], "failed")
    not_passed = np.isin(conclusion, ["rework", "failed"])
    opinion = np.array(_OPINIONS, object)[random.integers(len(_OPINIONS), size=len(rows))]
    is_supervised = not_passed & (random.random(len(rows)) < _SUPERVISED_SHARE)
    found = rows[["indicator_code", "region_code", "round_no"]].assign(
        acceptance_id=deliveries.numbered("YS", rows["at"]),
        quarter_start_date=rows.quarter,
        level_code=np.where(rows.by_city, "city", "province"),
        score=np.floor(rows.full_score * rows.ratio * 4) / 4,
        conclusion_code=conclusion,
        opinion=kept(opinion, conclusion != "passed"),
        organisation_name=np.where(rows.by_city, rows.region_name + "委政法委", "省委政法委"),
        accepted_at=rows["at"],
        supervision_deadline_date=(rows["at"] + 30 * _DAY).dt.floor("D").where(is_supervised),
        source_version=1,
        changed_at=rows["at"] + 6 * _HOUR,
    )
    return deliveries.from_province(random, "acceptance", found, _ACCEPTANCE, _ACCEPTANCE_DIRT, period, "acceptance_id")


def negative_item(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, period: Period) -> Feed:
    """What should not have happened: reported within days, verified or not recognised, put right, taken off the list."""
    standard = vocabularies["negative_item_type"].rows.to_pandas().set_index("code").deducted_score.astype(float)
    # Those of the half-year before are still being put right.
    span = period.days + 180
    count = max(3, random.poisson(_ITEMS_A_YEAR * span / 365))
    residents = where.counties.resident_count.to_numpy() * (1.6 - where.counties.zeal.to_numpy())
    county = random.choice(len(where.counties), size=count, p=residents / residents.sum())
    occurred = np.sort(period.first_day - 180 + random.integers(0, span, count)).astype("datetime64[s]")
    reported = occurred + random.integers(1, 4, count) * _DAY + 9 * _HOUR
    verified = reported + random.integers(2, 8, count) * _DAY
    rejected = random.random(count) < 0.1
    never = np.datetime64("NaT", "s")
    asked = np.where(rejected, never, verified + 3 * _DAY)
    closed = np.where(random.random(count) < 0.9, asked + random.integers(15, 80, count) * _DAY, never)
    rows = deliveries.histories(np.column_stack([reported, verified, asked, closed]), period)
    state, record = rows.state.to_numpy(), rows.record.to_numpy()
    code = np.array(["reported", "verified", "rectifying", "closed"], object)[state]
    code[(state == 1) & rejected[record]] = "rejected"
    kind = deliveries.drawn(random, _TYPE_SHARE, count)
    name = where.counties.region_name.to_numpy(object)[county]
    happened = np.array([_WHAT_HAPPENED[of] for of in kind], object)
    numbers = {
        "participant_count": (random.integers(30, 300, count), kind == "mass_incident"),
        "death_count": (random.integers(0, 3, count), np.isin(kind, ["extreme_case", "safety_accident"])),
        "view_count": (np.round(random.lognormal(np.log(800_000), 1, count)).astype(int), kind == "harmful_opinion"),
    }
    found = pd.DataFrame(
        {
            "negative_item_id": deliveries.numbered("FM", pd.Series(reported))[record],
            "type_code": kind[record],
            "region_code": where.counties.region_code.to_numpy(object)[county[record]],
            "occurred_date": occurred[record],
            "description": (name + happened)[record],
            "responsible_organisation": (name + "平安办")[record],
            "deducted_score": np.where(np.isin(code, ["reported", "rejected"]), 0.0, standard[kind].to_numpy()[record]),
            "state_code": code,
            "reported_at": reported[record],
            "rectification_deadline_date": pd.Series(asked[record] + 30 * _DAY).where(state >= 2).dt.floor("D"),
            "closed_date": pd.Series(closed[record]).where(state == 3).dt.floor("D"),
            "source_version": rows.version,
            "changed_at": rows["at"],
            **{column: pd.arrays.IntegerArray(value[record], ~given[record]) for column, (value, given) in numbers.items()},
        }
    )
    return deliveries.from_province(random, "negative_item", found, _NEGATIVE_ITEM, _NEGATIVE_ITEM_DIRT, period, "negative_item_id")


def evidence_file(random: np.random.Generator, assessed: pd.DataFrame, projects: Projects, period: Period) -> Feed:
    """As many files of each submitted self-assessment as it says it has, and three of each project that was accepted."""
    of_assessment = assessed.loc[assessed.index.repeat(assessed.evidence_count)]
    key = (
        of_assessment.indicator_code
        + "/"
        + of_assessment.region_code
        + "/"
        + np.datetime_as_string(of_assessment.quarter.to_numpy(), "D").astype(object)
    )
    accepted = projects.times[:, PROMOTED]
    some = np.repeat(np.arange(len(accepted)), 3)
    parts = {
        "self_assessment": (key, of_assessment.region_code, of_assessment.responsible_organisation, "自评", of_assessment.submitted - 20 * _HOUR),
        "scenario_project": (
            *(projects.filed[name].to_numpy(object)[some] for name in ("project_id", "region_code", "builder_organisation")), "验收,推广",
            accepted[some] - 30 * _HOUR,
        ),
    }  # fmt: skip
    names = ("subject_id", "region_code", "organisation_name", "tags", "uploaded_at")
    rows = pd.concat([pd.DataFrame({"subject_type": of, **dict(zip(names, part, strict=True))}) for of, part in parts.items()])
    rows = rows.sort_values("uploaded_at", kind="stable", ignore_index=True)
    kind = deliveries.drawn(random, _FILE_SHARE, len(rows))
    digest = deliveries.digests(random, np.full(len(rows), True))
    found = rows.assign(
        evidence_id=deliveries.numbered("CL", rows.uploaded_at),
        type_code=kind,
        file_name=np.array([_FILES[of][number % len(_FILES[of])] for number, of in enumerate(kind)], object),
        content_digest=digest,
        size_bytes=np.round(np.array([_MEDIAN_BYTES[of] for of in kind]) * random.lognormal(0, 0.7, len(rows))).astype(int) + 1,
        source_version=1,
        changed_at=rows.uploaded_at,
    )
    return deliveries.from_province(random, "evidence_file", found, _EVIDENCE, _EVIDENCE_DIRT, period, "evidence_id")
