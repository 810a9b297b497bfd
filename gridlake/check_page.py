"""The page of check results: one HTML file that needs nothing else, searchable, broken expectations first."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gridlake.tables import write_file

if TYPE_CHECKING:
    from gridlake.quality import Result

_SEVERITY = {"critical": "关键", "warning": "提醒"}
_STYLE = """
body{font-family:'Noto Sans CJK SC','Microsoft YaHei','PingFang SC',sans-serif;margin:2rem auto;max-width:84rem;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}
.sum{display:flex;gap:1rem;flex-wrap:wrap;margin:1rem 0}.sum div{border:1px solid #ddd;border-radius:.3rem;padding:.5rem 1rem}
.sum b{display:block;font-size:1.4rem}
.bad{color:#b3261e}.good{color:#1b7f3b}.warn{color:#9a6700}
input,label{font-size:1rem;margin-right:1rem}input[type=search]{padding:.4rem .6rem;width:24rem;max-width:100%}
table{border-collapse:collapse;width:100%;font-size:.88rem}th,td{border:1px solid #ddd;padding:.25rem .5rem;text-align:left;vertical-align:top}
th{background:#f4f4f4}tr.f td{background:#fdecea}tr.w td{background:#fff8e1}code{font-size:.85em;word-break:break-word}
"""
_SCRIPT = """
const box=document.getElementById('q'),only=document.getElementById('only');
function show(){const q=box.value.trim().toLowerCase();
document.querySelectorAll('section').forEach(s=>{let n=0;s.querySelectorAll('tbody tr').forEach(r=>{
const ok=(!only.checked||r.className)&&(!q||(s.dataset.t+' '+r.textContent).toLowerCase().includes(q));r.hidden=!ok;n+=ok});s.hidden=!n})}
box.oninput=only.onchange=show;
"""


def write(path: Path, run_id: str, checked_at: datetime, results: Sequence[Result], passed: int) -> None:
    """Write the page of one run; `passed` counts every test of dbt, of which the results have one line a step."""
    write_file(path, render(run_id, checked_at, results, passed).encode())


def render(run_id: str, checked_at: datetime, results: Sequence[Result], passed: int) -> str:
    """The page's HTML."""
    failed = [r for r in results if not r.success]
    critical = [r for r in failed if r.severity == "critical"]
    suites: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        suites[result.suite].append(result)
    # Suites with something critical broken come first, then those with a warning; within a suite the same.
    ordered = sorted(suites.values(), key=lambda rows: min(_rank(r) for r in rows))
    verdict = '<p class="bad">有关键校验未通过，本次运行不发布。</p>' if critical else '<p class="good">关键校验全部通过，可以发布。</p>'
    return f"""<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>数据质量校验</title><style>{_STYLE}</style></head><body><h1>数据质量校验</h1>
<p>运行 <code>{html.escape(run_id)}</code>，校验时间 {checked_at:%Y-%m-%d %H:%M:%S} UTC</p>{verdict}
<div class="sum"><div>通过<b class="good">{passed:,}</b></div><div>关键未通过<b class="bad">{len(critical):,}</b></div>
<div>提醒<b class="warn">{len(failed) - len(critical):,}</b></div><div>校验集<b>{len(suites):,}</b></div></div>
<p><input type="search" id="q" placeholder="按表、字段、校验或结果查找"><label><input type="checkbox" id="only"> 只看未通过</label></p>
{"".join(_section(rows) for rows in ordered)}
<script>{_SCRIPT}</script></body></html>
"""


def _section(rows: list[Result]) -> str:
    title = html.escape(rows[0].suite_title)
    body = "".join(_row(r) for r in sorted(rows, key=_rank))
    failed = sum(not r.success for r in rows)
    state = f'<span class="bad">{failed} 项未通过</span>' if failed else '<span class="good">全部通过</span>'
    head = "".join(f"<th>{h}</th>" for h in ("结果", "级别", "字段", "要求", "校验", "实测"))
    return (
        f'<section data-t="{title}"><h2>{title} <code>{html.escape(rows[0].suite)}</code> {state}</h2>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></section>"
    )


def _row(result: Result) -> str:
    mark = '<span class="good">通过</span>' if result.success else '<span class="bad">未通过</span>'
    kind = "" if result.success else ' class="f"' if result.severity == "critical" else ' class="w"'
    cells = (
        mark,
        _SEVERITY[result.severity],
        f"<code>{html.escape(result.column)}</code>" if result.column else "",
        html.escape(result.title),
        f"<code>{html.escape(result.expectation)}</code>",
        _observed(result),
    )
    return f"<tr{kind}>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"


def _observed(result: Result) -> str:
    if result.row_count is None or result.unexpected_count is None:
        return html.escape(result.observed)
    return f"{result.row_count:,} 行，{result.unexpected_count:,} 行不符"


def _rank(result: Result) -> int:
    return 2 if result.success else 0 if result.severity == "critical" else 1
