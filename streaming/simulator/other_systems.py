"""What other systems of the province send: findings of their own models, the calls that police stations take, cases of administrative review.

Calls that are no police matter are handed to the grid, where a department's event takes them up; some events go the other way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import codes, deliveries, people
from streaming.simulator.departments import MARKET_SUPERVISION, PUBLIC_SECURITY
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import Ground
from streaming.simulator.parcels import Feed
from streaming.simulator.positions import to_cgcs2000
from streaming.simulator.texts import Texts, kept

JUSTICE = "zj_justice"
# assumed: a province takes about 30,000 calls a day; for a hundred events one and a half, within what a small feed may hold.
_CALLS_PER_EVENT, _LEAST_CALLS, _MOST_CALLS = 0.015, 60, 4000
# assumed: half of the calls are no police matter; of these half go to the grid, one in ten of them comes back.
_CATEGORY_SHARE = {
    "crime": 0.06, "public_order": 0.13, "traffic": 0.27, "dispute": 0.2, "noise": 0.08, "help": 0.16, "hazard": 0.04, "complaint": 0.06,
}  # fmt: skip
_NON_POLICE = ("dispute", "noise", "help", "hazard", "complaint")
_TO_GRID_SHARE, _RETURNED_SHARE, _FROM_GRID_SHARE = 0.5, 0.1, 0.04
_DEPARTMENT = "department"
_CALLS = {
    "crime": ("报警称电瓶车被盗", "报警称被电话诈骗转账", "报警称店内财物被盗"),
    "public_order": ("报警称有人斗殴", "报警称有人酒后滋事", "报警称棋牌室聚众"),
    "traffic": ("报警称两车追尾", "报警称电动车与行人相撞", "报警称车辆挡道"),
    "dispute": ("报警称邻里因漏水争吵", "报警称因欠款发生争执", "报警称家庭纠纷"),
    "noise": ("报警称楼下夜宵摊噪声扰民", "报警称工地夜间施工", "报警称广场舞音响过大"),
    "help": ("报警求助寻找走失老人", "报警求助被困电梯", "报警求助开锁"),
    "hazard": ("报警称路面窨井盖缺失", "报警称高空坠物", "报警称楼道堆放杂物有火险"),
    "complaint": ("来电投诉停车收费", "来电咨询居住证办理", "来电投诉商家"),
}
_PLANTED_CALLERS, _PLANTED_APPLICANTS = 6, 4
# assumed: about 20,000 applications a year in the province, of which the simulated cities have some hundred.
_CASES_PER_DAY, _LEAST_CASES = 0.6, 20
_MATTER_SHARE = {
    "penalty": 0.42, "disclosure": 0.14, "expropriation": 0.12, "inaction": 0.12, "injury": 0.1, "compulsion": 0.05, "licence": 0.03, "other": 0.02,
}  # fmt: skip
_RESULT_SHARE = {
    "upheld": 0.38,
    "mediated": 0.22,
    "withdrawn": 0.14,
    "revoked": 0.1,
    "dismissed": 0.09,
    "unlawful": 0.04,
    "ordered": 0.02,
    "changed": 0.01,
}
_RESPONDENTS = ("综合行政执法局", "公安分局", "人力资源和社会保障局", "自然资源和规划局", "市场监督管理局", "人民政府")
_CLAIMS = {
    "penalty": "对行政处罚决定不服，请求撤销",
    "disclosure": "请求公开有关文件，对答复不服",
    "expropriation": "对征收补偿决定不服",
    "inaction": "反映投诉后未作处理，请求责令履行",
    "injury": "对工伤认定决定不服",
    "compulsion": "对强制拆除行为不服，请求确认违法",
    "licence": "对不予许可决定不服",
    "other": "对行政行为不服",
}
_FIRM_SHARE, _COLLECTIVE_SHARE, _FROM_EVENT_SHARE, _REJECTED_SHARE = 0.25, 0.03, 0.2, 0.05
# Review takes sixty days by law.
_REVIEW_DAYS = 60
# assumed: each department's models find one thing a county and month, most of them about places.
_MODELS = {
    PUBLIC_SECURITY: (
        ("police_system", "重点区域治安风险", "place"),
        ("police_system", "重点人员异常轨迹", "person"),
        ("police_system", "警情高发村社", "region"),
    ),
    MARKET_SUPERVISION: (("department_system", "预付卡经营风险", "enterprise"), ("department_system", "食品经营异常", "enterprise")),
}
_FACTORS = {
    "place": ("夜间警情", "同类场所警情", "整改超期"),
    "person": ("长期未报到", "夜间出行", "近期警情"),
    "region": ("警情增幅", "流动人口占比", "空置房占比"),
    "enterprise": ("投诉举报", "注册地异常", "社保人数骤降"),
}
_DAY = 86_400
_TEXT, _TIME = pa.string(), pa.timestamp("us")
_POLICE = (
    "police_event_id", "nature_code", "category_code", "description", "station_name", "region_code", "grid_code", "address_text", "longitude",
    "latitude", "caller_name", "caller_id_number", "caller_phone", "reported_at", "dispatched_at", "arrived_at", "closed_at", "state_code",
    "direction_code", "transferred_at", "transferred_event_id", "return_reason", "source_version", "changed_at",
)  # fmt: skip
_CASE = (
    "case_id", "matter_code", "description", "applicant_name", "applicant_id_number", "applicant_credit_code", "applicant_phone",
    "respondent_organisation", "region_code", "is_collective", "reported_at", "accepted_at", "deadline_at", "closed_at", "state_code", "result_code",
    "correlation_type", "correlation_id", "source_version", "changed_at",
)  # fmt: skip
_FINDING = (
    "external_finding_id", "system_code", "model_name", "model_version", "subject_type", "subject_id", "subject_name", "subject_id_number",
    "subject_credit_code", "region_code", "level_code", "confidence", "factors", "basis", "period_start_at", "period_end_at", "reported_at",
    "source_version", "changed_at",
)  # fmt: skip
_POLICE_DIRT = (
    Dirt("wrong_type", "type", "reported_at", {"reported_at": "昨晚"}),
    Dirt("unknown_code", "code_list", "category_code", {"category_code": "纠纷"}),
    Dirt("missing_required", "required", "description", {"description": None}),
    Dirt("wrong_pattern", "pattern", "caller_phone", {"caller_phone": "8765-4321"}),
    Dirt("out_of_range_position", "maximum", "latitude", {"latitude": 302.7}),
    Dirt("broken_rule", "closed_after_reported", None, {"closed_at": "2020-01-01 08:00:00"}),
)
_CASE_DIRT = (
    Dirt("unknown_code", "code_list", "matter_code", {"matter_code": "罚款"}),
    Dirt("missing_required", "required", "applicant_name", {"applicant_name": None}),
    Dirt("unknown_region", "region_unknown", "region_code", {"region_code": "339900000000"}),
    Dirt("broken_rule", "correlation_in_pairs", None, {"correlation_type": "event", "correlation_id": None}),
)
_FINDING_DIRT = (
    Dirt("wrong_type", "type", "confidence", {"confidence": "八成"}),
    Dirt("unknown_code", "code_list", "level_code", {"level_code": "红色"}),
    Dirt("wrong_pattern", "pattern", "factors", {"factors": "夜间警情，同类场所"}),
    Dirt("broken_rule", "period_runs_forward", None, {"period_end_at": "2020-01-01 00:00:00"}),
)


def feeds(random: np.random.Generator, ground: Ground, planted: people.Planted) -> Iterator[Feed]:
    """Calls by month, cases and findings by quarter, all as JSON lines."""
    yield police_event(random, ground, planted)
    yield review_case(random, ground, planted)
    yield external_finding(random, ground)


def police_event(random: np.random.Generator, ground: Ground, planted: people.Planted) -> Feed:
    """Each call as it was taken, and as it was closed, handed to the grid or handed back."""
    events = ground.events
    count = int(np.clip(len(events) * _CALLS_PER_EVENT, _LEAST_CALLS, _MOST_CALLS))
    category = deliveries.drawn(random, _CATEGORY_SHARE, count)
    non_police = np.isin(category, _NON_POLICE)
    drawn = random.random(count)
    to_grid, from_grid = non_police & (drawn < _TO_GRID_SHARE), ~non_police & (drawn < _FROM_GRID_SHARE)
    # Events that a department brought in are what the police handed over; any other may be handed to them.
    brought_in = random.permutation(np.flatnonzero((events.channel_code == _DEPARTMENT).to_numpy() & ~events.is_deleted.to_numpy()))
    rows = np.flatnonzero(to_grid)
    to_grid[rows[len(brought_in) :]] = False
    event = _lasting(random, events, count)
    event[rows[: len(brought_in)]] = brought_in[: len(rows)]
    linked = to_grid | from_grid
    place = np.where(linked, events.grid.to_numpy()[event], random.integers(len(ground.territory.grids), size=count))
    start = ground.first_day.astype("datetime64[s]")
    free = start + random.integers(ground.days * _DAY, size=count).astype("timedelta64[s]")
    handed = events.reported_at.to_numpy()[event].astype("datetime64[s]")
    minutes = random.integers(5, 90, count).astype("timedelta64[m]")
    reported_at = np.select([to_grid, from_grid], [handed - minutes, handed + minutes], free)
    here = ground.territory.grids.iloc[place].reset_index(drop=True)
    longitude, latitude = to_cgcs2000(*(_inside(random, here, *axis) for axis in (("west", "east"), ("south", "north"))))
    calls = pd.DataFrame(
        {
            "nature_code": np.where(non_police, "non_police", "police"),
            "category_code": category,
            "description": _said(random, category),
            "station_name": here.town.to_numpy(object) + "派出所",
            "region_code": here.region_code.to_numpy(object),
            "grid_code": codes.grid_codes(ground.territory.grids)[place],
            "address_text": here.village.to_numpy(object) + random.integers(1, 400, count).astype(str).astype(object) + "号",
            "longitude": longitude,
            "latitude": latitude,
            "caller_name": kept(people.names(random, count), random.random(count) < 0.8),
            "caller_id_number": kept(people.id_numbers(random, count), random.random(count) < 0.3),
            "caller_phone": people.phones(random, count),
            "reported_at": reported_at,
            "direction_code": kept(np.where(to_grid, "to_grid", "from_grid").astype(object), linked),
            "transferred_at": pd.Series(handed).where(linked),
            "transferred_event_id": kept(events.sender_code.to_numpy(object)[event] + "-" + events.event_id.to_numpy(object)[event], linked),
        }
    )
    calls["transferred_at"] = calls.transferred_at.where(~from_grid, reported_at)
    calls = calls[(calls.reported_at >= start) & (calls.reported_at < ground.end)]
    calls = calls.sort_values(["reported_at", "region_code"], kind="stable", ignore_index=True)
    for at, person in enumerate(planted.draw(random, min(_PLANTED_CALLERS, len(calls)))):
        calls.loc[at, ["caller_name", "caller_id_number", "caller_phone"]] = [person.name, person.id_number, person.phone]
    calls["police_event_id"] = deliveries.numbered("JQ", calls.reported_at, pd.Series(PUBLIC_SECURITY, calls.index, dtype=object))
    rows_sent = _police_versions(random, calls, ground.end)
    return deliveries.line_feed(
        random, "public_security", "police_event", deliveries.placed(rows_sent, PUBLIC_SECURITY, "police_event", "jsonl"), _POLICE, _POLICE_DIRT
    )


def _police_versions(random: np.random.Generator, calls: pd.DataFrame, end: pd.Timestamp) -> pd.DataFrame:
    count = len(calls)
    to_grid = (calls.direction_code == "to_grid").to_numpy()
    returned = to_grid & (random.random(count) < _RETURNED_SHARE)
    dispatched_at = calls.reported_at + random.integers(60, 600, count).astype("timedelta64[s]")
    arrived_at = dispatched_at + random.integers(240, 1800, count).astype("timedelta64[s]")
    closed_at = arrived_at + random.integers(600, 2 * _DAY, count).astype("timedelta64[s]")
    first = calls.assign(state_code="received", return_reason=None, source_version=1, changed_at=calls.reported_at)
    never = deliveries.no_times(calls)
    first = first.assign(dispatched_at=never, arrived_at=never, closed_at=never, transferred_at=never)
    first[["direction_code", "transferred_event_id"]] = None
    last = calls.assign(
        dispatched_at=dispatched_at.where(~to_grid), arrived_at=arrived_at.where(~to_grid), closed_at=closed_at.where(~to_grid),
        state_code=np.select([returned, to_grid], ["returned", "transferred"], "closed"), source_version=2,
        return_reason=kept(np.full(count, "不属网格职责，建议警方处置", object), returned),
    )  # fmt: skip
    back = calls.transferred_at + random.integers(3600, _DAY, count).astype("timedelta64[s]")
    last["changed_at"] = closed_at.where(~to_grid, calls.transferred_at.where(~returned, back))
    return pd.concat([first, last[last.changed_at < end]], ignore_index=True)


def review_case(random: np.random.Generator, ground: Ground, planted: people.Planted) -> Feed:
    """Each application, and what it came to by the end; some were sent on from an event's quarrel."""
    count = max(_LEAST_CASES, round(ground.days * _CASES_PER_DAY))
    events = ground.events
    event = _lasting(random, events, count)
    linked = random.random(count) < _FROM_EVENT_SHARE
    here = ground.territory.grids.iloc[events.grid.to_numpy()[event]].reset_index(drop=True)
    start = ground.first_day.astype("datetime64[s]")
    after = events.reported_at.to_numpy()[event] + random.integers(_DAY, 10 * _DAY, count).astype("timedelta64[s]")
    reported_at = np.where(linked, after, start + random.integers(ground.days * _DAY, size=count).astype("timedelta64[s]"))
    is_firm = random.random(count) < _FIRM_SHARE
    matter = deliveries.drawn(random, _MATTER_SHARE, count)
    firm = (
        here.county.to_numpy(object) + np.array(["宏达贸易有限公司", "新兴建材有限公司", "恒源餐饮有限公司"], object)[random.integers(3, size=count)]
    )
    cases = pd.DataFrame(
        {
            "matter_code": matter,
            "description": pd.Series(matter).map(_CLAIMS),
            "applicant_name": np.where(is_firm, firm, people.names(random, count)),
            "applicant_id_number": kept(people.id_numbers(random, count), ~is_firm),
            "applicant_credit_code": kept(codes.uniform_social_credit_codes(random, np.full(count, "1", object)), is_firm),
            "applicant_phone": people.phones(random, count),
            "respondent_organisation": here.county.to_numpy(object) + np.array(_RESPONDENTS, object)[random.integers(len(_RESPONDENTS), size=count)],
            "region_code": here.county_code.to_numpy(object),
            "is_collective": random.random(count) < _COLLECTIVE_SHARE,
            "reported_at": reported_at,
            "correlation_type": kept(np.full(count, "event", object), linked),
            "correlation_id": kept(events.sender_code.to_numpy(object)[event] + "-" + events.event_id.to_numpy(object)[event], linked),
        }
    )
    end = ground.end
    cases = cases[cases.reported_at < end].sort_values("reported_at", kind="stable", ignore_index=True)
    persons = cases.index[cases.applicant_id_number.notna()][:_PLANTED_APPLICANTS]
    for at, person in zip(persons, planted.draw(random, len(persons)), strict=True):
        cases.loc[at, ["applicant_name", "applicant_id_number", "applicant_phone"]] = [person.name, person.id_number, person.phone]
    cases["case_id"] = deliveries.numbered("FY", cases.reported_at, pd.Series(JUSTICE, cases.index, dtype=object))
    count = len(cases)
    rejected = random.random(count) < _REJECTED_SHARE
    accepted_at = cases.reported_at + random.integers(_DAY, 5 * _DAY, count).astype("timedelta64[s]")
    closed_at = accepted_at + random.integers(10 * _DAY, _REVIEW_DAYS * _DAY, count).astype("timedelta64[s]")
    never = deliveries.no_times(cases)
    first = cases.assign(accepted_at=never, deadline_at=never, closed_at=never, state_code="applied", result_code=None, source_version=1)
    first["changed_at"] = cases.reported_at
    second = first.assign(source_version=2, changed_at=accepted_at, state_code=np.where(rejected, "rejected", "accepted"))
    second["accepted_at"] = accepted_at.where(~rejected)
    second["deadline_at"] = (accepted_at + np.timedelta64(_REVIEW_DAYS, "D")).where(~rejected)
    third = second[~rejected].assign(source_version=3, state_code="closed", closed_at=closed_at, changed_at=closed_at)
    third["result_code"] = deliveries.drawn(random, _RESULT_SHARE, len(third))
    rows = pd.concat([first, second, third], ignore_index=True)
    placed = deliveries.quarterly(rows[rows.changed_at < end], JUSTICE, "review_case", "jsonl")
    return deliveries.line_feed(random, "justice", "review_case", placed, _CASE, _CASE_DIRT)


def external_finding(random: np.random.Generator, ground: Ground) -> Feed:
    """What the departments' models found in each county, month by month."""
    counties = ground.territory.grids.drop_duplicates("county_code").reset_index(drop=True)
    months = np.arange(0, ground.days, 30)
    parts = []
    for sender, models in _MODELS.items():
        for number, (system, model, subject) in enumerate(models):
            county, month = (axis.ravel() for axis in np.meshgrid(np.arange(len(counties)), months, indexing="ij"))
            found = pd.DataFrame({"county": county, "day": month}).assign(sender_code=sender, system_code=system, subject_type=subject)
            found = found.assign(model_name=model, model_version=f"{number + 1}.0")
            parts.append(found[random.random(len(found)) < 0.9])
    rows = pd.concat(parts, ignore_index=True)
    count = len(rows)
    # A village of the county, the region itself among the villages of a model of regions.
    grids = ground.territory.grids.sort_values("county_code", kind="stable", ignore_index=True)
    of_county = grids.groupby("county_code").size()
    first = (of_county.cumsum() - of_county)[counties.county_code[rows.county]].to_numpy()
    here = first + (random.random(count) * of_county[counties.county_code[rows.county]].to_numpy()).astype(np.int64)
    is_region, is_person = (rows.subject_type == "region").to_numpy(), (rows.subject_type == "person").to_numpy()
    is_firm = (rows.subject_type == "enterprise").to_numpy()
    end = np.minimum(rows.day.to_numpy() + 30, ground.days)
    start = ground.first_day.astype("datetime64[s]")
    weight = np.round(random.dirichlet((3, 2, 1), count), 2)
    names = np.array([_FACTORS[kind] for kind in rows.subject_type], object)
    factors = [";".join(f"{name}:{share:.2f}" for name, share in zip(of, shares, strict=True)) for of, shares in zip(names, weight, strict=True)]
    score = random.beta(5, 2, count)
    rows = rows.assign(
        region_code=grids.region_code.to_numpy(object)[here],
        subject_id=kept(
            rows.sender_code.str[3:5].to_numpy(object) + np.char.zfill(random.integers(10**6, size=count).astype(str), 8).astype(object), ~is_region
        ),
        subject_name=kept(people.names(random, count), is_person),
        subject_id_number=kept(people.id_numbers(random, count), is_person),
        subject_credit_code=kept(codes.uniform_social_credit_codes(random, np.full(count, "1", object)), is_firm),
        level_code=np.select([score > 0.8, score > 0.6], ["high", "medium"], "low"),
        confidence=np.round(score, 2),
        factors=factors,
        basis="一月内" + pd.Series(names[:, 0]) + "明显上升",
        period_start_at=start + (rows.day.to_numpy() * _DAY).astype("timedelta64[s]"),
        period_end_at=start + (end * _DAY).astype("timedelta64[s]"),
        source_version=1,
    )
    rows["reported_at"] = rows.period_end_at - np.timedelta64(6 * 3600, "s")
    rows["changed_at"] = rows.reported_at
    rows = rows.sort_values(["sender_code", "reported_at", "county"], kind="stable", ignore_index=True)
    rows["external_finding_id"] = deliveries.numbered("YP", rows.reported_at, rows.sender_code)
    placed = deliveries.quarterly(rows, rows.sender_code, "external_finding", "jsonl")
    return deliveries.line_feed(random, "department_system", "external_finding", placed, _FINDING, _FINDING_DIRT)


def _lasting(random: np.random.Generator, events: pd.DataFrame, count: int) -> NDArray[np.int64]:
    """Events that their cities did not take back, some more than once."""
    found: NDArray[np.int64] = np.flatnonzero(~events.is_deleted.to_numpy())
    return found[random.integers(len(found), size=count)]


def _said(random: np.random.Generator, category: Texts) -> Texts:
    texts = np.empty(len(category), object)
    for code, said in _CALLS.items():
        rows = np.flatnonzero(category == code)
        texts[rows] = np.array(said, object)[random.integers(len(said), size=len(rows))]
    return texts


def _inside(random: np.random.Generator, place: pd.DataFrame, low: str, high: str) -> NDArray[np.float64]:
    share = random.uniform(0.05, 0.95, len(place))
    return np.asarray(place[low] + (place[high] - place[low]) * share, dtype=np.float64)
