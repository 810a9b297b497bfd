"""What people make of the findings: cities answer those sent down to them and report what they did; reviewers label a sample.

The findings are those of things that were injected, by the ids that the model gives them; a report that the model misses is answered for all that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import dirt, people
from streaming.simulator.feeds import PROVINCE, Ground
from streaming.simulator.parcels import LINE, PLACE, Feed, arranged, json_lines
from streaming.simulator.texts import kept
from streaming.simulator.truth import KINDS, Truth

_MODEL, _MODEL_VERSION, _PERIOD = "invalid_event", "1.0.0", "once"
# assumed: the province sends down three findings of ten, on Mondays at nine, to be answered within five days.
_SENT_DOWN_SHARE, _MONDAY_HOUR, _ANSWER_DAYS = 0.3, 9, 5
_THURSDAY = 3  # what 1 January 1970 was, Monday being 0
# assumed: what the city's command room says to a finding that is right. One in ten is denied all the same.
_OPINIONS = {"agree": 0.82, "partly": 0.08, "disagree": 0.10}
_CLOSED_SHARE, _RETURNED_SHARE = 0.85, 0.5
# assumed: of the results some are first reported as still in hand.
_IN_PROGRESS_SHARE, _EVIDENCE_SHARE = 0.25, 0.6
# assumed: a quarter of the findings and one in two hundred of the other events are labelled, one label in ten is a second reviewer's.
_LABELLED_SHARE, _OTHERS_LABELLED_SHARE, _SECOND_SHARE = 0.25, 0.005, 0.10
# assumed: reviewers who see photographs and the record err in one of 25 and cannot tell in one of 33.
ERROR_SHARE, UNSURE_SHARE = 0.04, 0.03
_REVIEWERS = 12
_EACH_KIND_SHARE = 0.001
# Why the record is as it is, by what was injected, and which field of it the city corrects to what.
_REASONS = {
    "nil_report": "no_problem_found",
    "near_duplicate": "repeated_report",
    "instant_close": "late_entry",
    "teleport": "position_drift",
    "out_of_grid": "position_drift",
    "burst": "late_entry",
}
_CORRECTIONS: Mapping[str, tuple[str, str]] = {
    "nil_report": ("state_code", "withdrawn"),
    "near_duplicate": ("state_code", "withdrawn"),
    "instant_close": ("closing_note", "已补充现场照片和办理经过"),
}
_MEASURES: Mapping[str, tuple[str, ...]] = {
    "withdrawn": ("核查属重复上报，已撤销本条", "例行巡查零报告，已撤销并提醒网格员", "经核实无实际问题，已撤销"),
    "corrected": ("已补录办结说明和照片", "已更正类别并补充现场照片", "已约谈上报人并补正办理经过"),
    "unfounded": ("现场复核，问题属实，并非无效上报", "与原事件为相邻两处，不属重复", "当日确已到场处置，有照片为证"),
}

_RESULT = pa.schema(
    [
        ("result_id", pa.string()),
        ("origin_type", pa.string()),
        ("origin_id", pa.string()),
        ("correlation_id", pa.string()),
        ("region_code", pa.string()),
        ("grid_id", pa.string()),
        ("outcome_code", pa.string()),
        ("measures", pa.string()),
        ("organisation_name", pa.string()),
        ("dispatched_at", pa.timestamp("us")),
        ("deadline_at", pa.timestamp("us")),
        ("handled_at", pa.timestamp("us")),
        ("reported_at", pa.timestamp("us")),
        ("evidence_digest", pa.string()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_FEEDBACK = (
    "feedback_id", "finding_id", "model", "subject_type", "subject_id", "region_code", "state_code", "opinion_code", "reason_code", "field_name",
    "corrected_value", "note", "organisation_name", "dispatched_at", "signed_at", "reported_at", "closed_at", "source_version", "changed_at",
)  # fmt: skip
_LABEL = (
    "label_id", "finding_id", "model", "model_version", "subject_type", "subject_id", "region_code", "label_code", "remark", "reviewer_id",
    "reviewer_name", "organisation_name", "sampling_probability", "sample_id", "purpose_code", "labelled_at", "source_version", "changed_at",
)  # fmt: skip
_BAD_RESULTS = (
    dirt.Dirt("wrong_type", "type", "dispatched_at", {"dispatched_at": "上周一"}),
    dirt.Dirt("unknown_code", "code_list", "outcome_code", {"outcome_code": "已整改"}),
    dirt.Dirt("missing_required", "required", "origin_id", {"origin_id": None}),
    dirt.Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": dirt.ELSEWHERE}),
    dirt.Dirt("broken_rule", "finished_has_time", None, {"outcome_code": "confirmed", "handled_at": None}),
)
_BAD_FEEDBACK = (
    dirt.Dirt("wrong_type", "type", "source_version", {"source_version": "第二版"}),
    dirt.Dirt("wrong_pattern", "pattern", "finding_id", {"finding_id": "F-17"}),
    dirt.Dirt("unknown_code", "code_list", "state_code", {"state_code": "已销号"}),
    dirt.Dirt("broken_rule", "checked_has_opinion", None, {"state_code": "corrected", "opinion_code": None, "closed_at": None}),
    dirt.Dirt("unknown_column", "unknown_column", "contact_name", {"contact_name": "示例甲"}),
)
_BAD_LABELS = (
    dirt.Dirt("wrong_type", "type", "sampling_probability", {"sampling_probability": "四分之一"}),
    dirt.Dirt("missing_required", "required", "sampling_probability", {"sampling_probability": None}),
    dirt.Dirt("unknown_code", "code_list", "label_code", {"label_code": "成立"}),
    dirt.Dirt("broken_rule", "sampled_with_a_chance", None, {"sampling_probability": 0}),
)


def feeds(random: np.random.Generator, ground: Ground, cities: Sequence[str], planted: people.Planted, truth: Truth) -> Iterator[Feed]:
    """Cities' feedback (JSONL) and results (CSV, every second city's in GB18030), and the province's labels (JSONL), a file a month each.

    Truth gets `label_truth`: label_id, is_valid (what the label should have said) and is_wrong.
    """
    end = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[s]")
    found = _findings(ground)
    sent = _sent_down(random, found[found.kind.isin(KINDS[_MODEL])], end)
    yield _problem_feedback(random, sent, end)
    yield _handling_result(random, sent, cities, end)
    yield _human_label(random, found, planted, truth, end)


def finding_ids(subject_ids: NDArray[np.object_]) -> NDArray[np.object_]:
    """The ids that the invalid-event model gives its findings on these events (canonical ids): they follow from model, subject and period."""
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.register("given", pa.table({"subject_id": pa.array(subject_ids, pa.string())}))
        digest = f"substr(sha256('{_MODEL}|event|' || subject_id || '|{_PERIOD}'), 1, 32)"
        found = connection.sql(f"select {digest} as finding_id from given").to_arrow_table()
    return np.asarray(found.column("finding_id").to_numpy(zero_copy_only=False), dtype=object)


def _findings(ground: Ground) -> pd.DataFrame:
    """Every event that its sender did not take back, as a thing to be judged."""
    events = ground.events[~ground.events.is_deleted.to_numpy()]
    grids = ground.territory.grids.iloc[events.grid]
    sender, subject = events.sender_code.to_numpy(object), events.event_id.to_numpy(object)
    return pd.DataFrame(
        {
            "sender_code": sender,
            "subject_id": sender + "-" + subject,
            "kind": events.kind.to_numpy(object),
            "reported_at": events.reported_at.to_numpy(),
            "region_code": grids.region_code.to_numpy(object),
            "grid_id": grids.grid_id.to_numpy(object),
            "organisation_name": grids.town.to_numpy(object) + "综合信息指挥室",
        }
    )


def _sent_down(random: np.random.Generator, found: pd.DataFrame, end: np.datetime64) -> pd.DataFrame:
    """The findings that were sent down before the end, with what the city thinks of each and when it did what."""
    sent = found[random.random(len(found)) < _SENT_DOWN_SHARE].reset_index(drop=True)
    day = sent.reported_at.to_numpy().astype("datetime64[D]")
    to_monday = 7 - (day.astype(np.int64) + _THURSDAY) % 7
    sent["dispatched_at"] = (day + to_monday).astype("datetime64[s]") + np.timedelta64(_MONDAY_HOUR * 3600, "s")
    sent = sent[sent.dispatched_at < end].sort_values(["sender_code", "dispatched_at", "subject_id"], kind="stable", ignore_index=True)
    count = len(sent)
    sent["finding_id"] = finding_ids(sent.subject_id.to_numpy(object))
    sent["opinion_code"] = np.array(list(_OPINIONS), object)[np.searchsorted(np.cumsum(list(_OPINIONS.values()))[:-1], random.random(count))]
    sent["signed_at"] = sent.dispatched_at + _seconds(np.minimum(random.lognormal(np.log(3 * 3600), 0.8, count), 2 * 86400))
    sent["handled_at"] = sent.signed_at + _seconds(random.uniform(0.2, 3.5, count) * 86400)
    sent["answered_at"] = sent.handled_at + _seconds(random.uniform(600, 20 * 3600, count))
    sent["number"] = sent.groupby("sender_code").cumcount() + 1
    return sent


def _problem_feedback(random: np.random.Generator, sent: pd.DataFrame, end: np.datetime64) -> Feed:
    """Each state of each loop that its city reported: signed for, answered, closed or returned."""
    disagrees, agrees = (sent.opinion_code == "disagree").to_numpy(), (sent.opinion_code == "agree").to_numpy()
    reason = sent.kind.map(_REASONS).fillna("entry_error").where(~disagrees, "real_problem")
    fields = kept(sent.kind.map({kind: field for kind, (field, _) in _CORRECTIONS.items()}).to_numpy(object), agrees)
    values = kept(sent.kind.map({kind: value for kind, (_, value) in _CORRECTIONS.items()}).to_numpy(object), agrees)
    denials = np.array(_MEASURES["unfounded"], object)[random.integers(len(_MEASURES["unfounded"]), size=len(sent))]
    known = sent.assign(feedback_id="FK" + _day_and_number(sent), model=_MODEL, subject_type="event")
    nothing, never = np.full(len(sent), None, object), sent.dispatched_at.where(np.zeros(len(sent), np.bool_))
    signed = known.assign(state_code="signed", reported_at=sent.signed_at, closed_at=never, source_version=1)
    signed = signed.assign(**dict.fromkeys(("opinion_code", "reason_code", "field_name", "corrected_value", "note"), nothing))
    answer = known.assign(reason_code=reason, field_name=fields, corrected_value=values, note=kept(denials, disagrees))
    answered = answer.assign(state_code=np.where(disagrees, "disputed", "corrected"), reported_at=sent.answered_at, closed_at=never, source_version=2)
    rechecked_at = sent.answered_at + _seconds(random.uniform(1, 7, len(sent)) * 86400)
    returned = disagrees & (random.random(len(sent)) < _RETURNED_SHARE)
    last = answer.assign(
        state_code=np.where(returned, "returned", "closed"), reported_at=rechecked_at, closed_at=rechecked_at.where(~returned), source_version=3
    )[random.random(len(sent)) < _CLOSED_SHARE]
    rows = pd.concat([signed, answered, last], ignore_index=True)
    rows = rows[rows.reported_at < end]
    rows = rows.assign(changed_at=rows.reported_at)
    placed = _placed(rows, rows.sender_code, "problem_feedback", "jsonl")
    lines = placed[PLACE].assign(**{LINE: json_lines(placed, _FEEDBACK)})
    parts = [lines, dirt.spoiled_lines(random, lines, _BAD_FEEDBACK, _each(lines), "feedback_id"), dirt.repeated(random, lines, _each(lines))]
    return arranged("problem_feedback", parts, pa.schema([]))


def _handling_result(random: np.random.Generator, sent: pd.DataFrame, cities: Sequence[str], end: np.datetime64) -> Feed:
    """What was done about each, some of it first reported while it was still in hand."""
    withdrawn = sent.kind.isin(["nil_report", "near_duplicate"]).to_numpy() & (random.random(len(sent)) < 0.8)
    outcome = np.where(sent.opinion_code == "disagree", "unfounded", np.where(withdrawn, "withdrawn", "corrected"))
    measures = np.empty(len(sent), object)
    for code, texts in _MEASURES.items():
        at = np.flatnonzero(outcome == code)
        measures[at] = np.array(texts, object)[random.integers(len(texts), size=len(at))]
    digests = np.frombuffer(random.bytes(32 * len(sent)).hex().encode(), "S64").astype(str).astype(object)
    known = sent.assign(
        result_id="CZ" + _day_and_number(sent),
        origin_type="finding",
        origin_id=sent.finding_id,
        correlation_id=sent.subject_id,
        deadline_at=sent.dispatched_at + np.timedelta64(_ANSWER_DAYS, "D"),
    )
    nothing, never = np.full(len(sent), None, object), sent.handled_at.where(np.zeros(len(sent), np.bool_))
    begun = known.assign(outcome_code="in_progress", reported_at=sent.signed_at, source_version=1, measures=nothing, evidence_digest=nothing)
    begun["handled_at"] = never
    in_hand = random.random(len(sent)) < _IN_PROGRESS_SHARE
    done = known.assign(
        outcome_code=outcome,
        measures=measures,
        evidence_digest=kept(digests, random.random(len(sent)) < _EVIDENCE_SHARE),
        reported_at=sent.answered_at,
        source_version=1 + in_hand,
    )
    rows = pd.concat([begun[in_hand], done], ignore_index=True)
    rows = rows[rows.reported_at < end]
    placed = _placed(rows.assign(changed_at=rows.reported_at), rows.sender_code, "handling_result", "csv")
    bad = dirt.spoiled_cells(random, placed, _BAD_RESULTS, _each(placed), "result_id")
    return arranged("handling_result", [placed, bad, dirt.repeated(random, placed, _each(placed))], _RESULT, gb18030_senders=cities[1::2])


def _human_label(random: np.random.Generator, found: pd.DataFrame, planted: people.Planted, truth: Truth, end: np.datetime64) -> Feed:
    """Labels on a sample of known chance: of the findings to estimate precision, of the other events to estimate recall."""
    is_found = found.kind.isin(KINDS[_MODEL]).to_numpy()
    chance = np.where(is_found, _LABELLED_SHARE, _OTHERS_LABELLED_SHARE)
    chosen = random.random(len(found)) < chance
    first = found[chosen].assign(is_valid=is_found[chosen], sampling_probability=chance[chosen])
    labels = pd.concat([first, first[random.random(len(first)) < _SECOND_SHARE]], ignore_index=True)
    labels["labelled_at"] = labels.reported_at.dt.normalize() + _seconds(
        random.integers(2, 30, len(labels)) * 86400 + random.integers(9 * 3600, 17 * 3600, len(labels))
    )
    labels = labels[labels.labelled_at < end].sort_values(["labelled_at", "subject_id"], kind="stable", ignore_index=True)
    # One after the other, so that the second look at a subject is another reviewer's.
    reviewer = (np.arange(len(labels)) + random.integers(3, size=len(labels)) * 3) % _REVIEWERS
    said, wrong = judge(random, labels.is_valid.to_numpy())
    names = people.names(random, _REVIEWERS)
    names[:2] = [person.name for person in planted.draw(random, 2)]
    day = labels.labelled_at.dt.strftime("%Y%m%d")
    rows = labels.assign(
        label_id="PJ" + day + _digits(labels.groupby(day).cumcount() + 1),
        finding_id=kept(finding_ids(labels.subject_id.to_numpy(object)), labels.is_valid.to_numpy()),
        model=_MODEL,
        model_version=kept(np.full(len(labels), _MODEL_VERSION, object), labels.is_valid.to_numpy()),
        subject_type="event",
        label_code=said,
        remark=kept(np.full(len(labels), "材料不足，无法判断", object), said == "unsure"),
        reviewer_id="R" + pd.Series(reviewer + 1).astype(str).str.zfill(2),
        reviewer_name=names[reviewer],
        organisation_name="省基层治理数据质量组",
        sample_id=labels.labelled_at.dt.strftime("%Y-%m"),
        purpose_code=np.where(labels.is_valid, "precision", "recall"),
        source_version=1,
        changed_at=labels.labelled_at,
    )
    truth.keep("label_truth", pa.table({"label_id": rows.label_id, "is_valid": rows.is_valid, "is_wrong": wrong}))
    placed = _placed(rows, PROVINCE, "human_label", "jsonl")
    lines = placed[PLACE].assign(**{LINE: json_lines(placed, _LABEL)})
    parts = [lines, dirt.spoiled_lines(random, lines, _BAD_LABELS, _each(lines), "label_id"), dirt.repeated(random, lines, _each(lines))]
    return arranged("human_label", parts, pa.schema([]), source="province_platform")


def judge(random: np.random.Generator, is_valid: NDArray[np.bool_]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """(what reviewers say of things that are or are not what the model looks for, where they err)."""
    drawn = random.random(len(is_valid))
    wrong = drawn < ERROR_SHARE
    said = np.where(is_valid ^ wrong, "valid", "invalid").astype(object)
    said[drawn >= 1 - UNSURE_SHARE] = "unsure"
    return said, wrong


def _placed(rows: pd.DataFrame, sender: pd.Series | str, name: str, suffix: str) -> pd.DataFrame:
    """Rows in files by month of change, each in order of change."""
    at = rows.changed_at
    return rows.assign(_sender=sender, _file=f"{name}-" + at.dt.strftime("%Y-%m") + f".{suffix}", _order=at.astype("int64").astype(float))


def _each(rows: pd.DataFrame) -> int:
    return max(1, round(len(rows) * _EACH_KIND_SHARE))


def _seconds(count: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.timedelta64]:
    return np.floor(count).astype("timedelta64[s]")


def _day_and_number(sent: pd.DataFrame) -> pd.Series:
    day: pd.Series = sent.dispatched_at.dt.strftime("%Y%m%d")
    return day + _digits(sent.number)


def _digits(number: pd.Series) -> pd.Series:
    digits: pd.Series = number.astype(str).str.zfill(6)
    return digits
