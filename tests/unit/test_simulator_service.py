"""What the province publishes, logs, teaches and has reviewed in the simulation: true to the vocabularies, to the steps and to what was injected."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gridlake import vocabularies
from gridlake.settings import Settings
from streaming.simulator import simulate
from streaming.simulator.reviews import finding_ids, judge

PROVINCE, HANGZHOU, JIAXING = "330000000000", "330100000000", "330400000000"
VOCABULARIES = vocabularies.load_all(Settings())
TRUTH_OF_CALLS = ["lost_call", "no_response"]


class Inbox:
    """A simulated inbox, less the rows that must not be accepted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document: dict[str, Any] = simulate(folder, days=60, events=6000, villages=60)

    def truth(self, name: str) -> pd.DataFrame:
        return pq.read_table(self.folder / "_truth" / f"{name}.parquet").to_pandas()

    @cached_property
    def dirt(self) -> pd.DataFrame:
        return self.truth("dirt_truth")

    def rows(self, source: str, feed: str) -> pd.DataFrame:
        parts = []
        for path in sorted((self.folder / source / feed).glob("*/*")):
            dirty = self.dirt[(self.dirt.feed == feed) & (self.dirt.sender_code == path.parent.name) & (self.dirt.file_name == path.name)]
            rows = self._read(path).assign(sender_code=path.parent.name)
            parts.append(rows[~(rows.index + 1).isin(dirty[dirty.expected_state != "accepted"].row_number)])
        return pd.concat(parts, ignore_index=True)

    def _read(self, path: Path) -> pd.DataFrame:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pandas()
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, encoding="gb18030" if path.parent.name == JIAXING else "utf-8")
        if path.suffix == ".xlsx":
            head, *rows = openpyxl.load_workbook(path, read_only=True).active.iter_rows(values_only=True)
            return pd.DataFrame(rows, columns=list(head))
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
        return pd.DataFrame([self._line(line) for line in lines])

    @staticmethod
    def _line(line: bytes) -> Any:
        try:
            return json.loads(line)
        except ValueError:
            return {}

    @cached_property
    def calls(self) -> pd.DataFrame:
        return self.rows("province_platform", "interface_call")

    @cached_property
    def labels(self) -> pd.DataFrame:
        return self.rows("province_platform", "human_label")

    @cached_property
    def events(self) -> pd.DataFrame:
        """Channel and last state of each event."""
        rows = self.rows("city_platform", "event")
        return rows[rows["_op"].isna()].sort_values("source_version").groupby(["sender_code", "event_id"]).last()

    @cached_property
    def steps(self) -> pd.DataFrame:
        rows = self.rows("city_platform", "event_step")
        return rows[rows["_op"] != "delete"]


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Inbox:
    return Inbox(tmp_path_factory.mktemp("service") / "inbox")


def due(inbox: Inbox) -> pd.DataFrame:
    """The steps that must call, by the vocabulary's word, with the event's canonical id."""
    steps = inbox.steps.join(inbox.events.channel_code, on=["sender_code", "event_id"])
    parts = []
    for row in VOCABULARIES["interface"].rows.to_pylist():
        if row["step_action"]:
            chosen = steps[steps.action_code == row["step_action"]]
            chosen = chosen[chosen.from_state.isin(row["from_states"].split())] if row["from_states"] else chosen
            chosen = chosen[chosen.channel_code == row["channel_code"]] if row["channel_code"] else chosen
            parts.append(chosen.assign(interface_code=row["code"]))
    found = pd.concat(parts, ignore_index=True)
    return found.assign(correlation_id=found.sender_code + "-" + found.event_id)


def test_every_step_that_must_call_has_a_call_that_succeeded_but_for_the_injected_ones(inbox: Inbox) -> None:
    steps, calls = due(inbox), inbox.calls
    calls = calls.assign(step_no=calls.call_id.str.split("-").str[1].astype(int))
    best = calls.assign(succeeded=calls.status_code == "success").groupby(["correlation_id", "interface_code", "step_no"]).succeeded.max()
    answered = steps.join(best, on=["correlation_id", "interface_code", "step_no"]).succeeded
    truth = inbox.truth("finding_truth")
    planted = truth[truth.kind.isin(TRUTH_OF_CALLS)].set_index(["sender_code", "event_id"]).kind
    kind = steps.join(planted, on=["sender_code", "step_id"]).kind
    # A call that waits for its answer, or for the gateway, at the end of the last night is in no log yet.
    until = pd.Timestamp("2026-10-31 20:00:00")
    settled = (pd.to_datetime(steps.happened_at) < until).to_numpy()
    deleted = steps.step_id.isin(set(inbox.rows("city_platform", "event_step").query("_op == 'delete'").step_id)).to_numpy()
    assert (answered[settled & ~deleted & kind.isna()] == True).all()  # noqa: E712 (an object column with gaps)
    assert answered[(kind == "lost_call").to_numpy()].isna().all()
    assert (answered[(kind == "no_response").to_numpy()] == False).all()  # noqa: E712
    assert kind.notna().sum() == planted.size


def test_an_unanswered_call_is_the_pair_of_its_step_and_is_not_tried_again(inbox: Inbox) -> None:
    truth = inbox.truth("finding_truth")
    planted = truth[truth.kind == "no_response"]
    calls = inbox.calls.set_index("call_id").loc[planted.pair_event_id]
    assert (calls.status_code == "no_response").all()
    assert (calls.correlation_id == (planted.sender_code + "-" + planted.event_id.str.rpartition("-")[0]).to_numpy()).all()
    assert inbox.calls.request_id.value_counts()[calls.request_id].eq(1).all()
    assert truth[truth.kind == "lost_call"].pair_event_id.isna().all()


def test_two_to_three_calls_come_from_each_event_that_leaves_the_village(inbox: Inbox) -> None:
    dispatched = inbox.steps[inbox.steps.action_code == "dispatch"]
    away = set(dispatched.sender_code + "-" + dispatched.event_id)
    assert 2 < inbox.calls.correlation_id.isin(away).sum() / len(away) < 3


def test_no_call_comes_while_the_gateway_pauses(inbox: Inbox) -> None:
    at = inbox.calls.called_at
    minute = at.dt.hour * 60 + at.dt.minute
    assert not ((minute >= 120) & (minute < 140)).any()
    assert not ((minute >= 120) & (minute < 240) & (at.dt.weekday == 2)).any()
    assert inbox.calls.sort_values(["request_id", "attempt_no"]).groupby("request_id").called_at.is_monotonic_increasing.all()


def test_failures_come_in_bursts_of_one_system(inbox: Inbox) -> None:
    calls = inbox.calls
    failed = calls.status_code.isin(["failed", "timeout"])
    assert 0.005 < failed.mean() < 0.06
    by_hour = failed.groupby([calls.callee_system, calls.called_at.dt.floor("h")]).agg(["mean", "size"])
    assert by_hour[by_hour["size"] >= 3]["mean"].max() > 0.5


def test_the_catalogue_says_of_every_class_what_the_vocabulary_says(inbox: Inbox) -> None:
    items = inbox.rows("province_platform", "item_catalogue").sort_values("source_version").groupby(["item_code", "item_version"]).last()
    first = items.xs(1, level="item_version")
    assert set(first.dispute_type_code.dropna()) == VOCABULARIES["dispute_type"].codes
    first = first[first.class_code.notna()].set_index("class_code")
    classes = VOCABULARIES["event_class"].rows.to_pandas().set_index("code")
    assert set(first.index) == set(classes.index)
    assert first.item_name.to_dict() == classes.name_zh.to_dict()
    assert (first.limit_hours.astype(int) == classes.limit_hours.astype(int)[first.index]).all()
    assert (first.responsible_role == classes.responsible_role[first.index]).all()
    parents = set(first.parent_code.dropna())
    assert parents <= set(items.index.get_level_values("item_code"))
    renamed = items.xs(2, level="item_version")
    assert 0 < len(renamed) < 10
    before = items.xs(1, level="item_version").loc[renamed.index]
    assert (before.valid_to == renamed.valid_from).all()


def test_the_calendar_is_the_vocabularys_but_for_days_moved_late(inbox: Inbox) -> None:
    days = inbox.rows("province_platform", "work_calendar")
    days = days[days.region_code == PROVINCE].sort_values("source_version")
    whole, newest = days.groupby("calendar_date").first(), days.groupby("calendar_date").last()
    vocabulary = {str(row["date"]): row["day_type"] for row in VOCABULARIES.work_calendar.to_pylist()}
    assert whole.day_type.to_dict() == vocabulary
    moved = newest[newest.day_type != whole.day_type]
    assert moved.day_type.tolist() == ["holiday", "makeup_workday"]
    notice = pd.to_datetime(moved.index) - pd.to_datetime(moved.announced_date)
    assert (notice == pd.Timedelta(days=3)).all()


def test_a_finding_is_answered_by_the_id_that_the_model_gives_it() -> None:
    subject = f"{HANGZHOU}-SJ20260901000001"
    expected = hashlib.sha256(f"invalid_event|event|{subject}|once".encode()).hexdigest()[:32]
    assert finding_ids(np.array([subject], object)).tolist() == [expected]


def test_the_loop_of_a_problem_runs_from_signed_for_to_closed_or_returned(inbox: Inbox) -> None:
    feedback = inbox.rows("city_platform", "problem_feedback").sort_values(["sender_code", "feedback_id", "source_version"])
    loops = feedback.groupby(["sender_code", "feedback_id"]).state_code.agg(tuple)
    whole = {("signed", "corrected", "closed"), ("signed", "disputed", "closed"), ("signed", "disputed", "returned")}
    assert whole <= set(loops) <= whole | {loop[:n] for loop in whole for n in (1, 2)}
    for loop in feedback.groupby(["sender_code", "feedback_id"]).reported_at.agg(list):
        assert loop == sorted(loop)
    truth = inbox.truth("finding_truth")
    planted = truth[truth.model == "invalid_event"]
    assert set(feedback.subject_id) <= set(planted.sender_code + "-" + planted.event_id)


def test_a_handling_result_follows_a_finding_that_was_sent_down(inbox: Inbox) -> None:
    results = inbox.rows("city_platform", "handling_result")
    feedback = inbox.rows("city_platform", "problem_feedback")
    assert set(results.origin_id) <= set(feedback.finding_id)
    assert set(results.outcome_code) == {"in_progress", "withdrawn", "corrected", "unfounded"}
    done = results[results.handled_at.notna()]
    assert (done.handled_at > done.dispatched_at).all()
    assert (done.reported_at > done.handled_at).all()
    assert (results.outcome_code == "in_progress").equals(results.handled_at.isna())
    denied = set(feedback[feedback.opinion_code == "disagree"].finding_id)
    assert set(results[results.outcome_code == "unfounded"].origin_id) <= denied


def test_labels_weigh_by_the_chance_with_which_their_subject_was_drawn(inbox: Inbox) -> None:
    labels, truth = inbox.labels, inbox.truth("finding_truth")
    planted = truth[truth.model == "invalid_event"]
    first = labels.drop_duplicates("subject_id")
    drawn = first[first.purpose_code == "precision"]
    assert set(drawn.subject_id) <= set(planted.sender_code + "-" + planted.event_id)
    estimated = (1 / drawn.sampling_probability).sum()
    # Events of the last month are labelled after the end; what is estimated is at most the whole, and not much less than half of it.
    assert 0.45 * len(planted) < estimated < 1.15 * len(planted)
    assert labels.finding_id.isna().equals(labels.purpose_code == "recall")
    twice = labels[labels.duplicated("subject_id", keep=False)]
    assert len(twice) > 0
    assert (twice.groupby("subject_id").reviewer_id.nunique() == 2).mean() > 0.8


def test_reviewers_err_in_four_of_a_hundred_and_cannot_tell_in_three() -> None:
    is_valid = np.arange(100_000) % 3 == 0
    said, wrong = judge(np.random.default_rng(1), is_valid)
    decided = said != "unsure"
    assert ((said == "valid") != is_valid)[decided].mean() == pytest.approx(0.04 / 0.97, abs=0.003)
    assert (((said == "valid") != is_valid) == wrong)[decided].all()
    assert (~decided).mean() == pytest.approx(0.03, abs=0.003)


def test_a_label_says_what_its_truth_says_unless_the_reviewer_erred(inbox: Inbox) -> None:
    labels = inbox.labels.merge(inbox.truth("label_truth"), on="label_id", validate="one_to_one")
    assert len(labels) == len(inbox.labels)
    decided = labels[labels.label_code != "unsure"]
    assert ((decided.label_code == "valid") == (decided.is_valid ^ decided.is_wrong)).all()
    assert 0 <= labels.is_wrong.mean() < 0.12


def test_a_burst_of_posts_stands_out_from_the_days_around_it(inbox: Inbox) -> None:
    posts = inbox.rows("opinion_platform", "opinion_post")
    posts = posts[posts.source_version == 1]
    bursts = inbox.truth("opinion_burst")
    assert len(bursts) >= 2
    assert posts.post_id.is_unique
    day = pd.to_datetime(posts.reported_at).dt.date
    for burst in bursts.to_dict("records"):
        of_topic = posts.topic_code == burst["topic_code"]
        in_burst = of_topic & (day >= burst["first_day"]) & (day <= burst["last_day"])
        # What was posted in the last hours is collected after the end.
        assert in_burst.sum() >= burst["post_count"] - 2
        placed = posts[in_burst & posts.region_code.notna()].region_code.str[:6]
        assert (placed == burst["region_code"][:6]).mean() > 0.5
        of_others = sum(bursts[bursts.topic_code == burst["topic_code"]].post_count)
        assert in_burst.sum() / 3 > 3 * (of_topic.sum() - of_others) / 60


def test_points_are_earned_by_what_was_learned_and_marks_follow_from_answers(inbox: Inbox) -> None:
    progress, attempts, points = (inbox.rows("province_platform", feed) for feed in ("course_progress", "exam_attempt", "training_point"))
    finished = progress[progress.state_code == "finished"]
    by_rule = points.groupby("rule_code").points.agg(["size", "sum"])
    assert by_rule.loc["course_finished", "size"] == finished.progress_id.nunique()
    passed = attempts[attempts.is_passed.eq(True)]
    assert by_rule.loc["exam_passed", "size"] == passed.attempt_id.nunique()
    marked = attempts[attempts.marks.notna()]
    assert (marked.marks == marked.correct_count * 2).all()
    assert ((marked.marks >= marked.pass_marks) == marked.is_passed.astype(bool)).all()
    unmarked = attempts[attempts.marks.isna()]
    assert set(unmarked.marking_code) == {"manual"}
    assert set(attempts[attempts.attempt_no == 2].member_id) <= set(attempts[attempts.attempt_no == 1].member_id)


def test_non_police_calls_are_handed_to_events_that_a_department_brought_in(inbox: Inbox) -> None:
    calls = inbox.rows("public_security", "police_event")
    handed = calls[calls.direction_code == "to_grid"]
    assert len(handed) > 0
    assert set(handed.nature_code) == {"non_police"}
    events = inbox.events
    channel = events.channel_code.set_axis([f"{sender}-{event}" for sender, event in events.index])
    assert set(channel[handed.transferred_event_id]) == {"department"}
    assert (pd.to_datetime(handed.transferred_at) > pd.to_datetime(handed.reported_at)).all()
    assert set(calls[calls.nature_code == "police"].direction_code.dropna()) <= {"from_grid"}
