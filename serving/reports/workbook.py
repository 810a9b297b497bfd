"""One issue as a workbook: the key numbers, a sheet for each query with its real chart, and where it all comes from."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import xlsxwriter
from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from serving.reports.content import WITHHELD, Content, said
from serving.reports.declaration import NUMBERS, Chart

_FONT = {"font_name": "宋体", "font_size": 11}
_WIDEST = 48
# Excel's own limit of a sheet's name, and what it must not hold.
_SHEET_NAME, _FORBIDDEN = 31, str.maketrans(dict.fromkeys("[]:*?/\\", " "))
_COLOURS = ("#1a5fb4", "#c9d2dc", "#e66100")


def render_xlsx(content: Content) -> bytes:
    """The workbook; the same content gives the same bytes."""
    written = io.BytesIO()
    workbook = xlsxwriter.Workbook(written, {"in_memory": True, "default_date_format": "yyyy-mm-dd"})
    workbook.set_properties({"title": content.title, "author": "gridlake", "created": content.as_of.replace(tzinfo=None)})
    if content.report.numbers:
        _write_numbers(workbook, content)
    for name, rows in content.archive["results"].items():
        if rows and not (name == NUMBERS and content.report.numbers):
            sheet, columns = _write_rows(workbook, content, name, rows)
            for place, chart in enumerate(c for c in content.report.charts if c.query == name):
                _add_chart(workbook, sheet, content, chart, columns, len(rows), place)
    _write_source(workbook, content)
    workbook.close()
    return written.getvalue()


def _write_numbers(workbook: Workbook, content: Content) -> None:
    words = content.context["period"]
    headings = ("指标", "单位", words["this"], words["before"], "环比", words["year_ago"], "同比", "口径")
    rows = [
        (f.title, f.unit, f.text if f.value is None else f.value, f.before, f.change, f.year_ago, f.year_ago_change, f.meaning)
        for f in content.context["numbers"].values()
    ]
    _sheet(workbook, "关键数据", headings, rows)


def _write_rows(workbook: Workbook, content: Content, name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Worksheet, list[str]]:
    headings: Mapping[str, str] = content.archive["headings"][name]
    columns = list(rows[0])
    shown = [tuple(WITHHELD if row[c] is None and c.endswith("person_count") else row[c] for c in columns) for row in rows]
    title = content.report.listed(name).title or name
    return _sheet(workbook, title, [headings[c] for c in columns], shown), columns


def _write_source(workbook: Workbook, content: Content) -> None:
    source, replaced = content.context["snapshot"], content.archive["replaces"]
    rows = [
        ("报告", content.title),
        ("版次", content.context["edition"]),
        ("数据快照", source["id"]),
        ("统计时点", f"{source['as_of']}（{source['time_zone']}）"),
        ("数据合约", source["contracts"]),
        ("模型", source["models"]),
        ("程序摘要", source["code_digest"]),
        ("查询结果摘要（SHA-256）", source["digest"]),
    ]
    if replaced:
        changes = [(c["title"], c["row"], c["heading"], c["was"], c["now"]) for c in replaced["changes"]]
        _sheet(workbook, "更正说明", ("所在表", "行", "栏目", "原版", "本版"), changes)
    _sheet(workbook, "数据来源", ("项目", "内容"), rows)


def _sheet(workbook: Workbook, title: str, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> Worksheet:
    sheet = workbook.add_worksheet(title.translate(_FORBIDDEN)[:_SHEET_NAME])
    head = workbook.add_format({**_FONT, "bold": True, "bg_color": "#f6f0ef", "border": 1})
    cell = workbook.add_format({**_FONT, "border": 1, "text_wrap": True, "valign": "top"})
    sheet.write_row(0, 0, headings, head)
    sheet.freeze_panes(1, 0)
    for number, row in enumerate(rows, 1):
        for place, value in enumerate(row):
            # A text is written as a text: what begins with = is not counted.
            (sheet.write_string if isinstance(value, str) else sheet.write)(number, place, value, cell)
    for place, heading in enumerate(headings):
        widest = max([_width(heading), *(_width(row[place]) for row in rows)])
        sheet.set_column(place, place, min(widest + 2, _WIDEST))
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    return sheet


def _width(value: Any) -> int:
    # A Chinese character takes the room of two.
    return 0 if value is None else sum(2 if ord(c) > 0x2E80 else 1 for c in str(value))


def _add_chart(workbook: Workbook, sheet: Worksheet, content: Content, chart: Chart, columns: list[str], count: int, place: int) -> None:
    drawn = workbook.add_chart({"type": chart.kind})
    x = columns.index(chart.x)
    for colour, (column, label) in zip(_COLOURS, chart.y.items(), strict=False):
        y = columns.index(column)
        look: dict[str, Any] = {"line": {"color": colour}} if chart.kind == "line" else {"fill": {"color": colour}}
        drawn.add_series({"name": label, "categories": [sheet.name, 1, x, count, x], "values": [sheet.name, 1, y, count, y], **look})
    drawn.set_title({"name": said(chart.title, content.context, f"the title of chart {chart.name}"), "name_font": {"size": 12}})
    drawn.set_legend({"position": "bottom"})
    drawn.set_size({"width": 720, "height": 300 if chart.kind == "line" else max(240, 60 + 24 * count)})
    if chart.kind == "bar":
        drawn.set_y_axis({"reverse": True})
    sheet.insert_chart(1 + 18 * place, len(columns) + 1, drawn)
