"""The simulated province: equal parameters give equal bytes, the truth is true, and the figures are the ones it was given."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from gridlake import contracts, senders, vocabularies
from gridlake.settings import Settings
from streaming.simulator import InboxTaken, profiles, simulate
from streaming.simulator.command import simulate as command
from streaming.simulator.events import phrases
from streaming.simulator.truth import KINDS, Truth

HANGZHOU, JIAXING = CITIES = ("330100000000", "330400000000")
SIZE: dict[str, Any] = {"days": 60, "events": 6000, "villages": 60}
FIRST_DAY, LAST_DAY = pd.Timestamp("2026-09-02"), pd.Timestamp("2026-10-31")
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True)
class Province:
    """A simulated inbox and what a reader makes of it."""

    inbox: Path
    document: dict[str, Any]

    def folder(self, feed: str, sender: str) -> Path:
        return self.inbox / "city_platform" / feed / sender

    def truth(self, name: str) -> pd.DataFrame:
        return pq.read_table(self.inbox / "_truth" / f"{name}.parquet").to_pandas()

    @cached_property
    def dirt(self) -> pd.DataFrame:
        return self.truth("dirt_truth")

    def lines(self, feed: str) -> pd.DataFrame:
        """Every JSON line of a feed with its place, spoiled ones included."""
        found = []
        for path in sorted((self.inbox / "city_platform" / feed).glob("*/*.jsonl")):
            for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), 1):
                found.append((path.parent.name, path.name, number, line))
        return pd.DataFrame(found, columns=["sender_code", "file_name", "row_number", "line"])

    def good_lines(self, feed: str) -> pd.DataFrame:
        """The objects of the lines that must be accepted; deletions are left out."""
        refused = self.dirt[(self.dirt.feed == feed) & (self.dirt.expected_state != "accepted")]
        lines = self.lines(feed).merge(refused, on=["sender_code", "file_name", "row_number"], how="left", indicator=True)
        lines = lines[lines._merge == "left_only"]
        rows = pd.DataFrame([json.loads(line) for line in lines.line])
        rows.insert(0, "sender_code", lines.sender_code.to_numpy())
        return rows[rows["_op"].isna()] if "_op" in rows else rows

    @cached_property
    def versions(self) -> pd.DataFrame:
        rows = self.good_lines("event")
        for column in ("occurred_at", "reported_at", "deadline_at", "closed_at", "changed_at"):
            rows[column] = pd.to_datetime(rows[column])
        return rows

    @cached_property
    def events(self) -> pd.DataFrame:
        """The newest version of each event."""
        return self.versions.sort_values("source_version").groupby(["sender_code", "event_id"], as_index=False).last()

    @cached_property
    def steps(self) -> pd.DataFrame:
        typed = []
        for path in sorted(self.folder("event_step", HANGZHOU).glob("*.parquet")):
            rows = pq.read_table(path).to_pandas()
            rows["row_number"] = np.arange(len(rows)) + 1
            spoiled = self.dirt[(self.dirt.file_name == path.name) & (self.dirt.sender_code == HANGZHOU)].row_number
            typed.append(rows[~rows.row_number.isin(spoiled) & (rows["_op"] == "upsert")].assign(sender_code=HANGZHOU))
        steps = pd.concat([*typed, self.good_lines("event_step")], ignore_index=True)
        return steps.assign(happened_at=pd.to_datetime(steps.happened_at)).sort_values(["sender_code", "event_id", "step_no"], ignore_index=True)

    def table(self, feed: str, sender: str, name: str, encoding: str = "utf-8") -> pd.DataFrame:
        """A CSV file as text."""
        return pd.read_csv(self.folder(feed, sender) / name, dtype=str, encoding=encoding)

    @cached_property
    def grids(self) -> pd.DataFrame:
        parts = [
            self.table("grid", sender, "grid-2026-09-full.csv", encoding).assign(sender_code=sender)
            for sender, encoding in zip(CITIES, ("utf-8", "gb18030"), strict=True)
        ]
        return self.without_dirt("grid", parts)

    @cached_property
    def members(self) -> pd.DataFrame:
        name = "team_member-2026-09-full.csv"
        parts = [
            self.table("team_member", sender, name, encoding).assign(sender_code=sender)
            for sender, encoding in zip(CITIES, ("utf-8", "gb18030"), strict=True)
        ]
        return self.without_dirt("team_member", parts)

    def without_dirt(self, feed: str, parts: list[pd.DataFrame]) -> pd.DataFrame:
        dirt = self.dirt[(self.dirt.feed == feed) & self.dirt.file_name.str.contains("full")]
        rows = pd.concat([p.assign(row_number=np.arange(len(p)) + 1) for p in parts], ignore_index=True)
        rows = rows.merge(dirt[["sender_code", "row_number", "kind"]], on=["sender_code", "row_number"], how="left")
        return rows[rows.kind.isna()].drop(columns="kind")


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Province:
    inbox = tmp_path_factory.mktemp("simulated") / "inbox"
    return Province(inbox, simulate(inbox, **SIZE))


def digests(inbox: Path) -> dict[str, str]:
    return {str(p.relative_to(inbox)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(inbox.rglob("*")) if p.is_file()}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    small = {"days": 20, "events": 400, "villages": 8}
    for name in ("first", "second"):
        simulate(tmp_path / name, **small)
    simulate(tmp_path / "other", **small, seed=7)
    first, other = digests(tmp_path / "first"), digests(tmp_path / "other")
    assert {Path(name).suffix for name in first} == {".jsonl", ".csv", ".xlsx", ".parquet", ".json"}
    assert first == digests(tmp_path / "second")
    weeks = [name for name in first if "/event/" in name]
    assert weeks == [name for name in other if "/event/" in name]
    assert all(first[name] != other[name] for name in weeks)


def test_the_same_parameters_again_leave_the_files_as_they_are(province: Province) -> None:
    before = {p: p.stat().st_mtime_ns for p in province.inbox.rglob("*")}
    again = simulate(province.inbox, **SIZE)
    assert not province.document["unchanged"]
    assert again == province.document | {"unchanged": True}
    assert {p: p.stat().st_mtime_ns for p in province.inbox.rglob("*")} == before


def test_other_parameters_are_refused_with_what_to_do(province: Province) -> None:
    with pytest.raises(InboxTaken, match=r"it was simulated with .*'seed': 42.*--inbox"):
        simulate(province.inbox, **SIZE, seed=43)


def test_an_inbox_with_files_of_others_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "city_platform" / "event" / HANGZHOU / "mine.jsonl"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}\n")
    with pytest.raises(InboxTaken, match="holds files that no simulation wrote"):
        simulate(tmp_path, **SIZE)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [mine]


def test_a_simulation_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    small = {"days": 20, "events": 400, "villages": 8}
    simulate(tmp_path / "whole", **small)
    whole = digests(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    ledger = tmp_path / "cut" / "_truth" / "simulation.json"
    parameters = json.loads(ledger.read_text())["parameters"]
    ledger.write_text(json.dumps({"parameters": parameters, "complete": False}))
    next((tmp_path / "cut").rglob("event-*.jsonl")).write_bytes(b"half of it")
    simulate(tmp_path / "cut", **small)
    assert digests(tmp_path / "cut") == whole


def test_command_prints_one_json_document_and_names_the_files(tmp_path: Path) -> None:
    options = ["--days", "14", "--events", "300", "--villages", "6", "--until", "2026-03-31", "--cities", HANGZHOU, "--inbox", str(tmp_path / "in")]
    done = CliRunner().invoke(command, [*options, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["events"] == 300
    assert document["files"] == sum(1 for p in (tmp_path / "in").glob("*/*/*/*") if p.is_file())
    unknown = CliRunner().invoke(command, ["--cities", "110100000000", "--inbox", str(tmp_path / "beijing")])
    assert unknown.exit_code == 1
    assert "no city 110100000000; expected" in unknown.output
    assert not (tmp_path / "beijing").exists()


def test_every_file_lies_where_its_sender_sends_it_and_sorts_by_time(province: Province) -> None:
    may_send, versions = senders.load_all(Settings()), {(c.source, c.feed): c.version for c in contracts.load_all(Settings()).values()}
    places = {p.relative_to(province.inbox).parts[:3] for p in province.inbox.glob("*/*/*/*")}
    assert [(s, f, c) for s, f, c in places if (s, f) not in versions or not may_send[c].may_send(s, f, versions[s, f])] == []
    assert {p[1:] for p in places} >= {("region", "330000000000")} | {
        (feed, city) for feed in ("grid", "team_member", "event", "event_step") for city in CITIES
    }
    paths = [p.relative_to(province.inbox / "city_platform") for p in (province.inbox / "city_platform").rglob("*") if p.is_file()]
    weeks = [p.name for p in paths if p.parts[:2] == ("event", HANGZHOU)]
    assert len(weeks) == 9
    assert all(re.fullmatch(r"event-2026-w\d\d\.jsonl", name) for name in weeks)
    assert len({p.name for p in paths if p.parts[1] == HANGZHOU}) == len([p for p in paths if p.parts[1] == HANGZHOU])


def test_every_file_is_in_the_format_that_its_name_says(province: Province) -> None:
    kinds = set()
    for path in province.inbox.glob("*/*/*/*"):
        kinds.add((path.parts[-3], path.suffix))
        rows = province.dirt[(province.dirt.file_name == path.name) & (province.dirt.sender_code == path.parent.name)]
        if path.suffix == ".parquet":
            assert pq.read_table(path).num_rows > 0
        elif path.suffix == ".xlsx":
            sheet = [*openpyxl.load_workbook(path, read_only=True).active.iter_rows(values_only=True)]
            assert path.parts[-3] != "team_member" or sheet[0][:3] == ("member_id", "grid_id", "role_code")
            assert len(sheet) > 1
        elif path.suffix == ".csv":
            text = path.read_bytes().decode("gb18030" if path.parent.name == JIAXING else "utf-8")
            widths = {len(row) for row in csv.reader(io.StringIO(text, newline=""))}
            assert len(widths) == 1
        else:
            unreadable = set(rows[rows.rule.isin(["encoding", "json"])].row_number)
            for number, line in enumerate(path.read_bytes().removesuffix(b"\n").split(b"\n"), 1):
                try:
                    assert isinstance(json.loads(line), dict)
                except ValueError:
                    assert number in unreadable, (path, number)
    assert kinds >= {
        ("region", ".parquet"), ("grid", ".csv"), ("team_member", ".csv"), ("team_member", ".xlsx"), ("event", ".jsonl"), ("event_step", ".parquet"),
        ("event_step", ".jsonl"),
    }  # fmt: skip


@pytest.mark.parametrize(("model", "kind"), [(model, kind) for model, kinds in KINDS.items() for kind in kinds])
def test_every_kind_that_the_simulator_declares_is_in_the_truth(province: Province, model: str, kind: str) -> None:
    truth = province.truth("finding_truth")
    assert ((truth.model == model) & (truth.kind == kind)).sum() >= 5
    assert province.document["findings"][kind] == (truth.kind == kind).sum()


def test_the_truth_has_no_kind_that_is_not_declared(province: Province) -> None:
    truth = province.truth("finding_truth")
    assert set(zip(truth.model, truth.kind, strict=True)) == {(model, kind) for model, kinds in KINDS.items() for kind in kinds}
    with pytest.raises(ValueError, match=r"invalid_event: expected kinds .*, came sunspots; declare them"):
        Truth().add("invalid_event", "sunspots", HANGZHOU, ["E1"])


def test_injected_kinds_have_their_shares(province: Province) -> None:
    shares = {"nil_report": 0.03, "near_duplicate": 0.03, "instant_close": 0.02}
    counts = province.truth("finding_truth").kind.value_counts().to_dict()
    assert {kind: counts[kind] for kind in shares} == {kind: round(SIZE["events"] * share) for kind, share in shares.items()}
    assert province.document["events"] == SIZE["events"]


def test_truth_names_events_that_are_sent_and_kept(province: Province) -> None:
    truth = province.truth("finding_truth")
    truth = truth[truth.model == "invalid_event"]
    known = set(zip(province.events.sender_code, province.events.event_id, strict=True))
    assert set(zip(truth.sender_code, truth.event_id, strict=True)) <= known
    pairs = truth[truth.kind == "near_duplicate"]
    assert set(zip(pairs.sender_code, pairs.pair_event_id, strict=True)) <= known
    assert not truth.duplicated(["sender_code", "event_id"]).any()


def injected(province: Province, kind: str) -> pd.DataFrame:
    truth = province.truth("finding_truth")
    return truth[truth.kind == kind].merge(province.events, on=["sender_code", "event_id"])


def test_a_nil_report_says_that_nothing_was_found(province: Province) -> None:
    nil = injected(province, "nil_report")
    assert nil.description.str.contains("未发现|无异常|未排查出|暂无|一切正常|完好，无").all()
    others = province.events[~province.events.event_id.isin(nil.event_id)]
    assert 0 < others.description.str.contains("未发现").mean() < 0.01, "some real reports use the phrase too"


def test_a_near_duplicate_says_again_what_the_same_person_said_within_three_days(province: Province) -> None:
    pairs = injected(province, "near_duplicate").merge(
        province.events, left_on=["sender_code", "pair_event_id"], right_on=["sender_code", "event_id"], suffixes=("", "_first")
    )
    gap = pairs.reported_at - pairs.reported_at_first
    assert gap.min() > pd.Timedelta(0)
    assert gap.max() < pd.Timedelta(days=3)
    assert (pairs.reporter_name == pairs.reporter_name_first).all()
    assert (pairs.grid_id == pairs.grid_id_first).all()
    assert (pairs.description != pairs.description_first).all()
    assert pairs.apply(lambda p: likeness(p.description, p.description_first), axis=1).quantile(0.05) > 0.5


def likeness(one: str, other: str) -> float:
    """Jaccard of character pairs."""
    first, second = ({text[i : i + 2] for i in range(len(text) - 1)} for text in (one, other))
    return len(first & second) / len(first | second)


def test_two_independent_reports_rarely_look_alike(province: Province) -> None:
    plain = province.events[~province.events.event_id.isin(province.truth("finding_truth").event_id)]
    alike = []
    for _, group in plain.groupby(["sender_code", "class_code"]):
        texts = group.description.to_list()[:40]
        alike += [likeness(a, b) for i, a in enumerate(texts) for b in texts[i + 1 :]]
    assert len(alike) > 10_000
    # Within one class, which two reports from one grid within three days seldom share.
    assert np.mean(np.array(alike) > 0.6) < 0.001


def test_an_instant_close_is_closed_in_seconds_by_the_reporting_village_without_a_note(province: Province) -> None:
    instant = injected(province, "instant_close")
    seconds = (instant.closed_at - instant.reported_at).dt.total_seconds()
    assert seconds.between(5, 180).all()
    assert instant.closing_note.isna().all()
    steps = province.steps.merge(instant[["sender_code", "event_id"]], on=["sender_code", "event_id"])
    assert (steps.groupby(["sender_code", "event_id"]).action_code.agg(list).map(tuple) == ("report", "close")).all()
    assert (steps.groupby(["sender_code", "event_id"]).actor_organisation.nunique() == 1).all()
    others = province.events[province.events.closed_at.notna() & ~province.events.event_id.isin(instant.event_id)]
    assert (others.closed_at - others.reported_at).min() >= pd.Timedelta(minutes=3)
    assert others.closing_note.notna().all()


def test_a_teleport_follows_a_report_of_the_same_member_from_a_score_of_kilometres_away(province: Province) -> None:
    teleports = injected(province, "teleport")
    of_member = province.events[province.events.reporter_member_id.notna() & province.events.longitude.notna()]
    of_member = of_member.sort_values(["sender_code", "reporter_member_id", "reported_at"])
    before = of_member.groupby(["sender_code", "reporter_member_id"])[["longitude", "latitude", "reported_at"]].shift(1)
    trail = of_member.join(before.add_suffix("_before")).merge(teleports[["sender_code", "event_id"]], on=["sender_code", "event_id"])
    assert len(trail) == len(teleports)
    metres = 111_320 * np.hypot((trail.longitude - trail.longitude_before) * np.cos(np.radians(30)), trail.latitude - trail.latitude_before)
    assert metres.between(15_000, 35_000).all()
    assert (trail.reported_at - trail.reported_at_before).max() <= pd.Timedelta(minutes=3)


def test_a_burst_is_one_member_sending_one_text_within_minutes_on_the_day_of_a_deadline(province: Province) -> None:
    bursts = injected(province, "burst")
    groups = bursts.groupby(["sender_code", "reporter_member_id"])
    assert (groups.size() >= 8).all()
    assert (groups.description.nunique() == 1).all()
    assert (groups.reported_at.agg(lambda s: s.max() - s.min()) < pd.Timedelta(minutes=15)).all()
    day = bursts.reported_at.dt.day
    assert ((day == 15) | bursts.reported_at.dt.is_month_end).all()


def test_what_is_sent_from_outside_the_grid_is_a_habit_with_one_text(province: Province) -> None:
    habits = injected(province, "out_of_grid").groupby(["sender_code", "reporter_member_id"])
    assert (habits.size() >= 16).all()
    assert (habits.description.nunique() == 1).all()
    assert (habits.reported_at.agg(lambda s: s.max() - s.min()) < pd.Timedelta(days=26)).all()


def test_a_wrong_event_is_filed_under_what_its_text_is_not_about(province: Province) -> None:
    wrong = province.truth("wrong_event_truth").merge(province.events[["sender_code", "event_id", "description"]], on=["sender_code", "event_id"])
    of_class, of_level = wrong[wrong.kind == "wrong_class"], wrong[wrong.kind == "wrong_level"]
    assert (of_class.class_code.str[:2] != of_class.true_class_code.str[:2]).all()
    assert (of_class.level_code == of_class.true_level_code).all()
    assert (of_level.class_code == of_level.true_class_code).all()
    assert set(zip(of_level.level_code, of_level.true_level_code, strict=True)) == {("1", "3"), ("3", "1")}
    severe = of_level.description.str.contains("|".join(re.split(r"\{[^}]+\}", p)[-1] for p in phrases()["severity"]["3"]))
    assert (severe == (of_level.true_level_code == "3")).all()


def test_every_kind_of_dirt_is_there_and_lies_where_the_truth_says(province: Province) -> None:
    dirt = province.dirt
    assert set(dirt.kind) == {
        "wrong_type", "unknown_code", "missing_required", "wrong_pattern", "wrong_sender_region", "out_of_range_position", "broken_rule",
        "unknown_column", "broken_encoding", "nul_byte", "truncated_line", "repeated", "late", "stale_version", "out_of_order",
        "unknown_region", "out_of_range_number",
    }  # fmt: skip
    assert set(dirt.feed) >= {"region", "grid", "team_member", "event", "event_step"}
    assert not dirt.duplicated(["feed", "sender_code", "file_name", "row_number"]).any()
    expected = dirt.kind.map({"repeated": "duplicate", "late": "accepted", "stale_version": "accepted", "out_of_order": "accepted"}).fillna("refused")
    assert (dirt.expected_state == expected).all()
    assert (dirt.rule.notna() == (dirt.expected_state == "refused")).all()
    lines = province.lines("event").merge(dirt, on=["sender_code", "file_name", "row_number"])
    assert len(lines) == (dirt.feed == "event").sum()
    by_kind = {kind: rows.line.to_list() for kind, rows in lines.groupby("kind")}
    assert all(b"\0" in line for line in by_kind["nul_byte"])
    for line in by_kind["broken_encoding"]:
        with pytest.raises(UnicodeDecodeError):
            line.decode()
        assert json.loads(line.decode("gb18030"))["event_id"]
    for line in by_kind["truncated_line"]:
        assert line.decode().startswith('{"event_id"')
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)
    for row in lines[lines.kind == "wrong_sender_region"].itertuples():
        assert json.loads(row.line)["region_code"][:4] != row.sender_code[:4]
    everything = province.lines("event").line.value_counts()
    assert all(everything[line] == 2 for line in by_kind["repeated"])
    for row in lines[lines.kind == "late"].itertuples():
        year, week, _ = pd.Timestamp(json.loads(row.line)["changed_at"]).isocalendar()
        assert row.file_name > f"event-{year}-w{week:02d}.jsonl"


def test_stale_versions_and_rows_out_of_order_lie_after_what_changed_later(province: Province) -> None:
    lines = province.lines("event")
    for column in ("event_id", "changed_at"):
        found = [re.search(rb'"%b": ?"([^"]+)"' % column.encode(), line) for line in lines.line]
        lines[column] = [match[1] if match else b"" for match in found]
    marked = lines.merge(province.dirt[["sender_code", "file_name", "row_number", "kind"]], on=["sender_code", "file_name", "row_number"], how="left")
    good = marked[marked.kind.isna()]
    for row in marked[marked.kind == "stale_version"].itertuples():
        newer = good[(good.sender_code == row.sender_code) & (good.event_id == row.event_id) & (good.changed_at > row.changed_at)]
        assert ((newer.file_name == row.file_name) & (newer.row_number < row.row_number)).any(), row
    for row in marked[marked.kind == "out_of_order"].itertuples():
        before = good[(good.sender_code == row.sender_code) & (good.file_name == row.file_name) & (good.row_number < row.row_number)]
        assert before.changed_at.max() > row.changed_at, row
    assert (marked.kind == "stale_version").sum() >= 2


def test_a_truncated_file_has_no_line_end(province: Province) -> None:
    cut = province.dirt[province.dirt.kind == "truncated_line"]
    assert len(cut) == 4
    for row in cut.itertuples():
        content = (province.folder("event", row.sender_code) / row.file_name).read_bytes()
        assert not content.endswith(b"\n")
        assert content.count(b"\n") + 1 == row.row_number


def test_planted_values_stand_in_files_where_they_should_and_nowhere_by_chance(province: Province) -> None:
    planted = json.loads((province.inbox / "_truth" / "planted.json").read_text(encoding="utf-8"))
    values = [v for group in planted.values() for v in group]
    assert len(set(values)) == len(values) >= 150
    assert all(len(group) >= 50 for group in planted.values())
    text = "".join(
        p.read_bytes().decode("gb18030" if p.suffix == ".csv" and p.parent.name == JIAXING else "utf-8", "ignore")
        for p in province.inbox.rglob("*.*")
        if p.suffix in {".csv", ".jsonl"}
    )
    missing = [v for v in values if v not in text]
    assert len(missing) <= 6, "only values of refused rows that went into an XLSX file are packed"
    own_text = province.events[province.events.description.str.contains("身份证号")]
    assert own_text.description.str.contains("|".join(planted["name"])).sum() >= 10
    refused = province.lines("event").merge(province.dirt[province.dirt.expected_state == "refused"], on=["sender_code", "file_name", "row_number"])
    assert sum(any(n.encode() in line for n in planted["name"]) for line in refused.line) >= 10


def test_no_number_can_belong_to_anybody_and_id_numbers_have_their_checksum(province: Province) -> None:
    ids = province.members.id_number.dropna()
    assert ids.str.startswith("3399").all()
    checks = "10X98765432"
    assert all(checks[sum(int(d) * w for d, w in zip(i, ID_WEIGHTS, strict=False)) % 11] == i[17] for i in ids.head(500))
    assert ids.is_unique
    phones = pd.concat([province.members.phone, province.events.reporter_phone]).dropna()
    assert phones.str.fullmatch(r"(154|160|161|163|164|168)[0-9]{8}").all()


def test_grids_divide_villages_into_two_to_four_cells_that_do_not_overlap(province: Province) -> None:
    grids = province.grids
    per_village = grids.groupby(["sender_code", "region_code"]).size()
    assert per_village.between(*profiles.GRIDS_PER_VILLAGE).all()
    assert len(per_village) == 2 * SIZE["villages"]
    boxes = grids.boundary.str.extractall(r"(\d+\.\d+) (\d+\.\d+)").astype(float).groupby(level=0).agg(["min", "max"])
    west, east, south, north = boxes[0]["min"].to_numpy(), boxes[0]["max"].to_numpy(), boxes[1]["min"].to_numpy(), boxes[1]["max"].to_numpy()
    county = grids.region_code.str[:6].to_numpy()
    overlap = (np.minimum(east[:, None], east) - np.maximum(west[:, None], west) > 1e-9) & (
        np.minimum(north[:, None], north) - np.maximum(south[:, None], south) > 1e-9
    )
    np.fill_diagonal(overlap, val=False)
    assert not overlap[county[:, None] == county].any()
    urban = (grids.grid_type_code != "rural").to_numpy()
    area = (east - west) * (north - south)
    assert np.median(area[~urban]) > 3 * np.median(area[urban])


def test_positions_lie_in_the_cell_of_the_events_grid(province: Province) -> None:
    boxes = province.grids.boundary.str.extractall(r"(\d+\.\d+) (\d+\.\d+)").astype(float).groupby(level=0).agg(["min", "max"])
    boxes.columns = pd.Index(["west", "east", "south", "north"])
    grids = province.grids[["sender_code", "grid_id", "region_code"]].join(boxes)
    events = province.events.merge(grids, on=["sender_code", "grid_id"], suffixes=("", "_of_grid"))
    assert len(events) == len(province.events)
    assert (events.region_code == events.region_code_of_grid).all()
    truth = province.truth("finding_truth")
    displaced = truth[truth.kind.isin(["teleport", "out_of_grid", "burst"])][["sender_code", "event_id", "kind"]]
    events = events.merge(displaced, on=["sender_code", "event_id"], how="left")
    outside = events[events.kind.notna()]
    inside = outside.longitude.between(outside.west, outside.east) & outside.latitude.between(outside.south, outside.north)
    assert len(outside) == len(displaced)
    assert not inside.any(), "these are injected outside their grids"
    placed = events[events.longitude.notna() & events.kind.isna()]
    assert placed.longitude.between(placed.west, placed.east).all()
    assert placed.latitude.between(placed.south, placed.north).all()
    assert events.longitude.isna().mean() == pytest.approx(profiles.NO_POSITION_SHARE, abs=0.02)


def test_teams_are_one_leader_three_more_and_others_with_some_grids_short_of_one(province: Province) -> None:
    grids = len(province.grids)
    roles = province.members.role_code.value_counts() / grids
    for role, missing in profiles.MISSING_SHARE.items():
        assert roles[role] == pytest.approx(1 - missing, abs=0.05), role
    assert len(province.members) / grids == pytest.approx(5.4, abs=0.3)
    assert (province.members[province.members.role_code == "leader"].phone.notna()).all()


def test_who_reports_for_a_grid_is_of_its_team(province: Province) -> None:
    members = province.members.set_index(["sender_code", "member_id"])
    reported = province.events[province.events.reporter_member_id.notna()]
    reporters = members.loc[list(zip(reported.sender_code, reported.reporter_member_id, strict=True))]
    assert (reporters.grid_id.to_numpy() == reported.grid_id.to_numpy()).all()
    assert (reporters.person_name.to_numpy() == reported.reporter_name.to_numpy()).all()
    assert set(reported.channel_code) == {"grid"}


def test_steps_of_an_event_follow_from_each_other_and_end_in_its_state(province: Province) -> None:
    steps = province.steps
    chains = steps.groupby(["sender_code", "event_id"])
    assert (chains.step_no.agg(lambda s: list(s) == list(range(1, len(s) + 1)))).all()
    previous = chains.to_state.shift(1)
    assert (steps.from_state.fillna("") == previous.fillna("")).all()
    assert (chains.happened_at.diff().dropna() >= pd.Timedelta(0)).all()
    last = chains.last().reset_index().merge(province.events, on=["sender_code", "event_id"], suffixes=("_step", ""))
    assert len(last) == len(province.events)
    assert (last.to_state == last.state_code).all()
    assert (last.step_no == last.source_version).all()


def test_later_versions_come_in_later_files_and_deletions_take_events_back(province: Province) -> None:
    versions = province.versions.groupby(["sender_code", "event_id"]).source_version.agg(["size", "nunique"])
    assert (versions["size"] == versions["nunique"]).all()
    assert 0.1 < (versions["size"] > 1).mean() < 0.6
    lines = [json.loads(line) for line in province.lines("event").line if b'"_op":"delete"' in line]
    assert province.document["deleted_events"] == len(lines) > 0
    assert all(set(line) == {"event_id", "_op", "source_version", "changed_at"} for line in lines)


def share_within(counts: pd.Series, figures: dict[Any, float], tolerance: float) -> None:
    total = sum(figures.values())
    for key, figure in figures.items():
        assert counts.get(key, 0) / counts.sum() == pytest.approx(figure / total, abs=tolerance), key


def test_hours_weekdays_classes_and_channels_keep_to_the_figures(province: Province) -> None:
    events = province.events
    plain = events[~events.event_id.isin(province.truth("finding_truth").event_id)]
    everybody = plain[plain.channel_code != "grid"]
    share_within(everybody.reported_at.dt.hour.value_counts(), dict(enumerate(profiles.HOURS)), 0.025)
    assert plain[plain.channel_code == "grid"].reported_at.dt.hour.isin(profiles.PATROL_HOURS).all()
    ordinary = plain[(plain.reported_at < "2026-09-19") & (plain.reported_at >= "2026-09-05")]
    share_within(ordinary.reported_at.dt.weekday.value_counts(), dict(enumerate(profiles.WEEKDAYS)), 0.03)
    share_within(events.class_code.str[:2].value_counts(), profiles.CLASS_SHARE, 0.02)
    share_within(events.channel_code.value_counts(), profiles.CHANNEL_SHARE, 0.03)
    share_within(events.level_code.value_counts(), profiles.LEVEL_SHARE, 0.02)


def test_public_holidays_are_quiet_and_every_event_lies_in_the_simulated_days(province: Province) -> None:
    per_day = province.events.groupby(province.events.reported_at.dt.date).size()
    assert pd.Timestamp(per_day.index.min()) == FIRST_DAY
    assert pd.Timestamp(per_day.index.max()) == LAST_DAY
    festival = per_day[[date(2026, 10, d) for d in range(1, 8)]].mean()
    assert festival < 0.7 * per_day.mean()
    assert per_day[date(2026, 9, 20)] > 1.3 * per_day[date(2026, 9, 13)], "a Sunday on which one works"


def test_grids_with_more_residents_have_more_events(province: Province) -> None:
    events = province.events.groupby(["sender_code", "grid_id"]).size().rename("events").reset_index()
    grids = province.grids.merge(events, on=["sender_code", "grid_id"], how="left").fillna({"events": 0})
    assert np.corrcoef(grids.resident_count.astype(int), grids.events)[0, 1] > 0.6


def test_overdue_shares_keep_to_the_figures_by_class(province: Province) -> None:
    # Only what was reported long enough ago to have missed its limit and been closed all the same.
    old = province.events[(province.events.reported_at < "2026-10-10") & province.events.closed_at.notna()]
    overdue = (old.closed_at > old.deadline_at).groupby(old.class_code.str[:2]).mean()
    for first_level in ("01", "03", "04", "08"):
        assert overdue[first_level] == pytest.approx(profiles.OVERDUE_SHARE[first_level], abs=0.06), first_level
    assert overdue["01"] > overdue["03"]


def test_every_class_in_force_has_its_phrases() -> None:
    classes = vocabularies.load_all(Settings())["event_class"].rows.to_pylist()
    active = {c["code"] for c in classes if c["parent_code"] and not c["valid_to"]}
    words = phrases()
    assert active <= set(words["happenings"])
    assert {c[:2] for c in active} <= set(words["endings"])
    known = {*words["rules"], *words["nil_reports"], *words["closings"], "village", "road", "side_road", "part_of_day", "office"}
    known |= {"what", "detail", "ending", "done", "opening"}
    used = {symbol for phrase in texts_in(words) for symbol in re.findall(r"\{([^}]+)\}", phrase)}
    assert {s for s in used if not re.fullmatch(r"\d+-\d+", s)} <= known


def texts_in(words: Any) -> Iterator[str]:
    if isinstance(words, str):
        yield words
    else:
        for part in words.values() if isinstance(words, Mapping) else words:
            yield from texts_in(part)
