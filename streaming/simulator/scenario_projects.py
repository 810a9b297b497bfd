"""Scenario applications: projects that cities and counties file, build, test, have accepted, publish and run, and what their users say of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import deliveries, people
from streaming.simulator.applications import Standing
from streaming.simulator.deliveries import Period
from streaming.simulator.dirt import Dirt
from streaming.simulator.parcels import Feed
from streaming.simulator.texts import kept

_TEXT, _LONG, _REAL, _DATE, _TIME = pa.string(), pa.int64(), pa.float64(), pa.date32(), pa.timestamp("us")
_VERSION = [("source_version", _LONG), ("changed_at", _TIME)]
_DAY = np.timedelta64(1, "D")

_PROJECT = pa.schema(
    [
        *((name, _TEXT) for name in ("project_id", "project_name", "category_code", "region_code", "builder_organisation", "team_organisation")),
        *((name, _TEXT) for name in ("contact_name", "contact_phone", "summary", "stage_code", "build_step_code", "state_code")),
        ("budget_yuan", _LONG),
        *((name, _DATE) for name in ("filed_date", "planned_date", "accepted_date", "published_date")),
        *_VERSION,
    ]
)
_REPORT = pa.schema(
    [
        ("project_id", _TEXT),
        ("week_start_date", _DATE),
        *((name, _TEXT) for name in ("build_step_code", "planned_work", "done_work")),
        *((name, _LONG) for name in ("planned_pct", "progress_pct")),
        ("problem", _TEXT),
        ("reported_at", _TIME),
        *_VERSION,
    ]
)
_RUNTIME = pa.schema(
    [
        ("project_id", _TEXT),
        ("measured_date", _DATE),
        *((name, _TEXT) for name in ("image_name", "image_version", "image_state_code")),
        *((name, _REAL) for name in ("cpu_pct", "memory_pct", "available_pct")),
        *((name, _LONG) for name in ("request_count", "error_count", "restart_count")),
        *_VERSION,
    ]
)
_RATING = pa.schema(
    [
        *((name, _TEXT) for name in ("rating_id", "project_id", "region_code", "organisation_name")),
        ("score", _LONG),
        ("remark", _TEXT),
        ("rated_at", _TIME),
        *_VERSION,
    ]
)
_ISSUE = pa.schema(
    [
        *((name, _TEXT) for name in ("issue_id", "project_id", "region_code", "organisation_name", "type_code", "description")),
        *((name, _TEXT) for name in ("handler_organisation", "handling_note", "state_code")),
        *((name, _TIME) for name in ("reported_at", "handled_at", "closed_at")),
        ("satisfaction_score", _LONG),
        *_VERSION,
    ]
)
_TEST = pa.schema(
    [
        *((name, _TEXT) for name in ("test_id", "project_id", "module_name", "type_code", "tester_organisation")),
        ("planned_date", _DATE),
        ("tested_at", _TIME),
        ("result_code", _TEXT),
        *((name, _LONG) for name in ("case_count", "defect_count")),
        *_VERSION,
    ]
)
# assumed: a first round of sixty projects in the province, filed over three quarters of the time and a year before it.
_PROJECTS, _DAYS_BEFORE = 60, 300
# (stage, build step) in their order, and the days that each takes of itself. assumed.
_WAY = (
    ("selection", None, 25), ("construction", "plan", 20), ("construction", "approval", 20), ("construction", "development", 75),
    ("construction", "test", 25), ("construction", "online", 20), ("construction", "acceptance", 25), ("promotion", None, 45), ("operation", None, 0),
)  # fmt: skip
_FIRST_BUILT, _TESTED, _ONLINE, PROMOTED, _OPERATED = 1, 4, 5, 7, 8
_SUSPENDED_SHARE, _EXITED_SHARE, _NEVER_PUBLISHED_SHARE = 0.06, 0.04, 0.25
_TOPICS = {
    "dispute": ("矛盾纠纷源头智治", "欠薪治理一件事", "物业纠纷联调", "家事纠纷预警"),
    "public_order": ("夜间巡防联动", "电动车防盗", "反诈预警到格"),
    "safety": ("老旧小区消防联治", "九小场所安全码", "防汛一键转移", "燃气安全闭环"),
    "people_service": ("独居老人关爱", "流动人口服务", "困境儿童守护"),
    "rule_of_law": ("执法监督在线", "法律服务上门", "社区矫正协管"),
    "grid_work": ("网格积分激励", "一格一画像", "微网格快响", "乡村治理积分"),
}
_WORK = {
    "plan": ("完善建设方案", "专家论证", "梳理业务事项"), "approval": ("报送立项材料", "落实资金", "完成招标"),
    "development": ("开发上报模块", "开发协同流转", "接入标准地址", "联调省协同网关", "开发驾驶舱"), "test": ("功能测试", "安全测试整改", "压力测试"),
    "online": ("试点乡镇试运行", "操作培训", "数据初始化"), "acceptance": ("准备验收材料", "问题整改", "召开验收会"),
}  # fmt: skip
_PROBLEMS = ("地址接口未开通", "承建单位人手不足", "部门数据未共享", "需求变更", "等待资金下达")
_MODULES = ("信息上报", "协同流转", "统计驾驶舱", "移动端", "接口对接")
_TESTERS = ("省电子信息产品检验研究院", "市大数据发展中心", "第三方测评机构")
_COMMENTS = {
    1: ("经常打不开", "数据对不上"), 2: ("导出很慢", "与实际流程不符"), 3: ("能用，步骤偏多", ""), 4: ("操作简便，导出较慢", ""),
    5: ("减少了跑腿", "很好用", ""),
}  # fmt: skip
_COMPLAINTS = {
    "function": ("批量导入后丢行", "退回后无法再次提交"), "data": ("网格数量与实际不符", "人员重复"), "interface": ("协同网关超时", "地址查询无返回"),
    "performance": ("导出全区清单超过一分钟", "首页打开慢"), "usability": ("手机端字体过小", "填报项过多"), "other": ("账号无法登录",),
}  # fmt: skip
_ISSUE_SHARE = {"function": 0.3, "data": 0.25, "interface": 0.12, "performance": 0.15, "usability": 0.13, "other": 0.05}
_ISSUE_STATES = ("reported", "handling", "handled", "closed")
# assumed: in a month a published application is rated by so many units, and has so many issues.
_RATINGS_A_MONTH, _ISSUES_A_MONTH = 2.0, 0.6
_CORRECTED_SHARE = 0.03

_PROJECT_DIRT = (
    Dirt("wrong_type", "type", "budget_yuan", {"budget_yuan": "一百八十万"}),
    Dirt("unknown_code", "code_list", "category_code", {"category_code": "消防"}),
    Dirt("missing_required", "required", "project_name", {"project_name": None}),
    Dirt("wrong_pattern", "pattern", "contact_phone", {"contact_phone": "8765"}),
    Dirt("broken_rule", "contact_in_pairs", None, {"contact_phone": None}),
)
_REPORT_DIRT = (
    Dirt("wrong_type", "type", "progress_pct", {"progress_pct": "三成六"}),
    Dirt("out_of_range_number", "maximum", "planned_pct", {"planned_pct": 130}),
    Dirt("broken_rule", "reported_after_monday", None, {"reported_at": pd.Timestamp("2020-01-03 16:00")}),
)
_RUNTIME_DIRT = (
    Dirt("wrong_type", "type", "cpu_pct", {"cpu_pct": "两成"}),
    Dirt("unknown_code", "code_list", "image_state_code", {"image_state_code": "up"}),
    Dirt("out_of_range_number", "maximum", "available_pct", {"available_pct": 999.2}),
)
_RATING_DIRT = (
    Dirt("out_of_range_number", "maximum", "score", {"score": 10}),
    Dirt("broken_rule", "low_score_is_explained", None, {"score": 1, "remark": None}),
)
_ISSUE_DIRT = (
    Dirt("unknown_code", "code_list", "type_code", {"type_code": "慢"}),
    Dirt("missing_required", "required", "description", {"description": None}),
    Dirt("broken_rule", "handled_has_time", None, {"state_code": "handled", "handled_at": None, "closed_at": None, "satisfaction_score": None}),
)
_TEST_DIRT = (
    Dirt("wrong_type", "type", "case_count", {"case_count": "四十余"}),
    Dirt("broken_rule", "tested_has_time", None, {"result_code": "passed", "tested_at": None, "defect_count": None}),
)


@dataclass(frozen=True)
class Projects:
    """The projects: what is `filed` of each with its `quality` (0 to 1), and the `times` (project × part of the way) at which it comes to each part.

    A part that is not reached within the period may still have its time; NaT where the project never gets there.
    """

    filed: pd.DataFrame
    times: NDArray[np.datetime64]


def launch(random: np.random.Generator, where: Standing, period: Period) -> Projects:
    """Projects of places by their zeal; a good one is quicker."""
    places = where.places
    weights = places.zeal.to_numpy()
    place = np.sort(random.choice(len(places), size=_PROJECTS, p=weights / weights.sum()))
    category = deliveries.drawn(random, dict.fromkeys(_TOPICS, 1.0), _PROJECTS)
    name = places.region_name.to_numpy(object)[place]
    filed = period.start + random.integers(-_DAYS_BEFORE, max(period.days * 3 // 4, 1), _PROJECTS) * _DAY
    quality = np.clip(places.zeal.to_numpy()[place] * random.uniform(0.75, 1.2, _PROJECTS), 0.1, 1.0)
    planned = np.array([days for _, _, days in _WAY[:-1]])
    took = np.round(planned * (1.5 - 0.6 * quality)[:, None] * random.lognormal(0, 0.25, (_PROJECTS, len(planned))))
    times = filed[:, None] + np.column_stack([np.zeros(_PROJECTS), took.cumsum(axis=1)]).astype("timedelta64[D]")
    times = times + np.timedelta64(9, "h") + random.integers(0, 8 * 60, (_PROJECTS, 1)).astype("timedelta64[m]")
    times[random.random(_PROJECTS) < _NEVER_PUBLISHED_SHARE, _OPERATED] = np.datetime64("NaT")
    topic = np.array([_TOPICS[of][number % len(_TOPICS[of])] for number, of in enumerate(category)], object)
    found = pd.DataFrame(
        {
            "project_id": "CJ"
            + np.datetime_as_string(filed, "Y").astype(object)
            + np.char.zfill((np.arange(_PROJECTS) + 1).astype(str), 4).astype(object),
            "project_name": name + topic,
            "category_code": category,
            "region_code": places.region_code.to_numpy(object)[place],
            "builder_organisation": name + "委政法委",
            "team_organisation": np.char.add("浙江某数字技术有限公司", random.integers(1, 9, _PROJECTS).astype(str)).astype(object),
            "contact_name": people.names(random, _PROJECTS),
            "contact_phone": people.phones(random, _PROJECTS),
            "summary": "围绕" + topic + "汇聚数据、联动处置、闭环评价",
            "budget_yuan": np.round(random.lognormal(np.log(1_600_000), 0.6, _PROJECTS), -4).astype(int),
            "filed_date": filed,
            "planned_date": filed + (int(planned[:PROMOTED].sum()) * _DAY),
            "quality": quality,
        }
    )
    return Projects(found, times.astype("datetime64[s]"))


def feeds(random: np.random.Generator, projects: Projects, where: Standing, period: Period) -> Iterator[Feed]:
    """What the province's platform sends of the projects, as CSV by month."""
    yield scenario_project(random, projects, period)
    yield project_report(random, projects, period)
    yield application_test(random, projects, period)
    yield application_runtime(random, projects, period)
    yield application_rating(random, projects, where, period)
    yield application_issue(random, projects, where, period)


def scenario_project(random: np.random.Generator, projects: Projects, period: Period) -> Feed:
    """A row for each part of the way that a project has come to; some are suspended or leave."""
    times = projects.times
    rows = deliveries.histories(times, period)
    at_hand = projects.filed.iloc[rows.record].reset_index(drop=True)
    stage, step, _ = (np.array(column, object)[rows.state] for column in zip(*_WAY, strict=True))
    accepted, published = (pd.Series(times[rows.record, part]).where(rows.state >= part, pd.NaT).dt.floor("D") for part in (PROMOTED, _OPERATED))
    found = at_hand.drop(columns="quality").assign(
        stage_code=stage,
        build_step_code=step,
        state_code=np.where(rows.state == 0, "in_review", "active"),
        accepted_date=accepted,
        published_date=published,
        source_version=rows.version,
        changed_at=rows["at"],
    )
    last = found.groupby("project_id", sort=False).tail(1)
    drawn = random.random(len(last))
    stopped = last[(drawn < _SUSPENDED_SHARE + _EXITED_SHARE) & (last.state_code == "active").to_numpy()]
    state = np.where(drawn[np.isin(last.index, stopped.index)] < _SUSPENDED_SHARE, "suspended", "exited")
    stopped = stopped.assign(state_code=state, source_version=stopped.source_version + 1, changed_at=stopped.changed_at + 20 * _DAY)
    rows = pd.concat([found, stopped], ignore_index=True)
    return deliveries.from_province(random, "scenario_project", rows, _PROJECT, _PROJECT_DIRT, period)


def project_report(random: np.random.Generator, projects: Projects, period: Period) -> Feed:
    """On each Friday of its construction what was planned and done in the week; one in seven says what is in the way."""
    times = projects.times
    monday = _mondays(period)
    project, week = (axis.ravel() for axis in np.indices((len(projects.filed), len(monday))))
    begun, ended = times[project, _FIRST_BUILT], times[project, PROMOTED]
    friday = monday[week].astype("datetime64[s]") + 4 * _DAY
    built = (friday >= begun) & (friday < ended)
    project, week, begun, ended, friday = project[built], week[built], begun[built], ended[built], friday[built]
    planned_days = sum(days for _, step, days in _WAY if step)
    passed = (friday - begun) / _DAY
    planned_pct = np.clip(np.round(passed / planned_days * 100), 0, 100).astype(int)
    progress_pct = np.clip(np.round(passed / ((ended - begun) / _DAY) * 100), 0, 100).astype(int)
    part = (times[project][:, _FIRST_BUILT:PROMOTED] <= friday[:, None]).sum(axis=1)
    step = np.array([of for _, of, _ in _WAY], object)[part]
    work = np.array([_WORK[of][number % len(_WORK[of])] for number, of in enumerate(step)], object)
    reported = friday + np.timedelta64(14, "h") + random.integers(0, 180, len(friday)).astype("timedelta64[m]")
    rows = pd.DataFrame(
        {
            "project_id": projects.filed.project_id.to_numpy(object)[project],
            "week_start_date": monday[week].astype("datetime64[s]"),
            "build_step_code": step,
            "planned_work": work,
            "done_work": kept(np.array("完成" + work, object), random.random(len(work)) < 0.9),
            "planned_pct": planned_pct,
            "progress_pct": progress_pct,
            "problem": kept(
                deliveries.drawn(random, dict.fromkeys(_PROBLEMS, 1.0), len(work)), (progress_pct < planned_pct) & (random.random(len(work)) < 0.3)
            ),
            "reported_at": reported,
            "source_version": 1,
            "changed_at": reported,
        }
    )
    corrected = rows[(random.random(len(rows)) < _CORRECTED_SHARE) & (rows.progress_pct < 98)]
    corrected = corrected.assign(progress_pct=corrected.progress_pct + 2, source_version=2, changed_at=corrected.changed_at + 5 * _DAY)
    return deliveries.from_province(random, "project_report", pd.concat([rows, corrected], ignore_index=True), _REPORT, _REPORT_DIRT, period)


def application_runtime(random: np.random.Generator, projects: Projects, period: Period) -> Feed:
    """On each Monday since it is online what an application's image does and needs; a bad one is down more often."""
    times = projects.times
    monday = _mondays(period)
    project, week = (axis.ravel() for axis in np.indices((len(projects.filed), len(monday))))
    online = monday[week].astype("datetime64[s]") >= times[project, _ONLINE]
    project, week = project[online], week[online]
    quality = projects.filed.quality.to_numpy()[project]
    weeks_online = (monday[week].astype("datetime64[s]") - times[project, _ONLINE]) / (7 * _DAY)
    is_troubled = random.random(len(project)) < 0.10 - 0.08 * quality
    state = np.where(is_troubled, np.where(random.random(len(project)) < 0.5, "error", "stopped"), "running")
    requests = np.where(state == "stopped", 0, random.poisson(4000 * quality * (1 - np.exp(-(weeks_online + 1) / 12)) + 40))
    measured = monday[week].astype("datetime64[s]")
    rows = pd.DataFrame(
        {
            "project_id": projects.filed.project_id.to_numpy(object)[project],
            "measured_date": measured,
            "image_name": "scene/" + projects.filed.category_code.to_numpy(object)[project] + "-" + project.astype(str).astype(object),
            "image_version": "1." + (weeks_online // 6).astype(int).astype(str).astype(object) + ".0",
            "image_state_code": np.where((state == "running") & (random.random(len(project)) < 0.02), "updating", state),
            "cpu_pct": np.where(state == "stopped", 0.0, np.round(np.clip(random.lognormal(np.log(18), 0.5, len(project)), 1, 100), 1)),
            "memory_pct": np.where(state == "stopped", 0.0, np.round(np.clip(random.normal(46, 12, len(project)), 5, 98), 1)),
            "available_pct": np.where(
                is_troubled, np.round(random.uniform(40, 95, len(project)), 2), np.round(random.uniform(99, 100, len(project)), 2)
            ),
            "request_count": requests,
            "error_count": random.binomial(requests, 0.002 + 0.01 * (1 - quality)),
            "restart_count": random.poisson(np.where(is_troubled, 4, 0.1)),
            "source_version": 1,
            "changed_at": measured + np.timedelta64(6, "h"),
        }
    )
    return deliveries.from_province(random, "application_runtime", rows, _RUNTIME, _RUNTIME_DIRT, period)


def application_rating(random: np.random.Generator, projects: Projects, where: Standing, period: Period) -> Feed:
    """What other counties' committees say of a published application; the better ones are rated better, and more often."""
    at, project = _moments(random, projects, _OPERATED, _RATINGS_A_MONTH, period)
    county = random.integers(len(where.counties), size=len(at))
    score = np.clip(np.round(random.normal(2.2 + 2.6 * projects.filed.quality.to_numpy()[project], 0.8)), 1, 5).astype(int)
    remark = np.array([_COMMENTS[stars][number % len(_COMMENTS[stars])] or None for number, stars in enumerate(score)], object)
    rows = pd.DataFrame({"rated_at": at, "project_id": projects.filed.project_id.to_numpy(object)[project], "score": score, "remark": remark})
    rows = rows.assign(**_user(where, county), rating_id=deliveries.numbered("PJ", pd.Series(at)), source_version=1, changed_at=at)
    return deliveries.from_province(random, "application_rating", rows, _RATING, _RATING_DIRT, period, "rating_id")


def application_issue(random: np.random.Generator, projects: Projects, where: Standing, period: Period) -> Feed:
    """What users find wrong, taken up within days, handled within weeks, rated after that; a few are withdrawn or lie."""
    reported, project = _moments(random, projects, _ONLINE, _ISSUES_A_MONTH, period)
    count, quality = len(reported), projects.filed.quality.to_numpy()[project]
    taken_up = reported + np.round(random.exponential(36 * (1.6 - quality))).astype("timedelta64[h]")
    handled = taken_up + (24 + np.round(random.exponential(140 * (1.6 - quality)))).astype("timedelta64[h]")
    closed = handled + random.integers(2, 200, count).astype("timedelta64[h]")
    times = np.column_stack([reported, taken_up, handled, closed])
    times[random.random(count) < 0.05, 2:] = np.datetime64("NaT")
    rows = deliveries.histories(times, period)
    state, record = rows.state.to_numpy(), rows.record.to_numpy()
    kind = deliveries.drawn(random, _ISSUE_SHARE, count)
    text = np.array([_COMPLAINTS[of][number % len(_COMPLAINTS[of])] for number, of in enumerate(kind)], object)
    score = np.clip(np.round(random.normal(2.4 + 2.4 * quality, 0.8)), 1, 5).astype(int)
    county = random.integers(len(where.counties), size=count)
    found = pd.DataFrame(
        {
            "issue_id": deliveries.numbered("WT", pd.Series(reported))[record],
            "project_id": projects.filed.project_id.to_numpy(object)[project[record]],
            "type_code": kind[record],
            "description": text[record],
            "handler_organisation": kept(projects.filed.builder_organisation.to_numpy(object)[project[record]], state >= 1),
            "handling_note": kept(np.full(len(rows), "已修复并发布新版本", object), state >= 2),
            "state_code": np.array(_ISSUE_STATES, object)[state],
            "reported_at": reported[record],
            "handled_at": pd.Series(handled[record]).where(state >= 2, pd.NaT),
            "closed_at": pd.Series(closed[record]).where(state == 3, pd.NaT),
            "satisfaction_score": pd.array(np.where(state == 3, score[record], 0), "Int64"),
            "source_version": rows.version,
            "changed_at": rows["at"],
            **_user(where, county[record]),
        }
    )
    found.loc[state != 3, "satisfaction_score"] = pd.NA
    return deliveries.from_province(random, "application_issue", found, _ISSUE, _ISSUE_DIRT, period, "issue_id")


def application_test(random: np.random.Generator, projects: Projects, period: Period) -> Feed:
    """Each module of each project: first the plan, then the result; a bad project fails more often, and is tested again as another test."""
    begun = projects.times[:, _TESTED]
    project, module = (axis.ravel() for axis in np.indices((len(projects.filed), len(_MODULES))))
    planned = begun[project] + (3 + 3 * module) * _DAY
    late = np.round(random.exponential(2, len(project))).astype("timedelta64[D]")
    times = np.column_stack([begun[project], planned + late + np.timedelta64(5, "h")]).astype("datetime64[s]")
    rows = deliveries.histories(times, period)
    record, is_tested = rows.record.to_numpy(), rows.state.to_numpy() == 1
    has_failed = random.random(len(project)) < 0.3 - 0.25 * projects.filed.quality.to_numpy()[project]
    cases = random.integers(8, 90, len(project))
    defects = random.poisson(2, len(project)) + np.where(has_failed, 4, 0)
    found = pd.DataFrame(
        {
            "test_id": deliveries.numbered("CS", pd.Series(begun[project]))[record],
            "project_id": projects.filed.project_id.to_numpy(object)[project[record]],
            "module_name": np.array(_MODULES, object)[module[record]],
            "type_code": np.array(["function", "function", "performance", "security", "interface"], object)[module[record]],
            "tester_organisation": np.array(_TESTERS, object)[project[record] % len(_TESTERS)],
            "planned_date": planned[record],
            "tested_at": pd.Series(times[record, 1]).where(is_tested, pd.NaT),
            "result_code": np.where(is_tested, np.where(has_failed[record], "failed", "passed"), "planned"),
            "case_count": cases[record],
            "defect_count": pd.array(defects[record], "Int64"),
            "source_version": rows.version,
            "changed_at": rows["at"],
        }
    )
    found.loc[~is_tested, "defect_count"] = pd.NA
    return deliveries.from_province(random, "application_test", found, _TEST, _TEST_DIRT, period, "test_id")


def _mondays(period: Period) -> NDArray[np.datetime64]:
    """The Mondays of the period and the one before it."""
    # 1970 began on a Thursday.
    first = period.first_day - (period.first_day.astype(int) + 3) % 7 * _DAY
    found: NDArray[np.datetime64] = np.arange(first, period.end.astype("datetime64[D]"), 7)
    return found


def _moments(
    random: np.random.Generator, projects: Projects, part: int, a_month: float, period: Period
) -> tuple[NDArray[np.datetime64], NDArray[np.int64]]:
    """(time, row of the project) of what happens so often a month after a project has come to `part`, by time; the quarter before counts too."""
    since = np.maximum(projects.times[:, part], period.start - 90 * _DAY)
    left: NDArray[Any] = period.end - since
    open_days = np.nan_to_num(np.maximum(left / _DAY, 0))
    count = random.poisson(a_month * open_days / 30 * (0.5 + projects.filed.quality.to_numpy()))
    # One at least: a feed without a row says nothing about its format.
    count[0] = max(count[0], 0 if count.sum() else 1)
    project = np.repeat(np.arange(len(projects.filed)), count)
    start = np.where(open_days[project] > 0, since[project], period.start - 1 * _DAY)
    seconds = (random.random(len(project)) * np.maximum(open_days[project], 1) * 86400).astype("timedelta64[s]")
    at = np.minimum(start + seconds, period.end - np.timedelta64(1, "s")).astype("datetime64[s]")
    order = np.argsort(at, kind="stable")
    return at[order], project[order]


def _user(where: Standing, county: NDArray[np.int64]) -> dict[str, NDArray[np.object_]]:
    return {
        "region_code": where.counties.region_code.to_numpy(object)[county],
        "organisation_name": where.counties.region_name.to_numpy(object)[county] + "委政法委",
    }
