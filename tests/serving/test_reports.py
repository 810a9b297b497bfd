"""A report says what the marts say, the same way every time, or is not issued at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import docx
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from docx.oxml.ns import qn

from gridlake.privacy import SMALLEST_PUBLISHED_COUNT
from gridlake.runs import Run
from gridlake.settings import CHECKOUT, Settings
from serving.publish import publish
from serving.reports import ReportStopped, render_all, subjects
from serving.reports.chart import draw
from serving.reports.declaration import FOLDER, Chart, Report, load, load_reports
from serving.reports.issues import Issue
from serving.reports.making import Made, make
from serving.reports.period import Kind, Period
from serving.reports.results import without_few_persons
from serving.reports.wording import Comparison, sentence
from serving.snapshots import Snapshot, Snapshots
from tests.serving import province

WEEK = Period.named("2026-W09")
PROVINCE, CITY, COUNTY = "330000000000", "330100000000", "330106000000"


def issued(
    home: Path, snapshot: Snapshot, *codes: str, report: Report | None = None, period: Period = WEEK, formats: tuple[str, ...] = ("docx", "html")
) -> Made:
    """One report of these subjects, made in a folder of its own."""
    wanted = report or load(FOLDER / "weekly")
    return make(home, snapshot, wanted, [subjects.find(snapshot, wanted, code) for code in codes], period, formats)


def only(made: Made) -> Issue:
    """The one issue that was made."""
    assert [str(error) for error in made.stopped] == []
    (issue,) = made.issues
    return issue


def file_of(issue: Issue, kind: str) -> Path:
    """Its document of that kind."""
    return next(path for path in issue.files if path.suffix == f".{kind}")


@pytest.fixture(scope="module")
def folder(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the reports of province, city, county and town."""
    home = tmp_path_factory.mktemp("reports")
    only_china = issued(home, snapshot, PROVINCE, CITY, COUNTY, formats=("docx", "html", "xlsx"))
    assert len(only_china.issues) == 3, only_china.stopped
    only(issued(home, snapshot, "T"))
    return home


@pytest.fixture(scope="module")
def week_of_city(marts: dict[str, pa.Table]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The city's rows of mart.event_daily in the week and in the one before."""
    frame = marts["event_daily"].to_pandas()
    frame = frame[frame.region_code.str.startswith("3301")]
    now = frame[(frame.business_date >= date(2026, 2, 23)) & (frame.business_date <= date(2026, 3, 1))]
    before = frame[(frame.business_date >= date(2026, 2, 16)) & (frame.business_date <= date(2026, 2, 22))]
    return now, before


def _tables(path: Path) -> dict[str, list[list[str]]]:
    """The document's tables by their first heading, header rows left out."""
    document = docx.Document(str(path))
    found = {}
    for table in document.tables:
        rows = [[cell.text for cell in row.cells] for row in table.rows]
        found[rows[0][0]] = rows[1:]
    return found


def _text(path: Path) -> str:
    return "\n".join(p.text for p in docx.Document(str(path)).paragraphs)


def _docx(folder: Path, code: str, kind: str = "docx") -> Path:
    return folder / "reports" / "weekly" / "2026-W09" / code / "1" / f"weekly-{code}-2026-W09.{kind}"


def test_key_numbers_equal_a_count_over_the_mart(folder: Path, week_of_city: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    now, before = week_of_city
    rows = {row[0]: row[1:] for row in _tables(_docx(folder, CITY))["指标"]}
    events, events_before = int(now.event_count.sum()), int(before.event_count.sum())
    assert rows["上报事件"][:2] == [f"{events:,} 件", f"{events_before:,} 件"]
    assert rows["上报事件"][3:5] == ["—", "无可比数"], "the data do not reach back a year"
    assert rows["上报事件"][2].startswith(f"{events - events_before:+,}（{100 * (events - events_before) / events_before:+.1f}%）")
    assert rows["已办结"][0] == f"{now.closed_count.sum():,} 件"
    assert rows["办结率"][0] == f"{100 * now.closed_count.sum() / events:.1f}%"
    assert rows["超期"][0] == f"{now.overdue_count.sum():,} 件"
    assert rows["平均办理时长"][0] == f"{now.handling_minutes_sum.sum() / 60 / now.handling_count.sum():.1f} 小时"
    assert rows["疑似无效事件"][0] == f"{now.invalid_count.sum():,} 件"
    assert rows["网格"][0] == "40 个"
    assert rows["上报事件"][5] == "按当地上报时间归入业务日期的事件，一事一计", "as dbt's YAML says it"
    assert all(row[5] for row in rows.values()), "every number says what it means"


def test_completeness_names_who_has_not_reported(folder: Path) -> None:
    said = _text(_docx(folder, PROVINCE))
    assert "11 个设区市中 9 个已报送，其中 9 个每天都有上报；未报送：台州市、丽水市。" in said
    assert "13 个县（市、区）中 13 个已报送，其中 " in _text(_docx(folder, CITY))


def test_feeds_of_the_region_system_are_listed_with_their_refused_share(folder: Path, marts: dict[str, pa.Table]) -> None:
    quality = marts["feed_quality"].to_pandas()
    city = quality[(quality.feed == "city_platform__event") & (quality.sender_code == CITY)]
    share = 100 * city.refused.sum() / city.received.sum()
    assert _tables(_docx(folder, CITY))["接口"] == [["事件", "1", f"{city.received.sum():,}", f"{city.refused.sum():,}", f"{share:.2f}%"]]
    assert [row[0] for row in _tables(_docx(folder, "T"))["接口"]] == ["市民来件"], "its sender answers for every region of its system"


def test_ranking_and_classes_add_up_to_the_total(folder: Path, week_of_city: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    now, _ = week_of_city
    tables = _tables(_docx(folder, CITY))
    ranking, classes = tables["序"], tables["类别"]
    assert sum(int(row[2].replace(",", "")) for row in ranking) == now.event_count.sum()
    assert [int(row[0]) for row in ranking] == list(range(1, 14))
    counts = [int(row[2].replace(",", "")) for row in ranking]
    assert counts == sorted(counts, reverse=True)
    assert sum(int(row[1].replace(",", "")) for row in classes) == now.event_count.sum()
    assert classes[-1][0].startswith("其余 ")
    best = min(ranking, key=lambda row: int(row[6]))
    assert float(best[5].rstrip("%")) == max(float(row[5].rstrip("%")) for row in ranking)


def test_sentences_are_said_in_full_with_the_numbers_of_the_tables(folder: Path, week_of_city: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    now, before = week_of_city
    said = _text(_docx(folder, CITY))
    fewer = before.event_count.sum() - now.event_count.sum()
    assert f"2026年第9周（2月23日至3月1日），杭州市共上报基层治理事件 {now.event_count.sum():,} 件，较上周减少 {fewer:,} 件" in said
    assert not re.search(r"\{\{|\}\}|\{%|None|nan", said)
    assert not re.search(r"\s[，。；、）]|[，。；、（]\s", said.replace("\n", "")), "no stray space beside Chinese punctuation"


def test_overdue_events_are_listed_with_the_unit_that_answers_for_them(folder: Path) -> None:
    rows = _tables(_docx(folder, CITY))["区域"]
    assert rows
    assert {row[1] for row in rows} == {"综合行政执法队", "未填办理单位"}
    assert [int(row[2]) for row in rows] == sorted((int(row[2]) for row in rows), reverse=True)


def test_reasons_are_counted_without_the_numbers_of_single_events(folder: Path, week_of_city: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows = {row[0]: int(row[1]) for row in _tables(_docx(folder, CITY))["原因"]}
    found = int((week_of_city[0].invalid_count > 0).sum())
    assert rows == {"描述只说没有发现问题（说法 … 处）": found, "同一人 … 分钟内上报至少 … 件": found}


def test_the_appendix_names_snapshot_contracts_models_and_digest(folder: Path, snapshot: Snapshot) -> None:
    said = _text(_docx(folder, PROVINCE))
    archived = (_docx(folder, PROVINCE).parent / "archive.json").read_bytes()
    assert snapshot.id in said
    assert "统计时点 2026年3月3日 00:00（Asia/Shanghai）" in said
    assert re.search(r"数据合约：1\.0\.0：.*city_platform__event, ", said)
    assert "模型：invalid_event 1.0.0" in said
    assert hashlib.sha256(archived).hexdigest() in said
    assert json.loads(archived)["results"]["numbers"][0]["event_count"] > 0


def test_a_region_system_of_its_own_gets_its_own_report(folder: Path) -> None:
    said = _text(_docx(folder, "T"))
    assert "Town共上报基层治理事件" in said
    assert "2 个下级区域中 2 个已报送，其中 0 个每天都有上报。" in said
    assert "（America/New_York）" in said
    assert {row[1] for row in _tables(_docx(folder, "T"))["序"]} == {"North", "South"}


def test_the_word_document_is_set_in_chinese_type_with_its_charts(folder: Path) -> None:
    document = docx.Document(str(_docx(folder, CITY)))
    assert len(document.inline_shapes) == 2
    fonts = {s.name: s.element.rPr.rFonts.get(qn("w:eastAsia")) for s in document.styles if getattr(s.element.rPr, "rFonts", None) is not None}
    assert fonts["Normal"] == "仿宋"
    assert fonts["Title"] == "宋体"
    assert document.core_properties.title == "平安法治周报 杭州市 2026-W09"
    footer = document.sections[0].footer.paragraphs[0].text
    assert "杭州市 · 2026-W09" in footer


def test_the_page_says_the_same_as_the_document_and_loads_nothing(folder: Path) -> None:
    page = _docx(folder, CITY, "html").read_text(encoding="utf-8")
    for row in _tables(_docx(folder, CITY))["指标"]:
        assert all(cell in page for cell in row), row
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"https?://|<script|<link", page)


def test_the_workbook_has_the_numbers_as_numbers_and_real_charts(folder: Path, week_of_city: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    book = openpyxl.load_workbook(_docx(folder, CITY, "xlsx"))
    assert book.sheetnames == ["关键数据", "报送情况", "接口", "走势", "各地情况", "事件类别", "值得关注", "超期与责任单位", "提示原因", "数据来源"]
    numbers = {row[0]: row for row in book["关键数据"].iter_rows(min_row=2, values_only=True)}
    assert numbers["上报事件"][2:4] == tuple(int(frame.event_count.sum()) for frame in week_of_city)
    ranking = list(book["各地情况"].iter_rows(values_only=True))
    assert ranking[0][:5] == ("序", "区划代码", "区域", "本期上报", "上期上报")
    assert sum(row[3] for row in ranking[1:]) == week_of_city[0].event_count.sum()
    assert {name: len(book[name]._charts) for name in ("走势", "各地情况", "事件类别")} == {"走势": 1, "各地情况": 1, "事件类别": 0}
    with zipfile.ZipFile(_docx(folder, CITY, "xlsx")) as archive:
        drawn = "".join(archive.read(name).decode() for name in archive.namelist() if name.startswith("xl/charts/chart"))
    assert "各地情况!$D$2:$D$14" in drawn.replace("'", "")


def test_what_stands_out_is_far_from_its_mean(folder: Path, marts: dict[str, pa.Table]) -> None:
    archive = json.loads((_docx(folder, CITY).parent / "archive.json").read_bytes())
    frame = marts["event_daily"].to_pandas()
    frame = frame[frame.region_code.str.startswith("3301") & (frame.business_date < date(2026, 3, 2))]
    week = (pd.to_datetime(frame.business_date) - pd.Timestamp(2026, 2, 23)).dt.days // 7
    counted = frame.assign(week=week).groupby(["class_code", "week"]).event_count.sum().unstack(fill_value=0)
    mean = counted[range(-7, 0)].sum(axis=1) / 7
    far = (counted[0] - mean).abs() >= pd.concat([3 * mean**0.5, mean * 0 + 5], axis=1).max(axis=1)
    assert 0 < far.sum() < 6
    told = [row for row in archive["results"]["standouts"] if row["kind"] == "类别"]
    assert sorted((row["event_count"], row["mean_count"]) for row in told) == sorted(
        (int(counted.loc[code, 0]), round(mean[code], 1)) for code in counted.index[far]
    )


def test_few_persons_are_not_told_of() -> None:
    few = SMALLEST_PUBLISHED_COUNT - 1
    rows = [{"name": name, "person_count": count} for name, count in (("a", 0), ("b", few), ("c", 90), ("d", 7), ("e", None))]
    assert [row["person_count"] for row in without_few_persons(rows)] == [0, None, 90, None, None], "the smallest other one hides it in the total"
    assert [row["person_count"] for row in without_few_persons(rows[2:])] == [90, 7, None]
    assert without_few_persons([{"event_count": 1}]) == [{"event_count": 1}], "events are no persons"


def test_key_persons_are_told_of_where_the_mart_tells(folder: Path, snapshot: Snapshot) -> None:
    rows = {row[0]: row[1] for row in _tables(_docx(folder, CITY))["指标"]}
    told = snapshot.row("select sum(person_count) as n from mart.key_person_current where region_code = $code", {"code": CITY})
    assert told
    assert rows["在管重点人员"] == f"{int(told['n']):,} 人"
    assert {row[0]: row[1] for row in _tables(_docx(folder, "T"))["指标"]}["在管重点人员"] == "不公布"


def test_an_issue_rendered_again_has_the_same_bytes(folder: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    time.sleep(2.1)  # a zip entry's time has two seconds' resolution
    again = only(issued(tmp_path, snapshot, CITY, formats=("docx", "html", "xlsx")))
    assert [path.suffix for path in again.files] == [".docx", ".html", ".xlsx"]
    for path in again.files:
        assert path.read_bytes() == _docx(folder, CITY, path.suffix[1:]).read_bytes(), path.name
    with zipfile.ZipFile(_docx(folder, CITY)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert docx.Document(str(_docx(folder, CITY))).core_properties.modified == datetime(2026, 3, 2, 16, tzinfo=UTC)


def test_names_with_markup_are_printed_as_they_are(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    names = pc.replace_substring(marts["region"]["region_name"], "North", 'N <b>& "S"</b> {{ 1 }}')
    changed = {"region": marts["region"].set_column(2, "region_name", names)}
    snapshot = _publish(tmp_path, _foreign_only(marts) | {"region": changed["region"].filter(pc.equal(changed["region"]["region_system"], "town"))})
    issue = only(issued(tmp_path, snapshot, "T"))
    assert 'N <b>& "S"</b> {{ 1 }}' in {row[1] for row in _tables(file_of(issue, "docx"))["序"]}
    assert "N &lt;b&gt;&amp; &quot;S&quot;&lt;/b&gt; {{ 1 }}</p>" in file_of(issue, "html").read_text(encoding="utf-8")


def test_a_chart_refuses_a_character_that_its_font_lacks() -> None:
    chart = Chart(name="c", title="各地上报", kind="bar", query="q", x="name", y={"n": "本周"})
    assert draw(chart, chart.title, [{"name": "杭州市", "n": 1}]).startswith(b"\x89PNG")
    with pytest.raises(ReportStopped, match="lacks 😀"):
        draw(chart, chart.title, [{"name": "杭州市😀", "n": 1}])


def test_a_week_that_is_not_over_is_not_reported(snapshot: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(ReportStopped, match=r"weekly cn 2026-W10: expected a week that is over"):
        issued(tmp_path, snapshot, PROVINCE, period=Period.named("2026-W10"))
    assert list(tmp_path.iterdir()) == []


def test_a_period_before_the_data_begin_is_not_reported(snapshot: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(ReportStopped, match=r"annual cn 2025: expected data from 2025-01-01 on, they begin 2025-12-30"):
        issued(tmp_path, snapshot, PROVINCE, report=load(FOLDER / "annual"), period=Period.named("2025"))
    assert list(tmp_path.iterdir()) == []


def test_a_region_without_events_is_not_reported_the_missing_number_is_named_and_the_others_are_made(snapshot: Snapshot, tmp_path: Path) -> None:
    made = issued(tmp_path, snapshot, province.SILENT_CITIES[0], CITY)
    (stopped,) = made.stopped
    assert str(stopped).startswith("weekly 331000000000 2026-W09: event_count（上报事件）: expected a number, found none")
    assert [issue.folder.parent.name for issue in made.issues] == [CITY]
    assert not list(tmp_path.rglob("*331000000000*"))


def _foreign_only(marts: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return {n: t.filter(pc.equal(t["region_system"], "town")) if "region_system" in t.column_names else t for n, t in marts.items()}


def _publish(folder: Path, marts: dict[str, pa.Table]) -> Snapshot:
    run = province.run_over(folder / "lake", marts)
    return Snapshots(run.settings.home).open(publish(run)["snapshot"]["id"])


def test_the_first_week_of_a_region_system_is_compared_with_nothing(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    town = _foreign_only(marts)
    begun = pc.greater_equal(town["event_daily"]["business_date"], pa.scalar(WEEK.first))
    snapshot = _publish(tmp_path, town | {"event_daily": town["event_daily"].filter(begun)})
    path = file_of(only(issued(tmp_path, snapshot, "T")), "docx")
    rows = {row[0]: row for row in _tables(path)["指标"]}
    assert rows["上报事件"][2:4] == ["—", "无可比数"]
    assert "较上周" not in _text(path)


def test_an_empty_query_stops_one_report_and_not_the_others(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    snapshot = _publish(tmp_path, _foreign_only(marts) | {"feed_quality": marts["feed_quality"].slice(0, 0)})
    run = province.checked(Run.start(province.settings(tmp_path / "lake"), quiet=True))
    with pytest.raises(ReportStopped, match=r"weekly T 2026-W09: feeds: expected at least one row in snapshot") as stopped:
        render_all(run)
    assert "operating_quality" not in str(stopped.value)
    written = {path.name for path in (run.settings.home / "reports").rglob("*.docx")}
    assert written == {"operating_quality-T-2026-W09.docx"}, "monthly asks for the feeds too"
    assert snapshot.id


_IN_RUN = [("weekly", "2026-W09"), ("operating_quality", "2026-W09"), ("monthly", "2026-02")]


def test_a_run_reports_the_top_region_of_every_system_in_use(published: Run) -> None:
    done = render_all(published)
    names = {Path(path).name for path in done["reports"]}
    issued_for = [f"{report}-{code}-{period}" for report, period in _IN_RUN for code in (PROVINCE, "T")]
    assert names == {f"{name}.{kind}" for name in issued_for for kind in ("docx", "html")}
    assert done["skipped"]["cn annual"] == "annual 2025 of region system cn: its data begin 2025-12-30, after 2025-01-01"
    before = {path: Path(path).stat().st_mtime_ns for path in done["reports"]}
    assert {path: Path(path).stat().st_mtime_ns for path in render_all(published)["reports"]} == before, "nothing is written twice"


def test_a_system_that_has_been_quiet_is_left_out_and_named(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    town = _foreign_only(marts)
    old = pc.less(town["event_daily"]["business_date"], pa.scalar(date(2026, 2, 1)))
    snapshot = _publish(tmp_path, town | {"event_daily": town["event_daily"].filter(old)})
    run = province.checked(Run.start(province.settings(tmp_path / "lake"), quiet=True))
    with pytest.raises(ReportStopped, match="region system town has no events since 2026-01-31"):
        render_all(run)
    assert snapshot.id


_REPORT = """
import sys
from pathlib import Path
from gridlake.runs import Run
from serving.reports import render_all
from tests.serving import province
render_all(province.checked(Run.start(province.settings(Path(sys.argv[1])), quiet=True)))
"""


def test_a_report_killed_between_its_files_is_no_issue_and_whole_after_a_repeat(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    _publish(tmp_path, _foreign_only(marts))
    folder = tmp_path / "lake" / "reports" / "operating_quality" / "2026-W09" / "T" / "1"
    command = [sys.executable, "-c", _REPORT, str(tmp_path / "lake")]
    killed = subprocess.run(command, cwd=CHECKOUT, env=os.environ | {"GRIDLAKE_KILL_AT": "report.between_files:4"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert set(before) == {"archive.json", "operating_quality-T-2026-W09.docx"}
    assert subprocess.run(command, cwd=CHECKOUT, check=False).returncode == 0
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert set(after) == {*before, "operating_quality-T-2026-W09.html", "issue.json"}
    assert {name: after[name] for name in before} == before


def _copy_of_weekly(folder: Path) -> Path:
    copy = folder / "reports" / "fortnightly"
    shutil.copytree(FOLDER / "weekly", copy)
    return copy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name: closed_pct,", "name: closed_share,"), "expected a column closed_share"),
        (("query: trend,", "query: months,"), "asks for months"),
        (("column: event_daily.event_count,", "column: event_daily.events,"), r"expected a description of mart\.event_daily\.events"),
        (("meaning: 已办结 ÷ 上报事件", "column: null"), "a number is not printed unexplained"),
        (("title: 平安法治周报", "titel: 平安法治周报"), "titel"),
        (("numbers.event_count.text", "numbers.events.text"), "sentence 1 of report.yml cannot be said"),
        (("optional: [before_count, closed_pct, closed_rank]", "optional: [before_count]"), "ranking: closed_pct: expected a value in every row"),
    ],
)
def test_a_declaration_that_cannot_be_followed_stops_the_report_and_says_where(
    snapshot: Snapshot, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    copy = _copy_of_weekly(tmp_path)
    declared = (copy / "report.yml").read_text(encoding="utf-8")
    assert change[0] in declared
    (copy / "report.yml").write_text(declared.replace(*change, 1), encoding="utf-8")
    with pytest.raises(ReportStopped, match=said):
        raise issued(tmp_path, snapshot, PROVINCE, report=load(copy)).stopped[0]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("-- name: reasons\nselect subject from subject where $password is null", r"reasons asks for \$password; it may ask for \$system"),
        ("-- name: reasons\nselect 1 as reason", "expected a column `subject`"),
        ("-- name: reasons\ncreate table a as select 1", "a report only reads"),
        ("-- name: reasons\nselect subject from subject; drop table subject", "expected one SELECT, found 2 statements"),
        ("select subject from subject", "expected every query below a line `-- name: <name>`"),
        ("-- name: reasons\nselect subject, none from subject", "reasons: the snapshot cannot answer it"),
        ("-- name: reasons\nselect subject, content from subject, read_text('/etc/passwd')", "the snapshot cannot answer it"),
    ],
)
def test_a_query_reads_the_snapshot_and_nothing_else(snapshot: Snapshot, tmp_path: Path, sql: str, said: str) -> None:
    copy = tmp_path / "reports" / "other"
    copy.mkdir(parents=True)
    shutil.copy(FOLDER / "weekly" / "template.docx", copy)
    (copy / "queries.sql").write_text(sql, encoding="utf-8")
    with pytest.raises(ReportStopped, match=said):
        issued(tmp_path, snapshot, CITY, report=load(copy))


@pytest.mark.parametrize(
    ("kind", "open_date", "name", "text"),
    [
        ("week", date(2026, 3, 2), "2026-W09", "2026年第9周（2月23日至3月1日）"),
        ("week", date(2026, 3, 1), "2026-W08", "2026年第8周（2月16日至2月22日）"),
        ("week", date(2026, 1, 5), "2026-W01", "2026年第1周（2025年12月29日至1月4日）"),
        ("week", date(2021, 1, 4), "2020-W53", "2020年第53周（12月28日至2021年1月3日）"),
        ("month", date(2026, 3, 1), "2026-02", "2026年2月"),
        ("month", date(2026, 3, 31), "2026-02", "2026年2月"),
        ("month", date(2026, 1, 1), "2025-12", "2025年12月"),
        ("year", date(2026, 12, 31), "2025", "2025年"),
    ],
)
def test_the_last_complete_period_is_the_one_before_the_first_open_day(kind: Kind, open_date: date, name: str, text: str) -> None:
    found = Period.last_complete(kind, open_date)
    assert (str(found), found.text, Period.named(name)) == (name, text, found)
    assert found.is_complete(open_date)
    assert not Period.of(kind, date.fromordinal(found.last.toordinal() + 1)).is_complete(open_date)


def test_a_year_ago_is_the_same_week_or_month() -> None:
    assert str(Period.named("2026-W09").year_ago) == "2025-W09"
    assert str(Period.named("2024-02").year_ago) == "2023-02"
    assert Period.named("2026-W53").year_ago is None, "2025 has 52 weeks"
    assert Period.named("2026").year_ago is None, "it is the year before"
    assert [str(p) for p in Period.named("2026").trend()] == [f"2026-{month:02}" for month in range(1, 13)]
    assert next(str(p) for p in Period.named("2026-W02").trend()) == "2025-W47"
    with pytest.raises(ValueError, match="2026-W09, 2026-02 or 2026"):
        Period.named("last week")


@pytest.mark.parametrize(
    ("comparison", "in_table", "in_sentence"),
    [
        (Comparison(105, 100, "件"), "+5（+5.0%）", "增加 5 件（5.0%）"),
        (Comparison(95, 100, "件"), "-5（-5.0%）", "减少 5 件（5.0%）"),
        (Comparison(100, 100, "件"), "持平", "持平"),
        (Comparison(3, 0, "件", than="上周"), "+3（上周为零）", "增加 3 件（上周为零）"),
        (Comparison(3, None, "件"), "无可比数", "无可比数"),
        (Comparison(95.5, 94.2, "%", 1, in_points=True), "+1.3 个百分点", "上升 1.3 个百分点"),
        (Comparison(94.24, 94.2, "%", 1, in_points=True), "持平", "持平"),
    ],
)
def test_a_change_is_put_in_words(comparison: Comparison, in_table: str, in_sentence: str) -> None:
    assert (comparison.in_table, comparison.in_sentence) == (in_table, in_sentence)


def test_folded_lines_leave_no_space_beside_chinese_punctuation() -> None:
    assert sentence("上报 3 件 ，\n 办结 2 件（ 66.7% ）。") == "上报 3 件，办结 2 件（66.7%）。"


def test_declarations_in_the_repository_hold_together(tmp_path: Path) -> None:
    reports = load_reports(Settings(home=tmp_path))
    assert {name: report.timetable.period for name, report in reports.items() if report.timetable} == {
        "weekly": "week", "monthly": "month", "annual": "year", "operating_quality": "week", "feed_quality": "week",
    }  # fmt: skip
    assert all(report.listed(name).title for report in reports.values() for name in report.queries if name != "numbers")
