"""What a page of the dictionary is made of, and how it is written: as Markdown for the repository, as HTML for the lake."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from gridlake.tables import write_file

_GENERATED = "由合约、dbt 与因子的声明生成，请勿手改；更新：`make dictionary`。"


@dataclass(frozen=True)
class Grid:
    """A table of a page; cells are plain text, marked as code where they name something in code."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Code:
    """Text in code type: a name, a pattern, a predicate."""

    text: str


@dataclass(frozen=True)
class Link:
    """Text that leads to another page; the target differs between Markdown and HTML."""

    text: str
    markdown: str
    html: str


@dataclass(frozen=True)
class Anchor(Code):
    """A name that HTML pages link to: the page's own address, `#` and the name."""


@dataclass(frozen=True)
class Several:
    """Parts of one cell, each on a line of its own in HTML."""

    parts: Sequence[str | Code | Link]


@dataclass(frozen=True)
class Tree:
    """What something is made of, level by level; folded away in HTML, left out in Markdown, which would be long."""

    root: str | Code | Link
    below: Sequence[Tree] = ()


Cell: TypeAlias = str | Code | Link | Several
Block: TypeAlias = str | Grid | Code | Tree


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables and blocks of code below it."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """What a reader learns about one feed."""

    name: str
    title: str
    sections: Sequence[Section]


def plain(value: Cell) -> str:
    """The text of a cell."""
    if isinstance(value, Several):
        return "".join(map(plain, value.parts))
    return value if isinstance(value, str) else value.text


def markdown_page(content: Page) -> str:
    """The page as Markdown."""
    parts = [f"# {content.title}", _GENERATED]
    for section in content.sections:
        blocks = [block for block in section.blocks if not isinstance(block, Tree)]
        if blocks or not section.blocks:
            parts.append(f"## {section.heading}")
        parts.extend(_markdown_block(block) for block in blocks)
    return "\n\n".join(parts) + "\n"


def _markdown_block(block: Block) -> str:
    if isinstance(block, str):
        return _markdown_text(block)
    if isinstance(block, Code):
        return f"```\n{block.text}\n```"
    if isinstance(block, Tree):
        return ""
    rows = ["| " + " | ".join(_markdown_cell(c) for c in row) + " |" for row in block.rows]
    return "\n".join(["| " + " | ".join(block.headings) + " |", "|" + "---|" * len(block.headings), *rows])


def _markdown_cell(value: Cell) -> str:
    if isinstance(value, Several):
        return "、".join(map(_markdown_cell, value.parts))
    if isinstance(value, Link):
        return f"[{value.text}]({value.markdown})"
    if isinstance(value, Code):
        return "`" + value.text.replace("|", "\\|").replace("\n", " ") + "`" if value.text else ""
    return _markdown_text(value)


def _markdown_text(text: str) -> str:
    for sign in ("\\", "|", "<", "*", "_", "["):
        text = text.replace(sign, "\\" + sign)
    return text.replace("\n", " ")


def html_sections(sections: Sequence[Section]) -> str:
    """The sections as HTML, each with its heading for an address."""
    return "".join(
        f'<h2 id="{html.escape(s.heading.replace(" ", "-"))}">{html.escape(s.heading)}</h2>' + "".join(_html_block(b) for b in s.blocks)
        for s in sections
    )


def _html_block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{html.escape(block)}</p>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(block.text)}</pre>"
    if isinstance(block, Tree):
        return _html_tree(block)
    head = "".join(f"<th>{html.escape(h)}</th>" for h in block.headings)
    body = "".join("<tr>" + "".join(f"<td>{_html_cell(c)}</td>" for c in row) + "</tr>" for row in block.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_tree(tree: Tree) -> str:
    if not tree.below:
        return f"<div>{_html_cell(tree.root)}</div>"
    return f"<details><summary>{_html_cell(tree.root)}</summary>{''.join(map(_html_tree, tree.below))}</details>"


def _html_cell(value: Cell) -> str:
    if isinstance(value, Several):
        return "<br>".join(map(_html_cell, value.parts))
    if isinstance(value, Anchor):
        return f'<code id="{html.escape(value.text)}">{html.escape(value.text)}</code>'
    if isinstance(value, Link):
        return f'<a href="{html.escape(value.html)}">{html.escape(value.text)}</a>'
    if isinstance(value, Code):
        return f"<code>{html.escape(value.text)}</code>" if value.text else ""
    return html.escape(value)


_STYLE = (
    "body{font-family:'Noto Sans CJK SC','Microsoft YaHei','PingFang SC',sans-serif;margin:2rem auto;max-width:112rem;padding:0 1rem;color:#222}"
    "h1{font-size:1.5rem}h2{font-size:1.1rem;border-bottom:1px solid #ccc;padding-bottom:.2rem}"
    "table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{border:1px solid #ddd;padding:.3rem .5rem;text-align:left;vertical-align:top}"
    "code[id]{white-space:nowrap;word-break:normal}td a{overflow-wrap:anywhere}td:nth-child(n+7){font-size:.85rem}"
    "details{margin-left:1.2rem}details>div{margin-left:2.4rem}summary{cursor:pointer}:target{background:#fff3bf}"
    "#found{margin:.6rem 0}#q{font-size:1rem;padding:.4rem .6rem;width:32rem;max-width:100%}"
    "th{background:#f4f4f4;white-space:nowrap}code,pre{font-size:.85rem;word-break:break-word;white-space:pre-wrap}pre{background:#f7f7f7;padding:.6rem}"
)


def html_page(title: str, body: str) -> str:
    """A whole page of HTML around a body."""
    return (
        f'<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{body}"
        '<p><a href="index.html">全部接口和表</a></p></body></html>\n'
    )


def write_all(folder: Path, wanted: Mapping[str, str], pattern: str) -> list[Path]:
    """Make the folder hold these files and no other of the pattern; an equal one is left alone. Gives the paths in order of names."""
    for stale in set(folder.glob(pattern)) - {folder / name for name in wanted}:
        stale.unlink()
    for name, content in wanted.items():
        path, encoded = folder / name, content.encode()
        if not path.exists() or path.read_bytes() != encoded:
            write_file(path, encoded)
    return [folder / name for name in sorted(wanted)]
