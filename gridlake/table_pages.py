"""The dictionary's pages of tables: what each column means, how it came about, who uses it, and whether it holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gridlake.catalogue import Catalogue, Described, Table, contract_of
from gridlake.contracts import Contracts
from gridlake.contracts.compile import SEALED, TOKEN
from gridlake.lineage import Column, Origin
from gridlake.pages import Anchor, Block, Cell, Code, Grid, Link, Page, Section, Several, Tree

SCHEMAS = {
    "staging": "归集",
    "resolved": "归并",
    "theme": "主题库",
    "item": "事项库",
    "business": "业务库",
    "sharing": "共享池",
    "factor": "因子",
    "finding": "研判",
    "evaluation": "评价",
    "mart": "统计",
    "ops": "运行",
    "outbox": "外发",
}
_KINDS = {"IDENTITY": "", "TRANSFORMATION": "换算", "AGGREGATION": "汇总"}
_PARTS = {"JOIN": "连接", "FILTER": "筛选", "GROUP_BY": "分组"}
# Beyond this a way back to the contracts is told by its ends.
_DEEPEST = 8
# Users beyond these are counted: a page is for reading.
_SHOWN = 12


@dataclass(frozen=True)
class Seen:
    """What the last run showed of a table: its rows, an example by column, and what its checks found by column ('' for the table)."""

    rows: int | None = None
    examples: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, str] = field(default_factory=dict)


class Entry(NamedTuple):
    """What the search finds: a column or a table, in words, and the page that tells of it."""

    name: str
    label: str
    description: str
    page: str


def pages(catalogue: Catalogue, contracts: Contracts, seen: Mapping[str, Seen]) -> Iterator[Page]:
    """The page of each table."""
    writer = _Writer(catalogue, contracts)
    for table in catalogue.tables.values():
        yield writer.page(table, seen.get(table.name, Seen()))


def entries(catalogue: Catalogue, contracts: Contracts) -> Iterator[Entry]:
    """Every table and contract, and every column of them."""
    for table in catalogue.tables.values():
        yield Entry(table.name, table.title, table.grain, f"{table.name}.html")
        for column in table.columns.values():
            yield Entry(f"{table.name}.{column.name}", column.label, column.description, f"{table.name}.html#{column.name}")
    for contract in contracts.values():
        yield Entry(f"{contract.source}.{contract.feed}", contract.title, contract.purpose, f"{contract.id}.html")
        for said in contract.columns:
            yield Entry(f"{contract.source}.{contract.feed}.{said.name}", said.title, said.description, f"{contract.id}.html#{said.name}")


def search(found: Iterable[Entry]) -> str:
    """A box that looks through all entries while one types, as HTML with what it needs inside; each word must be found."""
    data = json.dumps([list(e) for e in found], ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return (
        '<p><input id="q" type="search" autofocus placeholder="表、字段或中文名，如 event_daily 超期" aria-label="查找表和字段"></p>'
        f'<table id="found" hidden><tbody></tbody></table><script>const entries={data};{_SCRIPT}</script>'
    )


_SCRIPT = """
const box=document.getElementById('q'),found=document.getElementById('found'),most=60;
function cell(row,text,href){const td=row.insertCell();if(!href){td.textContent=text;return}
const a=document.createElement('a');a.href=href;a.textContent=text;td.append(a)}
function show(){const words=box.value.trim().toLowerCase().split(/\\s+/).filter(Boolean);
const rows=words.length?entries.filter(e=>{const t=(e[0]+' '+e[1]+' '+e[2]).toLowerCase();return words.every(w=>t.includes(w))}):[];
const near=e=>words.some(w=>e[0].toLowerCase().endsWith(w))?0:1;rows.sort((a,b)=>near(a)-near(b));
const body=found.tBodies[0];body.replaceChildren();found.hidden=!words.length;
for(const e of rows.slice(0,most)){const r=body.insertRow();cell(r,e[0],e[3]);cell(r,e[1]);cell(r,e[2])}
if(words.length&&rows.length!==Math.min(rows.length,most)){cell(body.insertRow(),'共 '+rows.length+' 项，此处列出前 '+most+' 项')}
if(words.length&&!rows.length){cell(body.insertRow(),'没有找到')}}
box.oninput=show;const asked=new URLSearchParams(location.search).get('q');if(asked){box.value=asked}show();
"""


class _Writer:
    def __init__(self, catalogue: Catalogue, contracts: Contracts) -> None:
        self._catalogue, self._contracts = catalogue, contracts
        self._lineage = catalogue.lineage

    def page(self, table: Table, seen: Seen) -> Page:
        return Page(
            name=table.name,
            title=f"{table.title.partition('：')[0]} {table.name}",
            sections=[
                Section("概况", [Grid(("项目", "内容"), [(name, said) for name, said in self._facts(table, seen) if said != ""])]),
                Section(
                    "字段",
                    [
                        Grid(
                            ("字段", "中文名", "英文名", "含义", "分级", "示例", "取自", "源头", "用于", "检查"),
                            [self._row(table, c, seen) for c in table.columns.values()],
                        )
                    ],
                ),
                Section("来历", list(self._trees(table))),
            ],
        )

    def _facts(self, table: Table, seen: Seen) -> Iterator[tuple[str, Cell]]:
        made = self._lineage.get(table.name)
        schema = table.name.partition(".")[0]
        yield "用途", table.title
        yield "粒度", table.grain
        yield "层", f"{SCHEMAS.get(schema, '')} {schema}".strip()
        yield "负责", table.owner
        yield "行数", "" if seen.rows is None else f"{seen.rows:,}"
        yield "读自", self._tables(made.tables if made else ())
        yield "用于", self._tables(self._lineage.tables_below(table.name))
        yield "报告与接口", "、".join(self._catalogue.readers_of(table.name))
        conditions: dict[str, list[str]] = {}
        for condition in made.conditions if made else ():
            conditions.setdefault(_PARTS[condition.part], []).append(str(condition.column))
        yield "决定行的字段", "；".join(f"{part}：{'、'.join(names)}" for part, names in conditions.items())
        yield "整表检查", Several(table.checks) if table.checks else ""
        yield "检查结果", seen.checks.get("", "")
        yield "声明于", Code(f"dbt/{table.said_in}")

    def _row(self, table: Table, column: Described, seen: Seen) -> tuple[Cell, ...]:
        place = Column(table.name, column.name)
        origins = self._lineage.origins(place)
        sources = [s for s in self._lineage.sources(place) if s.column not in {o.column for o in origins}]
        users: list[Cell] = [self._link(u.column) for u in self._lineage.used_by(place)]
        users += list(self._catalogue.readers.get(place, ()))
        checked = "；".join(column.checks)
        return (
            Anchor(column.name), column.label, column.english, column.description, column.classification,
            seen.examples.get(column.name) or column.example,
            self._several([self._origin(o) for o in origins]) if origins else self._without_origin(table),
            self._several([self._origin(o) for o in sources]),
            self._several(users),
            f"{checked}：{seen.checks[column.name]}" if checked and column.name in seen.checks else checked,
        )  # fmt: skip

    def _without_origin(self, table: Table) -> str:
        made = self._lineage.get(table.name)
        return "行数或常量" if made and made.sql else ""

    def _trees(self, table: Table) -> Iterator[Block]:
        for name in table.columns:
            if self._lineage.origins(Column(table.name, name)):
                yield self._tree(Origin(Column(table.name, name), "IDENTITY"), 0)

    def _tree(self, origin: Origin, depth: int) -> Tree:
        above = self._lineage.origins(origin.column) if depth < _DEEPEST else ()
        return Tree(self._origin(origin), [self._tree(o, depth + 1) for o in above])

    def _origin(self, origin: Origin) -> Link | Code:
        link = self._link(origin.column)
        how = _KINDS[origin.kind]
        if not how:
            return link
        return Code(f"{link.text}（{how}）") if isinstance(link, Code) else Link(f"{link.text}（{how}）", link.markdown, link.html)

    def _link(self, column: Column) -> Link | Code:
        if column.table in self._catalogue.tables:
            return Link(str(column), f"{column.table}.md", f"{column.table}.html#{column.name}")
        contract = contract_of(self._contracts, column.table)
        if contract is None:
            return Code(str(column))
        name = column.name.removesuffix(SEALED).removesuffix(TOKEN)
        anchor = f"#{name}" if any(c.name == name for c in contract.columns) else ""
        return Link(str(column), f"{contract.id}.md", f"{contract.id}.html{anchor}")

    def _tables(self, names: Iterable[str]) -> Cell:
        return self._several([self._table(name) for name in names])

    def _table(self, name: str) -> Link | Code:
        if name in self._catalogue.tables:
            return Link(name, f"{name}.md", f"{name}.html")
        contract = contract_of(self._contracts, name)
        return Link(name, f"{contract.id}.md", f"{contract.id}.html") if contract else Code(name)

    def _several(self, parts: list[Cell]) -> Cell:
        shown: list[str | Code | Link] = [p for p in parts[:_SHOWN] if not isinstance(p, Several)]
        more = [f"等 {len(parts)} 项"] if len(parts) > _SHOWN else []
        return Several([*shown, *more]) if parts else ""
