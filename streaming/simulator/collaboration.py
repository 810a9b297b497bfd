"""How offices work together: who uses the platforms, the notices and command messages they get, and the tickets for what goes wrong between systems.

A ticket of the monitor names the interface call that failed; a command message the event that is late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import deliveries, people
from streaming.simulator.city_lists import organisations
from streaming.simulator.dirt import ELSEWHERE, Dirt
from streaming.simulator.feeds import PROVINCE, Ground
from streaming.simulator.parcels import CITY_PLATFORM, Feed
from streaming.simulator.texts import Texts, kept

_SOURCE = "province_platform"
# Users of each kind of organisation above the grid; of the grids' leaders some have an account of their own, in the sample.
_USERS = {
    "city_centre": ("leader", "administrator", "mediator"),
    "county_centre": ("leader", "administrator", "mediator"),
    "command_room": ("operator", "operator"),
    "safety_platform": ("leader",),
}
_GRID_LEADERS = 400
_CLOSED_SHARE, _DINGTALK_SHARE, _POLICE_SHARE = 0.03, 0.85, 0.3
# assumed: a notice that asks for receipts every twenty-five days, to the county centres and command rooms; nine of ten read it within two days.
_DAYS_PER_NOTICE, _READ_SHARE, _CONFIRMED_SHARE, _OTHER_NOTICES = 25, 0.95, 0.9, 2
_SUBJECTS = (
    "春季安全隐患排查",
    "出租房消防专项检查",
    "矛盾纠纷集中化解",
    "网格划分调整",
    "防汛防台准备",
    "重点人员走访",
    "平安建设月度会议",
    "数据质量整改",
)
_NOTICE_TYPES = {"general": 0.45, "document": 0.25, "meeting": 0.15, "warning": 0.1, "rectify": 0.05}
# assumed: of the events that are late one in twelve brings a message, half of them by rule.
_COMMANDED_SHARE, _MOST_COMMANDS, _BY_RULE_SHARE, _REPLIED_SHARE, _UNDELIVERED_SHARE = 0.08, 1500, 0.6, 0.85, 0.02
_REPLIES = ("已到场处置完毕，现场照片已上传", "已督促责任单位，三日内办结", "当事人外出，已电话联系", "需县级协调，已提级上报", "核查属实，已整改")
# assumed: the monitor opens a ticket after the third failed attempt, and for a third of the calls that got no answer.
_ATTEMPTS_BEFORE_TICKET, _UNANSWERED_SHARE, _MOST_TICKETS = 3, 0.33, 1200
_BY_HAND_SHARE, _LEAST_BY_HAND = 0.15, 8
_TICKET_DAYS, _RETURNED_SHARE, _JOINT_SHARE, _WITHDRAWN_SHARE = 2, 0.12, 0.08, 0.02
_BY_HAND = {"data_quality": 0.35, "task_sync": 0.2, "data_sync": 0.2, "function": 0.15, "permission": 0.1}
_RESPONSIBILITY = {"counterpart": 0.5, "initiator": 0.2, "platform": 0.15, "network": 0.12, "shared": 0.03}
_OPERATORS = {
    "province_platform": "省基层治理平台运维组", "city_platform": "市级基层治理平台运维组", "department_system": "省级部门业务系统运维组",
    "hotline_system": "12345热线运维组", "video_system": "视频感知平台运维组", "petition_system": "信访系统运维组",
}  # fmt: skip
_CLOSINGS = (
    "证书到期，已更换",
    "对方服务重启后恢复，已补传",
    "字段长度不足，已扩容",
    "网络割接所致，已恢复",
    "代码表未同步，已更新",
    "重复调用，无需处理",
)
_DAY = 86_400
_TEXT, _LONG, _DATE, _TIME = pa.string(), pa.int64(), pa.date32(), pa.timestamp("us")
_USER = pa.schema(
    [
        *(
            (name, _TEXT)
            for name in ("user_id", "organisation_id", "role_code", "member_id", "person_name", "phone", "dingtalk_user_id", "police_user_id")
        ),
        ("status_code", _TEXT),
        ("activated_date", _DATE),
        ("closed_date", _DATE),
        ("source_version", _LONG),
        ("changed_at", _TIME),
    ]
)
_STEP = pa.schema(
    [
        ("step_id", _TEXT),
        ("ticket_id", _TEXT),
        ("step_no", _LONG),
        *((name, _TEXT) for name in ("action_code", "from_state", "to_state", "actor_organisation")),
        ("happened_at", _TIME),
        ("deadline_at", _TIME),
        ("evidence_digest", _TEXT),
        ("source_version", _LONG),
        ("changed_at", _TIME),
    ]
)
_NOTICE = (
    "notice_id", "type_code", "title", "audience_code", "audience", "region_code", "organisation_name", "is_receipt_required", "reported_at",
    "deadline_at", "recipient_count", "attachment_digest", "source_version", "changed_at",
)  # fmt: skip
_NOTICE_RECEIPT = (
    "receipt_id", "notice_id", "organisation_id", "user_id", "region_code", "delivered_at", "read_at", "confirmed_at", "state_code", "note",
    "source_version", "changed_at",
)  # fmt: skip
_COMMAND_RECEIPT = (
    "receipt_id", "command_type_code", "trigger_code", "rule_name", "title", "origin_type", "origin_id", "organisation_id", "user_id", "region_code",
    "sent_at", "delivered_at", "read_at", "replied_at", "deadline_at", "state_code", "reply", "evidence_digest", "source_version", "changed_at",
)  # fmt: skip
_TICKET = (
    "ticket_id", "type_code", "channel_code", "title", "description", "initiator_system", "target_system", "region_code", "organisation_name",
    "responsible_organisation", "reported_at", "deadline_at", "closed_at", "state_code", "responsibility_code", "closing_note", "evidence_digest",
    "origin_type", "origin_id", "correlation_id", "source_version", "changed_at",
)  # fmt: skip
_USER_DIRT = (
    Dirt("unknown_code", "code_list", "role_code", {"role_code": "管理"}),
    Dirt("missing_required", "required", "organisation_id", {"organisation_id": None}),
    Dirt("wrong_pattern", "pattern", "phone", {"phone": "8765-4321"}),
    Dirt("broken_rule", "closed_has_date", None, {"status_code": "closed", "closed_date": None}),
)
_NOTICE_DIRT = (
    Dirt("unknown_code", "code_list", "type_code", {"type_code": "通知"}),
    Dirt("missing_required", "required", "title", {"title": None}),
    Dirt("wrong_type", "type", "recipient_count", {"recipient_count": "全体"}),
)
_NOTICE_RECEIPT_DIRT = (
    Dirt("unknown_code", "code_list", "state_code", {"state_code": "已签收"}),
    Dirt("missing_required", "required", "organisation_id", {"organisation_id": None}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("unknown_column", "unknown_column", "reader_name", {"reader_name": "示例甲"}),
)
_COMMAND_DIRT = (
    Dirt("unknown_code", "code_list", "command_type_code", {"command_type_code": "督办"}),
    Dirt("missing_required", "required", "user_id", {"user_id": None}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("broken_rule", "origin_in_pairs", None, {"origin_type": "event", "origin_id": None}),
)
_TICKET_DIRT = (
    Dirt("unknown_code", "code_list", "type_code", {"type_code": "接口问题"}),
    Dirt("missing_required", "required", "title", {"title": None}),
    Dirt("wrong_type", "type", "reported_at", {"reported_at": "上周一"}),
    Dirt("broken_rule", "two_systems", None, {"initiator_system": "video_system", "target_system": "video_system"}),
)
# Typed files cannot hold text for a number.
_STEP_DIRT = (
    Dirt("unknown_code", "code_list", "action_code", {"action_code": "处理"}),
    Dirt("missing_required", "required", "ticket_id", {"ticket_id": None}),
    Dirt("broken_rule", "report_is_first", None, {"step_no": 1, "action_code": "accept", "from_state": "dispatched", "to_state": "handling"}),
)


def feeds(random: np.random.Generator, ground: Ground, cities: Sequence[str], failed_calls: pd.DataFrame) -> Iterator[Feed]:
    """By quarter: users as CSV, notices, receipts and tickets as JSONL, steps of tickets as Parquet."""
    tree = organisations(ground)
    users = _users(random, ground, tree)
    placed = pd.concat([deliveries.quarterly(part, part.sender_code, "platform_user", "csv") for part in _versions(random, ground, users)])
    yield deliveries.typed_feed(
        random, CITY_PLATFORM, "platform_user", placed.reset_index(drop=True), _USER, _USER_DIRT, gb18030_senders=cities[1::2]
    )
    # Whoever is called first at an organisation reads what it gets.
    reader = users[users.member_id.isna()].drop_duplicates(["sender_code", "organisation_id"])
    reader = reader.merge(tree, on=["sender_code", "organisation_id"])
    notices = _notices(random, ground, len(tree))
    yield _lines(random, ground, _SOURCE, "notice", notices, PROVINCE, _NOTICE, _NOTICE_DIRT)
    receipts = _notice_receipts(random, notices, reader)
    yield _lines(random, ground, CITY_PLATFORM, "notice_receipt", receipts, receipts.sender_code, _NOTICE_RECEIPT, _NOTICE_RECEIPT_DIRT)
    commands = _commands(random, ground, reader)
    yield _lines(random, ground, CITY_PLATFORM, "command_receipt", commands, commands.sender_code, _COMMAND_RECEIPT, _COMMAND_DIRT)
    tickets = _tickets(random, ground, failed_calls)
    steps = _steps(random, tickets)
    steps = steps[steps.happened_at < ground.end].reset_index(drop=True)
    yield _lines(random, ground, _SOURCE, "ticket", _states(tickets, steps), PROVINCE, _TICKET, _TICKET_DIRT)
    placed = deliveries.quarterly(steps.assign(source_version=1, changed_at=steps.happened_at), PROVINCE, "ticket_step", "parquet")
    yield deliveries.typed_feed(random, _SOURCE, "ticket_step", placed, _STEP, _STEP_DIRT)


def failed(calls: pd.DataFrame) -> pd.DataFrame:
    """Of the rows of the feed of calls those for which the monitor may open a ticket: the third attempt that failed, and what got no answer."""
    is_good = calls["_kind"].isna().to_numpy()
    unanswered = calls.http_status.isna().to_numpy()
    third = (calls.attempt_no.to_numpy() == _ATTEMPTS_BEFORE_TICKET) & (calls.http_status.fillna(0).to_numpy(np.float64) >= 400)
    columns = ["call_id", "interface_code", "caller_system", "callee_system", "region_code", "correlation_id", "changed_at"]
    found: pd.DataFrame = calls.loc[is_good & (unanswered | third), columns]
    return found.assign(is_unanswered=unanswered[is_good & (unanswered | third)])


def _users(random: np.random.Generator, ground: Ground, tree: pd.DataFrame) -> pd.DataFrame:
    """Everybody with an account, by sender: those of offices, then some leaders of grids."""
    roles = tree.organisation_type_code.map(_USERS).dropna()
    staff = roles.explode()
    offices = (
        tree.loc[staff.index, ["sender_code", "organisation_id"]].assign(role_code=staff.to_numpy(object), member_id=None).reset_index(drop=True)
    )
    members = ground.members
    serving = (members.role_code == "leader") & members.left_date.isna() & (members.joined_date < ground.first_day)
    leaders = members[serving].iloc[np.sort(random.permutation(int(serving.sum()))[:_GRID_LEADERS])]
    of_grid = tree[tree.grid_id.notna()].set_index(["sender_code", "grid_id"]).organisation_id
    grid_id = ground.territory.grids.grid_id.to_numpy(object)[leaders.grid]
    place = pd.MultiIndex.from_arrays([leaders.sender_code.to_numpy(object), grid_id])
    led = pd.DataFrame(
        {
            "sender_code": leaders.sender_code.to_numpy(object),
            "organisation_id": of_grid.reindex(place).to_numpy(object),
            "role_code": "grid_leader",
            "member_id": leaders.member_id.to_numpy(object),
            "person_name": leaders.person_name.to_numpy(object),
            "phone": leaders.phone.to_numpy(object),
        }
    )
    offices["person_name"], offices["phone"] = people.names(random, len(offices)), people.phones(random, len(offices))
    rows = pd.concat([offices, led], ignore_index=True).sort_values("sender_code", kind="stable", ignore_index=True)
    number = rows.groupby("sender_code").cumcount().to_numpy() + 1
    rows["user_id"] = "YH" + pd.Series(number).astype(str).str.zfill(6)
    # The messenger does not reach the grids.
    rows["dingtalk_user_id"] = _accounts(random, "UD_", rows.member_id.isna().to_numpy() & (random.random(len(rows)) < _DINGTALK_SHARE))
    rows["police_user_id"] = _accounts(random, "JZ_", (rows.role_code == "operator").to_numpy() & (random.random(len(rows)) < _POLICE_SHARE))
    rows["activated_date"] = (ground.first_day - random.integers(30, 900, len(rows)).astype("timedelta64[D]")).astype("datetime64[s]")
    return rows


def _accounts(random: np.random.Generator, prefix: str, where: NDArray[np.bool_]) -> Texts:
    return kept(np.add(prefix, random.integers(10**8, 10**9, len(where)).astype(str).astype(object)), where)


def _versions(random: np.random.Generator, ground: Ground, users: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All at the start; then the accounts of those who went, closed."""
    first = users.assign(status_code="active", closed_date=deliveries.no_times(users), source_version=1)
    first["changed_at"] = (ground.first_day + np.timedelta64(7200, "s")).astype("datetime64[s]")
    gone = first[(random.random(len(first)) < _CLOSED_SHARE) & (first.role_code != "operator")].assign(status_code="closed", source_version=2)
    day = (ground.first_day + random.integers(1, max(ground.days - 1, 2), len(gone)).astype("timedelta64[D]")).astype("datetime64[s]")
    return first, gone.assign(closed_date=day, changed_at=day + np.timedelta64(10 * 3600, "s"))


def _notices(random: np.random.Generator, ground: Ground, recipients: int) -> pd.DataFrame:
    """Those that ask for a receipt, and twice as many that do not."""
    asking = max(1, ground.days // _DAYS_PER_NOTICE)
    count = asking * (1 + _OTHER_NOTICES)
    day = np.minimum(np.sort(random.integers(ground.days, size=count)), max(ground.days - 3, 0))
    at = ground.first_day.astype("datetime64[s]") + (day * _DAY + random.integers(9 * 3600, 17 * 3600, count)).astype("timedelta64[s]")
    required = np.zeros(count, np.bool_)
    required[np.linspace(0, count - 1, asking).astype(int)] = True
    reported_at = pd.Series(at)
    subject = np.array(_SUBJECTS, object)[random.integers(len(_SUBJECTS), size=count)]
    return pd.DataFrame(
        {
            "notice_id": deliveries.numbered("TZ", reported_at, pd.Series(PROVINCE, range(count), dtype=object)),
            "type_code": deliveries.drawn(random, _NOTICE_TYPES, count),
            "title": "关于" + subject + "的通知",
            "audience_code": np.where(required, "region", "role"),
            "audience": np.where(required, "县级、乡级", "网格长"),
            "region_code": PROVINCE,
            "organisation_name": "省平安办",
            "is_receipt_required": required,
            "reported_at": reported_at,
            "deadline_at": (reported_at + np.timedelta64(3, "D")).where(required),
            "recipient_count": np.where(required, recipients, 10 * recipients),
            "attachment_digest": deliveries.digests(random, random.random(count) < 0.5),
            "source_version": 1,
            "changed_at": reported_at,
        }
    )


def _notice_receipts(random: np.random.Generator, notices: pd.DataFrame, reader: pd.DataFrame) -> pd.DataFrame:
    """What each county centre and command room makes of each notice that asks for it."""
    asked = notices.loc[notices.is_receipt_required, ["notice_id", "reported_at"]].assign(notice_id=f"{PROVINCE}-" + notices.notice_id)
    readers = reader[reader.organisation_type_code.isin(["county_centre", "command_room"])]
    rows = asked.merge(readers[["sender_code", "organisation_id", "user_id", "region_code"]], how="cross")
    count = len(rows)
    drawn = random.random(count)
    delivered_at = rows.reported_at + random.integers(1, 60, count).astype("timedelta64[s]")
    read_at = delivered_at + np.minimum(random.lognormal(np.log(2 * 3600), 1.2, count), 10 * _DAY).astype("timedelta64[s]")
    confirmed_at = read_at + random.integers(20, 1800, count).astype("timedelta64[s]")
    is_read, is_confirmed = drawn < _READ_SHARE, drawn < _CONFIRMED_SHARE
    rows = rows.sort_values(["sender_code", "reported_at", "organisation_id"], kind="stable")
    rows["receipt_id"] = deliveries.numbered("HZ", rows.reported_at, rows.sender_code)
    rows = rows.sort_index()
    never = deliveries.no_times(rows)
    first = rows.assign(delivered_at=delivered_at, read_at=never, confirmed_at=never, state_code="delivered", note=None, source_version=1)
    first["changed_at"] = delivered_at
    last = first.assign(read_at=read_at.where(is_read), confirmed_at=confirmed_at.where(is_confirmed), source_version=2)
    last["state_code"] = np.where(is_confirmed, "confirmed", "read")
    last["changed_at"] = confirmed_at.where(is_confirmed, read_at)
    last["note"] = kept(np.full(count, "已布置落实", object), is_confirmed & (random.random(count) < 0.3))
    # Most platforms report a receipt once it is confirmed; what was seen before is then not sent.
    unread_first = ~is_read | (random.random(count) < 0.2)
    return pd.concat([first[unread_first], last[is_read]], ignore_index=True)


def _commands(random: np.random.Generator, ground: Ground, reader: pd.DataFrame) -> pd.DataFrame:
    """Messages to the operators of the townships whose events are late."""
    events = ground.events
    limit = events.limit_hours.to_numpy().astype("timedelta64[h]")
    due = events.reported_at.to_numpy() + limit
    end = np.datetime64(ground.end, "s")
    is_late = np.where(events.closed_at.isna(), due < end, events.closed_at.to_numpy() > due) & ~events.is_deleted.to_numpy()
    late = np.flatnonzero(is_late)
    # The smallest province has few late events, and still some messages.
    wanted = min(_MOST_COMMANDS, max(6, round(len(late) * _COMMANDED_SHARE)))
    chosen = np.sort(random.permutation(late)[:wanted]) if len(late) >= 6 else np.arange(min(6, len(events)))
    town = ground.territory.grids.town_code.to_numpy(object)[events.grid.to_numpy()[chosen]]
    rows = pd.DataFrame(
        {"region_code": town, "subject": events.event_id.to_numpy(object)[chosen], "city": events.sender_code.to_numpy(object)[chosen]}
    )
    sent_at = due[chosen] + random.integers(600, _DAY, len(rows)).astype("timedelta64[s]")
    rows["sent_at"] = np.maximum(sent_at, ground.first_day.astype("datetime64[s]"))
    rooms = reader[reader.organisation_type_code == "command_room"][["sender_code", "organisation_id", "user_id", "region_code"]]
    rows = rows.merge(rooms, on="region_code").sort_values(["sender_code", "sent_at", "subject"], kind="stable", ignore_index=True)
    count = len(rows)
    by_rule = random.random(count) < _BY_RULE_SHARE
    drawn = random.random(count)
    delivered = drawn >= _UNDELIVERED_SHARE
    replied = delivered & (drawn < _UNDELIVERED_SHARE + _REPLIED_SHARE)
    delivered_at = rows.sent_at + random.integers(1, 20, count).astype("timedelta64[s]")
    read_at = delivered_at + random.integers(30, 6 * 3600, count).astype("timedelta64[s]")
    replied_at = read_at + random.integers(600, 18 * 3600, count).astype("timedelta64[s]")
    rows = rows.assign(
        receipt_id=deliveries.numbered("ZL", rows.sent_at, rows.sender_code),
        command_type_code=np.where(by_rule, "urge", deliveries.drawn(random, {"urge": 0.5, "rectify": 0.3, "warn": 0.2}, count)),
        trigger_code=np.where(by_rule, "rule", "manual"),
        rule_name=kept(np.full(count, "事件超期未办结", object), by_rule),
        title="请督促办理超期事件",
        origin_type="event",
        origin_id=rows.city + "-" + rows.subject,
        delivered_at=delivered_at.where(delivered),
        deadline_at=rows.sent_at + np.timedelta64(1, "D"),
    )
    never = deliveries.no_times(rows)
    state = np.where(delivered, "delivered", "failed")
    sent = rows.assign(read_at=never, replied_at=never, state_code=state, reply=None, evidence_digest=None)
    sent = sent.assign(source_version=1, changed_at=delivered_at.where(delivered, rows.sent_at + np.timedelta64(60, "s")))
    last = sent.assign(read_at=read_at, replied_at=replied_at.where(replied), source_version=2)
    last["state_code"] = np.where(replied, "replied", "overdue")
    last["reply"] = kept(np.array(_REPLIES, object)[random.integers(len(_REPLIES), size=count)], replied)
    last["evidence_digest"] = deliveries.digests(random, replied & (random.random(count) < 0.5))
    last["changed_at"] = replied_at.where(replied, rows.sent_at + np.timedelta64(_DAY + 60, "s"))
    return pd.concat([sent, last[delivered]], ignore_index=True)


def _tickets(random: np.random.Generator, ground: Ground, calls: pd.DataFrame) -> pd.DataFrame:
    """A ticket for each call that the monitor takes up, and some that people write; by time of report."""
    taken = calls[~calls.is_unanswered | (random.random(len(calls)) < _UNANSWERED_SHARE)]
    taken = taken.iloc[np.sort(random.permutation(len(taken))[:_MOST_TICKETS])].reset_index(drop=True)
    unanswered = taken.is_unanswered.to_numpy()
    interface = taken.interface_code.to_numpy(object)
    monitored = pd.DataFrame(
        {
            "type_code": np.where(np.char.startswith(interface.astype(str), "event"), "event_sync", "interface_error"),
            "channel_code": "monitor",
            "title": np.where(unanswered, "接口调用无响应", "接口多次重试未成功"),
            "description": "接口 " + interface + np.where(unanswered, " 调用后无响应，未确认送达", " 三次重试后仍未成功，请核查"),
            "initiator_system": taken.caller_system.to_numpy(object),
            "target_system": taken.callee_system.to_numpy(object),
            "region_code": taken.region_code.to_numpy(object),
            "organisation_name": "省统一接口平台",
            "origin_type": "interface_call",
            "origin_id": f"{PROVINCE}-" + taken.call_id.to_numpy(object),
            "correlation_id": taken.correlation_id.to_numpy(object),
            "reported_at": taken.changed_at.to_numpy().astype("datetime64[s]") + np.timedelta64(300, "s"),
        }
    )
    count = max(_LEAST_BY_HAND, round(len(monitored) * _BY_HAND_SHARE))
    grids = ground.territory.grids.iloc[random.integers(len(ground.territory.grids), size=count)]
    second = random.integers(max(ground.days - 2, 1), size=count) * _DAY + random.integers(9 * 3600, 17 * 3600, count)
    kind = deliveries.drawn(random, _BY_HAND, count)
    by_hand = pd.DataFrame(
        {
            "type_code": kind,
            "channel_code": deliveries.drawn(random, {"page": 0.8, "interface": 0.2}, count),
            "title": pd.Series(kind)
            .map({"data_quality": "下发数据与实际不符", "task_sync": "任务反馈未同步", "data_sync": "共享数据更新不及时"})
            .fillna("平台使用问题"),
            "description": grids.county.to_numpy(object) + "社会治理中心反映，请协助核查处理",
            "initiator_system": "city_platform",
            "target_system": deliveries.drawn(random, {"province_platform": 0.7, "department_system": 0.3}, count),
            "region_code": grids.county_code.to_numpy(object),
            "organisation_name": grids.county.to_numpy(object) + "社会治理中心",
            "reported_at": ground.first_day.astype("datetime64[s]") + second.astype("timedelta64[s]"),
        }
    )
    rows = pd.concat([monitored, by_hand], ignore_index=True).sort_values(["reported_at", "origin_id"], kind="stable", ignore_index=True)
    rows = rows[rows.reported_at < ground.end].reset_index(drop=True)
    count = len(rows)
    rows["ticket_id"] = deliveries.numbered("GD", rows.reported_at, pd.Series(PROVINCE, rows.index, dtype=object))
    rows["deadline_at"] = rows.reported_at + np.timedelta64(_TICKET_DAYS, "D")
    rows["responsible_organisation"] = rows.target_system.map(_OPERATORS)
    rows["responsibility_code"] = deliveries.drawn(random, _RESPONSIBILITY, count)
    rows["closing_note"] = np.array(_CLOSINGS, object)[random.integers(len(_CLOSINGS), size=count)]
    rows["evidence_digest"] = deliveries.digests(random, random.random(count) < 0.7)
    return rows


def _steps(random: np.random.Generator, tickets: pd.DataFrame) -> pd.DataFrame:
    """report, dispatch, accept, perhaps join, submit, perhaps return and submit again, judge, close; or withdrawn after the first."""
    count = len(tickets)
    drawn = random.random((count, 2))
    withdrawn, returned, joint = drawn[:, 0] < _WITHDRAWN_SHARE, drawn[:, 1] < _RETURNED_SHARE, drawn[:, 1] >= 1 - _JOINT_SHARE
    everybody = ~withdrawn
    target, platform = tickets.responsible_organisation.to_numpy(object), np.full(count, "省业务协同组", object)
    # action, from, to, who, whose step it is, longest hours since the step before
    path: list[tuple[str, str | None, str, Any, NDArray[np.bool_], float]] = [
        ("report", None, "reported", tickets.organisation_name.to_numpy(object), np.ones(count, np.bool_), 0),
        ("withdraw", "reported", "withdrawn", tickets.organisation_name.to_numpy(object), withdrawn, 8),
        ("dispatch", "reported", "dispatched", platform, everybody, 3),
        ("accept", "dispatched", "handling", target, everybody, 10),
        ("join", "handling", "joint", target, everybody & joint, 10),
        ("submit", "joint", "handled", target, everybody & joint, 30),
        ("submit", "handling", "handled", target, everybody & ~joint, 30),
        ("return", "handled", "handling", tickets.organisation_name.to_numpy(object), everybody & returned, 12),
        ("submit", "handling", "handled", target, everybody & returned, 24),
        ("judge", "handled", "handled", platform, everybody, 12),
        ("close", "handled", "closed", platform, everybody, 2),
    ]
    at, number, parts = tickets.reported_at.to_numpy().astype("datetime64[s]"), np.zeros(count, np.int64), []
    for action, before, after, who, where, hours in path:
        at = np.where(where, at + (random.uniform(0.05, 1, count) * hours * 3600).astype("timedelta64[s]"), at)
        number = number + where
        part = pd.DataFrame(
            {"ticket": np.arange(count), "step_no": number, "action_code": action, "from_state": before, "to_state": after, "happened_at": at}
        )
        part["actor_organisation"] = who
        parts.append(part[where].astype({"from_state": object}))
    rows = pd.concat(parts, ignore_index=True).sort_values(["ticket", "step_no"], kind="stable", ignore_index=True)
    rows["ticket_id"] = tickets.ticket_id.to_numpy(object)[rows.ticket]
    rows["step_id"] = rows.ticket_id + "-" + rows.step_no.astype(str)
    rows["deadline_at"] = pd.Series(tickets.deadline_at.to_numpy()[rows.ticket]).where(rows.action_code == "dispatch")
    rows["evidence_digest"] = deliveries.digests(random, (rows.action_code == "submit").to_numpy() & (random.random(len(rows)) < 0.5))
    return rows


def _states(tickets: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """The tickets as their steps leave them: as reported, and where there is more as it stands after the last step."""
    first = tickets.assign(state_code="reported", closed_at=deliveries.no_times(tickets), source_version=1, changed_at=tickets.reported_at)
    first[["responsibility_code", "closing_note", "evidence_digest", "responsible_organisation"]] = None
    newest = steps.drop_duplicates("ticket", keep="last").set_index("ticket").reindex(tickets.index)
    closed = (newest.to_state == "closed").to_numpy()
    last = tickets.assign(
        state_code=newest.to_state, closed_at=newest.happened_at.where(closed), source_version=newest.step_no, changed_at=newest.happened_at
    )
    for column in ("responsibility_code", "closing_note", "evidence_digest"):
        last[column] = kept(last[column].to_numpy(object), closed)
    last = last[newest.step_no > 1].astype({"source_version": int})
    return pd.concat([first, last], ignore_index=True)


def _lines(
    random: np.random.Generator,
    ground: Ground,
    source: str,
    name: str,
    rows: pd.DataFrame,
    sender: Any,
    columns: Sequence[str],
    kinds: Sequence[Dirt],
) -> Feed:
    placed = deliveries.quarterly(rows, sender, name, "jsonl")
    return deliveries.line_feed(random, source, name, placed[placed.changed_at < ground.end], columns, kinds)
