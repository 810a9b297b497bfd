"""The weekly report says what the marts say, the same way every time, or is not issued at all."""

from __future__ import annotations

import hashlib
import io
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
from typing import Any

import docx
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from docx.oxml.ns import qn

from gridlake.runs import Run
from gridlake.settings import CHECKOUT
from serving import regions
from serving.publish import publish
from serving.reports import ReportStopped, render, render_all
from serving.reports.chart import draw
from serving.reports.declaration import FOLDER, Chart, load, load_reports
from serving.reports.week import Week
from serving.reports.wording import Comparison, sentence
from serving.snapshots import Snapshot, Snapshots
from tests.serving import province

WEEK = Week(date(2026, 2, 23))
PROVINCE, CITY = "330000000000", "330100000000"


@pytest.fixture(scope="module")
def folder(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of province, city and town."""
    target = tmp_path_factory.mktemp("reports")
    for code in (PROVINCE, CITY, "T"):
        render(snapshot, load(FOLDER / "weekly"), regions.find(snapshot, code), WEEK, target)
    return target


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


def _docx(folder: Path, code: str) -> Path:
    return folder / f"weekly-{code}-2026-W09.docx"


def test_key_numbers_equal_a_count_over_the_mart(folder: Path, week_of_city: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    now, before = week_of_city
    rows = {row[0]: row[1:] for row in _tables(_docx(folder, CITY))["指标"]}
    events, events_before = int(now.event_count.sum()), int(before.event_count.sum())
    assert rows["上报事件"][:2] == [f"{events:,} 件", f"{events_before:,} 件"]
    assert rows["上报事件"][2].startswith(f"{events - events_before:+,}（{100 * (events - events_before) / events_before:+.1f}%）")
    assert rows["已办结"][0] == f"{now.closed_count.sum():,} 件"
    assert rows["办结率"][0] == f"{100 * now.closed_count.sum() / events:.1f}%"
    assert rows["超期"][0] == f"{now.overdue_count.sum():,} 件"
    assert rows["平均办理时长"][0] == f"{now.handling_minutes_sum.sum() / 60 / now.handling_count.sum():.1f} 小时"
    assert rows["疑似无效事件"][0] == f"{now.invalid_count.sum():,} 件"
    assert rows["网格"][0] == "40 个"
    assert all(row[3] for row in rows.values()), "every number says what it means"


def test_completeness_names_who_has_not_reported(folder: Path) -> None:
    said = _text(_docx(folder, PROVINCE))
    assert "11 个设区市中 9 个已报送；未报送：台州市、丽水市。" in said
    assert "13 个县（市、区）中 13 个已报送。" in _text(_docx(folder, CITY))


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
    archived = (folder / f"weekly-{PROVINCE}-2026-W09.json").read_bytes()
    assert snapshot.id in said
    assert "统计时点 2026年3月3日 00:00（Asia/Shanghai）" in said
    assert "city_platform__event 1.0.0" in said
    assert "模型：invalid_event 1.0.0" in said
    assert hashlib.sha256(archived).hexdigest() in said
    assert json.loads(archived)["results"]["numbers"][0]["event_count"] > 0


def test_a_region_system_of_its_own_gets_its_own_report(folder: Path) -> None:
    said = _text(_docx(folder, "T"))
    assert "Town共上报基层治理事件" in said
    assert "2 个下级区域中 2 个已报送" in said
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
    page = (folder / f"weekly-{CITY}-2026-W09.html").read_text(encoding="utf-8")
    for row in _tables(_docx(folder, CITY))["指标"]:
        assert all(cell in page for cell in row), row
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"https?://|<script|<link", page)


def test_an_issue_rendered_again_has_the_same_bytes(folder: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    time.sleep(2.1)  # a zip entry's time has two seconds' resolution
    report, city = load(FOLDER / "weekly"), regions.find(snapshot, CITY)
    for path in render(snapshot, report, city, WEEK, tmp_path):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
    with zipfile.ZipFile(_docx(folder, CITY)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert docx.Document(str(_docx(folder, CITY))).core_properties.modified == datetime(2026, 3, 2, 16, tzinfo=UTC)


def test_names_with_markup_are_printed_as_they_are(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    names = pc.replace_substring(marts["region"]["region_name"], "North", 'N <b>& "S"</b> {{ 1 }}')
    changed = {"region": marts["region"].set_column(2, "region_name", names)}
    snapshot = _publish(tmp_path, _foreign_only(marts) | {"region": changed["region"].filter(pc.equal(changed["region"]["region_system"], "town"))})
    docx_path, html_path = render(snapshot, load(FOLDER / "weekly"), regions.find(snapshot, "T"), WEEK, tmp_path)
    assert 'N <b>& "S"</b> {{ 1 }}' in {row[1] for row in _tables(docx_path)["序"]}
    assert "<td>N &lt;b&gt;&amp; &#34;S&#34;&lt;/b&gt; {{ 1 }}</td>" in html_path.read_text(encoding="utf-8")


def test_a_chart_refuses_a_character_that_its_font_lacks() -> None:
    chart = Chart(name="c", title="各地上报", kind="bar", query="q", x="name", y={"n": "本周"})
    assert draw(chart, [{"name": "杭州市", "n": 1}]).startswith(b"\x89PNG")
    with pytest.raises(ReportStopped, match="lacks 😀"):
        draw(chart, [{"name": "杭州市😀", "n": 1}])


def test_a_week_that_is_not_over_is_not_reported(snapshot: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(ReportStopped, match=r"weekly 330000000000 2026-W10: expected a week that is over"):
        render(snapshot, load(FOLDER / "weekly"), regions.find(snapshot, PROVINCE), Week(date(2026, 3, 2)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_week_without_events_is_not_reported_and_the_missing_number_is_named(snapshot: Snapshot, tmp_path: Path) -> None:
    with pytest.raises(ReportStopped, match=r"weekly 331000000000 2026-W09: event_count（上报事件）: expected a number, found none"):
        render(snapshot, load(FOLDER / "weekly"), regions.find(snapshot, province.SILENT_CITIES[0]), WEEK, tmp_path)
    assert list(tmp_path.iterdir()) == []


def _foreign_only(marts: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return {n: t.filter(pc.equal(t["region_system"], "town")) if "region_system" in t.column_names else t for n, t in marts.items()}


def _publish(folder: Path, marts: dict[str, pa.Table]) -> Snapshot:
    run = province.run_over(folder / "lake", marts)
    return Snapshots(run.settings.home).open(publish(run)["snapshot"]["id"])


def test_the_first_week_of_a_region_system_is_compared_with_nothing(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    town = _foreign_only(marts)
    begun = pc.greater_equal(town["event_daily"]["business_date"], pa.scalar(WEEK.monday))
    snapshot = _publish(tmp_path, town | {"event_daily": town["event_daily"].filter(begun)})
    path, _ = render(snapshot, load(FOLDER / "weekly"), regions.find(snapshot, "T"), WEEK, tmp_path)
    rows = {row[0]: row for row in _tables(path)["指标"]}
    assert rows["上报事件"][2:4] == ["—", "无可比数"]
    assert "较上周无可比数" in _text(path)


def test_an_empty_query_stops_one_report_and_not_the_others(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    run = province.run_over(
        tmp_path / "lake", marts | {"feed_quality": marts["feed_quality"].filter(pc.equal(marts["feed_quality"]["feed"], "city_platform__event"))}
    )
    run.steps["publish"] = publish(run)
    with pytest.raises(ReportStopped, match=r"weekly T 2026-W09: feeds\.sql: expected at least one row") as stopped:
        render_all(run)
    assert "3300000" not in str(stopped.value)
    written = {p.name for p in (run.settings.home / "reports" / run.steps["publish"]["snapshot"]["id"]).glob("*.docx")}
    assert written == {"weekly-330000000000-2026-W09.docx", "weekly-330100000000-2026-W09.docx"}


def test_every_system_in_use_is_reported_with_its_first_region_that_sent_something(published: Run) -> None:
    done = render_all(published)
    names = {Path(path).name for path in done["reports"]}
    assert names == {f"weekly-{code}-2026-W09.{kind}" for code in ("330000000000", "330100000000", "T", "T~2fN~201") for kind in ("docx", "html")}
    assert done["skipped"] == {}


def test_a_system_that_has_been_quiet_is_left_out_and_named(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    events = marts["event_daily"]
    old = pc.or_(pc.equal(events["region_system"], "cn"), pc.less(events["business_date"], pa.scalar(date(2026, 2, 1))))
    run = province.run_over(tmp_path / "lake", marts | {"event_daily": events.filter(old)})
    run.steps["publish"] = publish(run)
    done = render_all(run)
    assert {Path(p).name.split("-")[1] for p in done["reports"]} == {"330000000000", "330100000000"}
    assert done["skipped"]["town"].startswith("region system town has no events since 2026-01-31")


_REPORT = """
import sys
from pathlib import Path
from gridlake.runs import Run
from serving.reports import render_all
from tests.serving import province
render_all(province.checked(Run.start(province.settings(Path(sys.argv[1])), quiet=True)))
"""


def test_a_report_killed_between_its_files_is_whole_after_a_repeat(marts: dict[str, pa.Table], tmp_path: Path) -> None:
    snapshot = _publish(tmp_path, _foreign_only(marts))
    folder = tmp_path / "lake" / "reports" / snapshot.id
    command = [sys.executable, "-c", _REPORT, str(tmp_path / "lake")]
    killed = subprocess.run(command, cwd=CHECKOUT, env=os.environ | {"GRIDLAKE_KILL_AT": "report.between_files:2"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {p.suffix for p in folder.glob("weekly-T~2fN*")} == {".json", ".docx"}
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert subprocess.run(command, cwd=CHECKOUT, check=False).returncode == 0
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert len(after) == 6
    assert {name: after[name] for name in before} == before


def _copy_of_weekly(folder: Path) -> Path:
    copy = folder / "reports" / "fortnightly"
    shutil.copytree(FOLDER / "weekly", copy)
    return copy


def test_another_report_is_another_folder(snapshot: Snapshot, tmp_path: Path) -> None:
    copy = _copy_of_weekly(tmp_path)
    declared = (copy / "report.yml").read_text(encoding="utf-8").replace("平安法治周报", "基层治理简报")
    (copy / "report.yml").write_text(declared, encoding="utf-8")
    reports = load_reports(tmp_path / "reports")
    assert set(reports) == {"fortnightly"}
    path, _ = render(snapshot, reports["fortnightly"], regions.find(snapshot, CITY), WEEK, tmp_path)
    assert path.name == "fortnightly-330100000000-2026-W09.docx"
    assert "基层治理简报" in _text(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name: closed_pct,", "name: closed_share,"), "expected a column closed_share"),
        (("query: weeks,", "query: months,"), "charts ask for months"),
        (("numbers: one,", "numbers: some,"), "expected `numbers: one`"),
        (("overdue: any,", "overdue: any, absent: any,"), r"expected absent\.sql"),
        (("title: 平安法治周报", "titel: 平安法治周报"), "titel"),
        (("numbers.event_count.text", "numbers.events.text"), "sentence 1 of report.yml cannot be said"),
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
        render(snapshot, load(copy), regions.find(snapshot, CITY), WEEK, tmp_path)


def test_a_query_may_ask_for_known_parameters_only(snapshot: Snapshot, tmp_path: Path) -> None:
    copy = _copy_of_weekly(tmp_path)
    (copy / "reasons.sql").write_text("select 1 as a where $password is null")
    with pytest.raises(ReportStopped, match=r"reasons\.sql asks for password"):
        render(snapshot, load(copy), regions.find(snapshot, CITY), WEEK, tmp_path)


def test_the_word_template_has_a_place_for_all_that_the_page_shows() -> None:
    template = io.BytesIO((FOLDER / "weekly" / "template.docx").read_bytes())
    with zipfile.ZipFile(template) as archive:
        word = re.sub(r"<[^>]+>", "", archive.read("word/document.xml").decode())
    page = (FOLDER / "weekly" / "template.html").read_text(encoding="utf-8")
    fields = set(re.findall(r"\{\{ ((?:row|figure|snapshot|period|region|charts)\.\w+)", page)) - {"period.week"}
    assert len(fields) > 20
    assert {f for f in fields if f not in word} == set()


@pytest.mark.parametrize(
    ("open_date", "week", "text"),
    [
        (date(2026, 3, 2), "2026-W09", "2026年第9周（2月23日至3月1日）"),
        (date(2026, 3, 1), "2026-W08", "2026年第8周（2月16日至2月22日）"),
        (date(2026, 1, 5), "2026-W01", "2026年第1周（2025年12月29日至1月4日）"),
        (date(2021, 1, 4), "2020-W53", "2020年第53周（12月28日至2021年1月3日）"),
    ],
)
def test_the_last_complete_week_is_the_one_before_the_first_open_day(open_date: date, week: str, text: str) -> None:
    found = Week.last_complete(open_date)
    assert (str(found), found.text) == (week, text)
    assert found.is_complete(open_date)
    assert not Week(date.fromordinal(found.monday.toordinal() + 7)).is_complete(open_date)


@pytest.mark.parametrize(
    ("comparison", "in_table", "in_sentence"),
    [
        (Comparison(105, 100, "件"), "+5（+5.0%）", "增加 5 件（5.0%）"),
        (Comparison(95, 100, "件"), "-5（-5.0%）", "减少 5 件（5.0%）"),
        (Comparison(100, 100, "件"), "持平", "持平"),
        (Comparison(3, 0, "件"), "+3（上周为零）", "增加 3 件（上周为零）"),
        (Comparison(3, None, "件"), "无可比数", "无可比数"),
        (Comparison(95.5, 94.2, "%", 1, in_points=True), "+1.3 个百分点", "上升 1.3 个百分点"),
        (Comparison(94.24, 94.2, "%", 1, in_points=True), "持平", "持平"),
    ],
)
def test_a_change_is_put_in_words(comparison: Comparison, in_table: str, in_sentence: str) -> None:
    assert (comparison.in_table, comparison.in_sentence) == (in_table, in_sentence)


def test_folded_lines_leave_no_space_beside_chinese_punctuation() -> None:
    assert sentence("上报 3 件 ，\n 办结 2 件（ 66.7% ）。") == "上报 3 件，办结 2 件（66.7%）。"


def test_declarations_in_the_repository_hold_together() -> None:
    reports: dict[str, Any] = load_reports()
    assert "weekly" in reports
    assert all(n.meaning for report in reports.values() for n in report.numbers)
