"""One issue as a Word document and as a page: docx from the Word template, html from that docx; equal content, equal bytes.

What says where the numbers come from, and what a restatement changes, is put below every document whatever its template has.
"""

from __future__ import annotations

import html
import io
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any

import docx
import jinja2
import mammoth
from docx.document import Document
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.shared import Mm
from docxtpl import DocxTemplate, InlineImage

from serving.reports.content import Content, environment
from serving.reports.declaration import ReportStopped

_CHART_WIDTH = Mm(150)
# The oldest moment a zip entry can carry.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
# The paragraph styles of our templates; an official's template may lack them, then its own body style is taken.
HEADING, NOTE, CELL, FIGURE = "Heading 1", "说明", "表格", "数字"
GRID = "Table Grid"

_STYLES = f"""
p[style-name='Title'] => h1:fresh
p[style-name='版次'] => p.edition:fresh
p[style-name='抬头'] => p.masthead:fresh
p[style-name='{HEADING}'] => h2:fresh
p[style-name='Heading 2'] => h3:fresh
p[style-name='{NOTE}'] => p.note:fresh
p[style-name='{CELL}'] => p.cell:fresh
p[style-name='{FIGURE}'] => p.figure:fresh
"""
_PAGE = """<!DOCTYPE html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body{{font-family:"FangSong","STFangsong","Noto Serif CJK SC","Songti SC","SimSun",serif;
max-width:52rem;margin:2rem auto;padding:0 1.25rem;color:#1a1a1a;
line-height:1.75;overflow-wrap:break-word}}
h1{{text-align:center;font-size:1.9rem;color:#b3261e;letter-spacing:.1em;margin:0;font-family:"SimSun","Songti SC","Noto Serif CJK SC",serif}}
p.masthead{{border-bottom:2px solid #b3261e;padding:.4rem 0;margin-bottom:1.2rem;text-indent:0;white-space:pre-wrap;tab-size:8}}
h2{{font-size:1.15rem;margin:1.6rem 0 .5rem;font-family:"SimHei","Heiti SC","Noto Sans CJK SC",sans-serif}}
h3{{font-size:1rem;margin:1rem 0 .3rem;font-family:"KaiTi","STKaiti",serif}}
p{{margin:.4rem 0;text-indent:2em}}
p.note{{text-indent:0;color:#5a5a5a;font-size:.88rem;word-break:break-all}}
p.edition{{text-indent:0;text-align:center;color:#5a5a5a;font-size:.88rem}}
p.cell,p.figure{{text-indent:0;margin:0}}
p.cell{{min-width:5em}}
p.figure{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}
div.wide{{overflow-x:auto}}
table{{border-collapse:collapse;width:100%;font-size:.92rem}}
th,td{{border:1px solid #b8b8b8;padding:.25rem .55rem;text-align:left;vertical-align:top}}
th{{background:#f6f0ef;white-space:nowrap}}
img{{display:block;max-width:100%;margin:.8rem auto}}
@media print{{body{{margin:0;max-width:none}}h2,tr,img{{break-inside:avoid}}h2{{break-after:avoid}}}}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def render_docx(content: Content) -> bytes:
    """The Word document; its properties carry the snapshot's clock instead of the time of rendering."""
    template = DocxTemplate(io.BytesIO(content.report.template))
    images = {name: InlineImage(template, io.BytesIO(picture), width=_CHART_WIDTH) for name, picture in content.pictures.items()}
    try:
        template.render({**content.context, "charts": images}, jinja_env=environment(autoescape=True), autoescape=True)
    except (jinja2.TemplateError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ReportStopped(
            f"{content.title}: the Word template cannot be filled in: {error}; `gridlake report template check` says where"
        ) from error
    document: Document = template.docx
    _append_changes(document, content)
    _append_source(document, content)
    properties = document.core_properties
    properties.title = content.title
    properties.author = properties.last_modified_by = "gridlake"
    properties.created = properties.modified = content.as_of.replace(tzinfo=None)
    properties.revision = 1
    written = io.BytesIO()
    template.save(written)
    return with_fixed_times(written.getvalue())


def render_html(content: Content, document: bytes) -> bytes:
    """The page of a rendered document with its pictures inside; nothing is loaded from elsewhere."""
    found = mammoth.convert_to_html(io.BytesIO(document), style_map=_STYLES)
    body = found.value.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    return _PAGE.format(title=html.escape(content.title), body=body).encode()


def texts(document: bytes) -> Iterable[str]:
    """Every text of a document: paragraphs, cells, head and foot."""
    opened = docx.Document(io.BytesIO(document))
    for part in (opened.element.body, *(s.footer._element for s in opened.sections), *(s.header._element for s in opened.sections)):
        yield from (str(node.text) for node in part.iter() if node.tag.endswith("}t") and node.text)


def with_fixed_times(archive: bytes) -> bytes:
    """The same zip file with one time for all its entries."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(zipfile.ZipInfo(entry.filename, _ZIP_EPOCH), source.read(entry), zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _append_changes(document: Document, content: Content) -> None:
    replaced = content.archive["replaces"]
    if replaced is None:
        return
    changes = replaced["changes"]
    _paragraph(document, "附：更正说明", HEADING)
    _paragraph(
        document,
        f"本版取代第{replaced['edition']}版（统计时点 {replaced['as_of_text']}，摘要 {replaced['digest'][:16]}）。第{replaced['edition']}版印发后"
        f"有数据补报或更正，下列 {len(changes)} 处与原版不同，其余各处未变。",
        NOTE,
    )
    rows = [(c["title"], c["row"], c["heading"], c["was"], c["now"]) for c in changes]
    _table(document, ("所在表", "行", "栏目", "原版", "本版"), rows, figures=(3, 4))


def _append_source(document: Document, content: Content) -> None:
    source = content.context["snapshot"]
    _paragraph(document, "附：数据来源", HEADING)
    for line in (
        f"{content.context['edition']}。数据快照 {source['id']}，统计时点 {source['as_of']}（{source['time_zone']}）。",
        f"数据合约：{source['contracts']}。",
        f"模型：{source['models']}。程序摘要 {source['code_digest']}。",
        f"本期查询结果摘要（SHA-256）：{source['digest']}",
    ):
        _paragraph(document, line, NOTE)


def _paragraph(document: Document, text: str, style: str) -> None:
    document.add_paragraph(text, style if style in document.styles else None)


def _table(document: Document, headings: Sequence[str], rows: Sequence[Sequence[Any]], figures: Sequence[int]) -> None:
    table = document.add_table(1, len(headings), GRID if GRID in document.styles else None)
    for cell, text in zip(table.rows[0].cells, headings, strict=True):
        _write(document, cell, text, CELL)
    repeated = OxmlElement("w:tblHeader")
    table.rows[0]._tr.get_or_add_trPr().append(repeated)
    for row in rows:
        for number, (cell, text) in enumerate(zip(table.add_row().cells, row, strict=True)):
            _write(document, cell, str(text), FIGURE if number in figures else CELL)


def _write(document: Document, cell: Any, text: str, style: str) -> None:
    paragraph = cell.paragraphs[0]
    paragraph.text = text
    if style in document.styles:
        paragraph.style = document.styles[style]
    elif style == FIGURE:
        paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
