"""What is signed stays, what is changed is said cell by cell, what was made is made again; months and years; templates and reports of strangers."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import docx
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner, Result
from docx.document import Document

from gridlake.cli import main
from gridlake.runs import Run
from gridlake.signing import SigningKey
from serving.publish import publish
from serving.reports import issues, pdf, subjects
from serving.reports.declaration import FOLDER, Report, ReportStopped, load
from serving.reports.issues import Issue
from serving.reports.making import FORMATS, make
from serving.reports.period import Period
from serving.reports.reproduction import reproduce
from serving.snapshots import Snapshot, Snapshots
from tests.serving import province

NOW = datetime(2026, 3, 3, 9, tzinfo=UTC)
WEEK = Period.named("2026-W09")
KINDS = ("docx", "html", "xlsx")


def _foreign_only(marts: dict[str, pa.Table]) -> dict[str, pa.Table]:
    return {n: t.filter(pc.equal(t["region_system"], "town")) if "region_system" in t.column_names else t for n, t in marts.items()}


@pytest.fixture(scope="module")
def town(marts: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The marts of the town abroad alone, with two years of events: one a day in each half, two on every day of February 2026."""
    made = _foreign_only(marts)
    rows = [
        (day, "town", code, "town_hall", "0101", "1", 2 if day >= date(2026, 2, 1) else 1, 1, 0, 0, 240, 1)
        for day in (date.fromordinal(date(2026, 3, 1).toordinal() - n) for n in range(790))
        for code in ("T/N 1", "T/S 2")
    ]
    schema = made["event_daily"].schema
    columns = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)]
    return made | {"event_daily": pa.table(columns, schema=schema)}


def _publish(home: Path, tables: dict[str, pa.Table]) -> Snapshot:
    run = Run.start(province.settings(home), quiet=True)
    for name, table in tables.items():
        run.tables.ensure(f"mart.{name}", table.schema)
        run.tables.overwrite(f"mart.{name}", table)
    run.tables.ensure("bronze.city_platform__event", pa.schema([("event_id", pa.string())]))
    return Snapshots(home).open(publish(province.checked(run))["snapshot"]["id"])


@pytest.fixture(scope="module")
def lake(town: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published lake of the town; a test that writes takes a copy."""
    home = tmp_path_factory.mktemp("town") / "lake"
    _publish(home, town)
    return home


@pytest.fixture
def own(lake: Path, tmp_path: Path) -> Path:
    """A copy of that lake."""
    return Path(shutil.copytree(lake, tmp_path / "lake", symlinks=True))


def _made(home: Path, name: str = "weekly", period: Period = WEEK, kinds: tuple[str, ...] = KINDS, code: str = "T") -> Issue:
    snapshot, report = Snapshots(home).open(), load(FOLDER / name)
    made = make(home, snapshot, report, [subjects.find(snapshot, report, code)], period, kinds)
    assert [str(error) for error in made.stopped] == []
    return made.issues[0]


def _sign(home: Path, issue: Issue) -> None:
    issues.sign(issue, SigningKey.load(home.with_name("lake.signing.pem")), "张主任", NOW)


def _with_late_row(town: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """One event more, of 25 February in the North, not closed and overdue."""
    schema = town["event_daily"].schema
    late = (date(2026, 2, 25), "town", "T/N 1", "town_hall", "0101", "2", 1, 0, 1, 0, 0, 0)
    return town | {"event_daily": pa.concat_tables([town["event_daily"], pa.table([[v] for v in late], schema=schema)])}


def test_a_late_row_makes_a_restatement_of_a_signed_issue_that_names_exactly_the_changed_cells(own: Path, town: dict[str, pa.Table]) -> None:
    first = _made(own)
    _sign(own, first)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    assert _made(own).folder == first.folder, "the same numbers are the same issue"

    snapshot = _publish(own, _with_late_row(town))
    second = _made(own)
    assert second.folder == first.folder.parent / "2"
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    replaces = json.loads(second.archive)["replaces"]
    assert replaces["edition"] == 1
    cells = {(c["title"], c["row"], c["heading"]): (c["was"], c["now"]) for c in replaces["changes"]}
    assert cells == {
        ("关键数据", "本周", "上报事件"): ("28", "29"),
        ("关键数据", "本周", "办结率"): ("50.0", "48.3"),
        ("关键数据", "本周", "超期"): ("0", "1"),
        ("报送情况", "North", "本期上报"): ("14", "15"),
        ("走势", "第9周", "上报"): ("28", "29"),
        ("各地情况", "North", "本期上报"): ("14", "15"),
        ("各地情况", "North", "办结率"): ("50.0", "46.7"),
        ("各地情况", "North", "办结率位次"): ("1", "2"),
        ("各地情况", "North", "超期"): ("0", "1"),
        ("事件类别", "邻里纠纷", "本期上报"): ("28", "29"),
        ("事件类别", "邻里纠纷", "办结率"): ("50.0", "48.3"),
        ("事件类别", "邻里纠纷", "超期"): ("0", "1"),
    }

    document = docx.Document(str(next(path for path in second.files if path.suffix == ".docx")))
    (table,) = [t for t in document.tables if t.rows[0].cells[0].text == "所在表"]
    assert [[c.text for c in row.cells] for row in table.rows[1:]] == [
        [c["title"], c["row"], c["heading"], c["was"], c["now"]] for c in replaces["changes"]
    ]
    said = "\n".join(p.text for p in document.paragraphs)
    assert "第2版（更正，取代第1版）" in said
    assert snapshot.id in said
    assert "更正说明" in next(path for path in second.files if path.suffix == ".html").read_text(encoding="utf-8")
    _sign(own, second)
    assert _made(own).folder == second.folder


def test_what_is_signed_cannot_be_written_signed_again_or_changed_unseen(own: Path) -> None:
    issue = _made(own, kinds=("docx",))
    _sign(own, issue)
    key = SigningKey.load(own.with_name("lake.signing.pem"))
    assert issues.verify(issue, key.public) == []
    assert {path.stat().st_mode & 0o222 for path in issue.files} == {0}
    with pytest.raises(ReportStopped, match="signed already, by 张主任"):
        _sign(own, issue)
    plan = issues.Planned(load(FOLDER / "weekly"), issue.folder, issue.archive, "weekly")
    with pytest.raises(ReportStopped, match="expected a draft, found a signed issue"):
        issues.write(own, plan, {"docx": b"other"})
    issue.files[0].chmod(0o644)
    issue.files[0].write_bytes(b"other")
    assert issues.verify(issue, key.public) == [f"{issue.files[0].name}: changed after it was signed"]


def test_an_issue_is_made_again_from_its_archive_alone(own: Path) -> None:
    issue = _made(own)
    shutil.rmtree(own / "snapshots")
    shutil.rmtree(own / "tables")
    assert {c.name: (c.is_equal, c.found) for c in reproduce(own, issue)} == {
        f"weekly-T-2026-W09.{kind}": (True, "equal, byte for byte") for kind in ("docx", "html", "xlsx")
    }
    changed = json.loads(issue.archive)
    changed["results"]["numbers"][0]["event_count"] += 1
    (issue.folder / "archive.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ReportStopped, match=r"expected its archive\.json as it was written"):
        reproduce(own, issue)


def test_a_file_that_differs_from_what_its_archive_makes_is_found(own: Path) -> None:
    issue = _made(own)
    page = next(path for path in issue.files if path.suffix == ".html")
    page.write_text(page.read_text(encoding="utf-8").replace("28 件", "27 件"), encoding="utf-8")
    assert [(c.name, c.is_equal) for c in reproduce(own, issue) if not c.is_equal] == [(page.name, False)]


@pytest.mark.parametrize(
    ("name", "period", "said"),
    [
        ("monthly", "2026-02", "2026年2月，Town共上报基层治理事件 112 件，较上月增加 50 件（80.6%），较上年同月增加 56 件（100.0%）"),
        ("annual", "2025", "2025年，Town共上报基层治理事件 730 件"),
    ],
)
def test_months_and_years_are_compared_with_the_ones_before(own: Path, name: str, period: str, said: str) -> None:
    issue = _made(own, name, Period.named(period), ("docx",))
    text = "\n".join(p.text for p in docx.Document(str(issue.files[0])).paragraphs)
    assert said in text
    trend = json.loads(issue.archive)["results"]["trend"]
    assert len(trend) == {"monthly": 13, "annual": 12}[name]
    assert sum(row["event_count"] for row in trend[-1:] if name == "monthly") in (0, 112)


def test_the_same_number_stands_in_the_report_and_in_the_interface(own: Path) -> None:
    from fastapi.testclient import TestClient

    from serving.api import create_app

    numbers = {row["which"]: row for row in json.loads(_made(own, kinds=("docx",)).archive)["results"]["numbers"]}
    with TestClient(create_app(province.settings(own))) as client:
        answer = client.get("/posture", params={"region": "T", "from": str(WEEK.first), "to": str(WEEK.last)}).json()
    for which, counts in (("now", answer["totals"]), ("before", answer["previous_totals"])):
        assert {name: numbers[which][name] for name in ("event_count", "closed_count", "overdue_count", "invalid_count")} == {
            name: counts[name] for name in ("event_count", "closed_count", "overdue_count", "invalid_count")
        }
        assert numbers[which]["closed_pct"] == round(counts["closed_pct"], 1)
        assert numbers[which]["average_handling_hours"] == round(counts["average_handling_minutes"] / 60, 1)


def _edited(report: str, folder: Path, change: Callable[[Document], None]) -> Path:
    document = docx.Document(str(FOLDER / report / "template.docx"))
    change(document)
    path = folder / "edited.docx"
    document.save(str(path))
    return path


def _run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--home", str(home), "--contracts", str(province.CONTRACTS), "--json"])


def _says(text: str) -> Callable[[Document], None]:
    return lambda document: document.add_paragraph(text) and None


def _drop(text: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for paragraph in document.paragraphs:
            if text in paragraph.text:
                paragraph._p.getparent().remove(paragraph._p)

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_says("{{ minister }}"), "unknown placeholder: minister; the report has"),
        (_says("{{ period.week }}"), "unknown placeholder: period.week; period has"),
        (_says("{% for row in ranking %}{{ row.colour }}{% endfor %}"), "unknown placeholder: row.colour; row has"),
        (_says('{{ ranking|map(attribute="colour")|join }}'), "unknown placeholder: attribute colour"),
        (_says("{% if false %}{{ numbers.none.text }}{% endif %}"), "unknown placeholder: numbers.none"),
        (_says("{{ title "), "a placeholder cannot be read"),
        (_says("{% import 'os' as os %}"), "import in a template"),
        (_drop("charts.trend }}"), "missing placeholder: charts.trend"),
        (_drop("period.text"), "missing placeholder: period.text"),
        (_drop("edition"), "missing placeholder: edition"),
        (_says("{{ ''.__class__.__mro__ }}"), "cannot be filled in"),
    ],
)
def test_a_template_is_checked_before_it_is_taken(own: Path, tmp_path: Path, change: Callable[[Document], None], problem: str) -> None:
    path = _edited("weekly", tmp_path, change)
    checked = _run(own, "report", "template", "check", "weekly", str(path))
    assert checked.exit_code == 1
    assert any(problem in found for found in json.loads(checked.stdout)["problems"]), checked.stdout
    assert _run(own, "report", "template", "add", "weekly", str(path), "--by", "李").exit_code == 1
    assert not (own / "reports" / "_templates").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("word/vbaProject.bin", b"\0", "macro or embedded object"),
        ("word/embeddings/oleObject1.bin", b"\0", "macro or embedded object"),
        (
            "word/_rels/settings.xml.rels",
            b'<Relationships><Relationship Id="r1" Type="http://x/attachedTemplate" Target="https://x/a" TargetMode="External"/></Relationships>',
            "fetched from elsewhere",
        ),
        ("word/extra.xml", b"<w:instrText>DDEAUTO c:\\\\windows\\\\cmd.exe</w:instrText>", "a field that fetches or starts something"),
    ],
)
def test_a_template_with_a_macro_or_another_document_is_refused(own: Path, tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    path = tmp_path / "edited.docx"
    path.write_bytes((FOLDER / "weekly" / "template.docx").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)
    (found,) = json.loads(_run(own, "report", "template", "check", "weekly", str(path)).stdout)["problems"]
    assert problem in found


def test_an_added_template_is_used_from_then_on_and_issues_before_keep_theirs(own: Path, tmp_path: Path) -> None:
    first = _made(own)
    _sign(own, first)
    path = _edited("weekly", tmp_path, _says("抄送：省委政法委"))
    assert json.loads(_run(own, "report", "template", "check", "weekly", str(path)).stdout)["problems"] == []
    added = json.loads(_run(own, "report", "template", "add", "weekly", str(path), "--by", "李").stdout)
    assert (added["version"], added["by"]) == (1, "李")
    made = json.loads(_run(own, "report", "make", "weekly", "--period", "2026-W08", "--of", "T").stdout)
    text = "\n".join(p.text for p in docx.Document(made["issues"][0]["files"][0]).paragraphs)
    assert "抄送：省委政法委" in text
    assert all(c.is_equal for c in reproduce(own, first))
    again = _run(own, "reproduce", "weekly/2026-W08/T")
    assert again.exit_code == 0, again.stdout
    assert {f["found"] for f in json.loads(again.stdout)["files"]} == {"equal, byte for byte"}


def _strangers(folder: Path) -> None:
    """What docs/how-to/reports.md says: a Word template and a file of SQL in one folder."""
    made = folder / "reports" / "short"
    made.mkdir(parents=True)
    document = docx.Document()
    document.core_properties.title = "一页纸"
    document.add_heading("{{ subject.name }}：{{ period.text }}（{{ edition }}）", 1)
    document.add_paragraph(
        "上报 {{ total.event_count|number }} 件，其中：{% for row in halves %}{{ row.region_name }} {{ row.event_count }} 件；{% endfor %}"
    )
    document.save(str(made / "template.docx"))
    (made / "queries.sql").write_text(
        """
-- name: total (one)
-- one row per region
select below.subject, sum(e.event_count)::bigint as event_count
from below join mart.event_daily as e using (region_system, region_code)
where e.business_date between $first and $last
group by below.subject

-- name: halves
-- one row per region directly below
select s.subject, r.region_name, sum(e.event_count)::bigint as event_count
from subject as s
join mart.region as r on r.region_system = s.region_system and r.parent_code = s.region_code
join mart.event_daily as e on e.region_system = r.region_system and e.region_code = r.region_code
where e.business_date between $first and $last
group by s.subject, r.region_name
order by s.subject, r.region_name
""",
        encoding="utf-8",
    )


def test_a_strangers_report_is_a_word_template_and_a_file_of_sql(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(province.CONTRACTS, folder)
    _strangers(folder)
    command = ["--home", str(own), "--contracts", str(folder), "--json"]
    checked = CliRunner().invoke(main, ["report", "template", "check", "short", str(folder / "reports" / "short" / "template.docx"), *command])
    assert json.loads(checked.stdout)["problems"] == []
    done = CliRunner().invoke(main, ["report", "make", "short", "--of", "T", *command])
    assert done.exit_code == 0, done.output
    files = {Path(path).suffix: Path(path) for path in json.loads(done.stdout)["issues"][0]["files"]}
    text = "\n".join(p.text for p in docx.Document(str(files[".docx"])).paragraphs)
    assert "Town：2026年第9周（2月23日至3月1日）（第1版）" in text
    assert "上报 28 件，其中：North 14 件；South 14 件；" in text
    assert "查询结果摘要（SHA-256）" in text, "every report says where its numbers come from"
    assert "North 14 件" in files[".html"].read_text(encoding="utf-8")
    assert files[".xlsx"].stat().st_size > 1000
    assert json.loads(CliRunner().invoke(main, ["reproduce", str(files[".docx"]), *command]).stdout)["files"][0]["is_equal"]


def test_senders_learn_how_well_they_sent(snapshot: Snapshot, tmp_path: Path) -> None:
    report = load(FOLDER / "feed_quality")
    code = "330100000000"
    made = make(tmp_path, snapshot, report, [subjects.find(snapshot, report, code)], WEEK, ("docx",))
    (issue,) = made.issues
    document = docx.Document(str(issue.files[0]))
    tables = {t.rows[0].cells[0].text + t.rows[0].cells[1].text: [[c.text for c in row.cells] for row in t.rows[1:]] for t in document.tables}
    ((feed, field, meaning, remedy, rows),) = tables["接口字段"]
    assert (feed, field, meaning, remedy) == ("事件", "事件类别", "必填字段没有值", "补填后重报该行")
    refused = snapshot.row("select sum(refused) as n, sum(received) as all from mart.feed_quality where sender_code = $code", {"code": code})
    assert refused
    assert rows == f"{int(refused['n']):,}"
    assert f"累计接收 {int(refused['all']):,} 行" in "\n".join(p.text for p in document.paragraphs)
    assert len(subjects.every(snapshot, report, "cn")) == 9, "who never sent anything has no report"


@pytest.mark.skipif(not pdf.is_available(), reason="needs LibreOffice")
def test_a_pdf_has_the_documents_text_in_the_packages_type_and_is_made_again_equal(own: Path) -> None:
    issue = _made(own, kinds=FORMATS)
    content = next(path for path in issue.files if path.suffix == ".pdf").read_bytes()
    text = "".join(pdf.pages(content)).replace("\r\n", "").replace(" ", "")
    assert "Town共上报基层治理事件28件" in text
    assert b"NotoSansCJK" in content
    found = {c.name: c for c in reproduce(own, issue)}
    assert all(c.is_equal for c in found.values()), found
    assert found["weekly-T-2026-W09.pdf"].found.endswith("pages with the same text")


def test_without_libreoffice_a_pdf_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ReportStopped, match="expected LibreOffice, found no soffice"):
        pdf.convert({"a": b""})


@pytest.mark.deep
def test_every_region_of_three_levels_is_made_over_two_processes_as_one_alone(snapshot: Snapshot, tmp_path: Path) -> None:
    report: Report = load(FOLDER / "weekly")
    every = subjects.every(snapshot, report, "cn")
    assert len(every) == 102
    made = make(tmp_path / "all", snapshot, report, every, WEEK)
    silent = [s.code for s in every if s.code[:4] in ("3310", "3311")]
    assert len(made.stopped) == len(silent)
    assert len(made.issues) == 102 - len(silent)
    alone = make(tmp_path / "one", snapshot, report, [every[5]], WEEK)
    twin = next(i for i in made.issues if i.folder.parent.name == every[5].code)
    assert {p.name: p.read_bytes() for p in twin.files} == {p.name: p.read_bytes() for p in alone.issues[0].files}


def test_a_docx_holds_no_path_of_the_machine(own: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(_made(own, kinds=("docx",)).files[0].read_bytes())) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert str(own).encode() not in everything
