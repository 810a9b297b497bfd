"""Documents as PDF, by LibreOffice from the docx; Chinese type comes from the package's font, whatever fonts the machine has.

LibreOffice writes the time and an id of its own into a PDF, so two of one document are equal in pages and text, not in bytes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pypdfium2

from serving.reports.chart import font_path, refuse_missing_glyphs
from serving.reports.declaration import ReportStopped
from serving.reports.document import texts

_COMMANDS = ("soffice", "libreoffice")
# A hundred documents take about a minute and a half.
_TIMEOUT_S = 600
_FAMILIES = (
    "仿宋", "FangSong", "仿宋_GB2312", "宋体", "SimSun", "黑体", "SimHei", "楷体", "KaiTi", "方正小标宋简体", "Calibri", "Times New Roman", "Arial",
)  # fmt: skip
_FAMILY = "Noto Sans CJK TC"


def is_available() -> bool:
    """Whether LibreOffice is installed."""
    return _command() is not None


def convert(documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """The PDF of each docx by its name; raises ReportStopped where LibreOffice is missing or a character has no glyph."""
    command = _command()
    if command is None:
        raise ReportStopped("pdf: expected LibreOffice, found no soffice; install Debian's libreoffice-writer-nogui, or leave pdf out")
    for document in documents.values():
        refuse_missing_glyphs(texts(document))
    with tempfile.TemporaryDirectory(prefix="gridlake-pdf-") as made:
        folder = Path(made)
        (folder / "fonts.conf").write_text(_fonts(folder), encoding="utf-8")
        paths = {f"{number}": name for number, name in enumerate(documents)}
        for stem, name in paths.items():
            (folder / f"{stem}.docx").write_bytes(documents[name])
        done = subprocess.run(
            [
                command, "--headless", "--norestore", f"-env:UserInstallation={(folder / 'profile').as_uri()}",
                "--convert-to", "pdf:writer_pdf_Export", "--outdir", str(folder), *(str(folder / f"{stem}.docx") for stem in paths),
            ],
            env=os.environ | {"FONTCONFIG_FILE": str(folder / "fonts.conf"), "HOME": str(folder)},
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        missing = [name for stem, name in paths.items() if not (folder / f"{stem}.pdf").exists()]
        if missing:
            raise ReportStopped(f"pdf: expected {len(paths)} files of LibreOffice, {', '.join(missing)} missing: {done.stderr.strip()[-300:]}")
        return {name: (folder / f"{stem}.pdf").read_bytes() for stem, name in paths.items()}


def pages(content: bytes) -> list[str]:
    """The text of each page."""
    document = pypdfium2.PdfDocument(content)
    try:
        return [page.get_textpage().get_text_bounded() for page in document]
    finally:
        document.close()


def pictures(content: bytes, folder: Path, stem: str, scale: float = 1.5) -> list[Path]:
    """Each page as PNG under `folder`; gives the paths."""
    document = pypdfium2.PdfDocument(content)
    try:
        found = [folder / f"{stem}-{number}.png" for number in range(1, len(document) + 1)]
        for page, path in zip(document, found, strict=True):
            page.render(scale=scale).to_pil().save(path)
    finally:
        document.close()
    return found


def _command() -> str | None:
    return next((found for name in _COMMANDS if (found := shutil.which(name))), None)


def _fonts(folder: Path) -> str:
    aliases = "".join(
        f'<match target="pattern"><test qual="any" name="family"><string>{family}</string></test>'
        f'<edit name="family" mode="assign" binding="strong"><string>{_FAMILY}</string></edit></match>'
        for family in _FAMILIES
    )
    return (
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{font_path().parent}</dir><cachedir>{folder / 'fonts'}</cachedir>{aliases}</fontconfig>"
    )
