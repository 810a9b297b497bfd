"""One issue of a report as files: docx from the Word template, html from the HTML template; equal content, equal bytes."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
from docx.document import Document
from docx.shared import Mm
from docxtpl import DocxTemplate, InlineImage

from serving.reports.declaration import Report
from serving.reports.figures import with_filters

_CHART_WIDTH = Mm(150)
# The oldest moment a zip entry can carry.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def render_docx(report: Report, context: Mapping[str, Any], charts: Mapping[str, bytes], as_of: datetime) -> bytes:
    """The Word document; its properties carry the snapshot's clock instead of the time of rendering."""
    template = DocxTemplate(str(report.docx_template))
    images = {name: InlineImage(template, io.BytesIO(picture), width=_CHART_WIDTH) for name, picture in charts.items()}
    environment = with_filters(jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True))
    template.render({**context, "charts": images}, jinja_env=environment, autoescape=True)
    document: Document = template.docx
    properties = document.core_properties
    properties.title = f"{context['title']} {context['region']['name']} {context['period']['week']}"
    properties.author = properties.last_modified_by = "gridlake"
    properties.created = properties.modified = as_of.replace(tzinfo=None)
    properties.revision = 1
    written = io.BytesIO()
    template.save(written)
    return _with_fixed_times(written.getvalue())


def render_html(report: Report, context: Mapping[str, Any], charts: Mapping[str, bytes]) -> bytes:
    """The page with its pictures inside; nothing is loaded from elsewhere."""
    environment = with_filters(
        jinja2.Environment(
            loader=jinja2.FileSystemLoader(report.folder), undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
    )
    images = {name: f"data:image/png;base64,{base64.b64encode(picture).decode()}" for name, picture in charts.items()}
    return environment.get_template(report.html_template.name).render({**context, "charts": images}).encode()


def _with_fixed_times(archive: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(zipfile.ZipInfo(entry.filename, _ZIP_EPOCH), source.read(entry), zipfile.ZIP_DEFLATED)
    return written.getvalue()
