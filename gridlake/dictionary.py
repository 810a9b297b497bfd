"""The dictionary: one page per contract and one per table, as Markdown for the repository and as HTML for the lake.

The repository's pages are derived from declarations alone and hold no data. Example values of class L4 columns are never
shown: an example in somebody's contract may have been a real row.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gridlake import catalogue as catalogues
from gridlake import table_pages
from gridlake.catalogue import Catalogue
from gridlake.contracts import Column, Contract, Contracts
from gridlake.contracts import load_all as load_contracts
from gridlake.contracts.compile import bronze_fields
from gridlake.pages import Anchor, Cell, Code, Grid, Link, Page, Section, html_page, html_sections, markdown_page, plain, write_all
from gridlake.privacy import CLASSES
from gridlake.settings import Settings
from gridlake.table_pages import SCHEMAS, Seen
from gridlake.vocabularies import Vocabularies
from gridlake.vocabularies import load_all as load_vocabularies

_COLUMN_HEADINGS = ("字段", "中文名", "类型", "必填", "主键", "分级", "限制", "代码表", "落地为")
SEALED_VALUE = "密封"
# A list longer than this is linked and counted, not printed: a page is for reading.
CODES_SHOWN = 60
_TYPES = {"string": "文本", "integer": "整数", "number": "数值", "boolean": "是否", "date": "日期", "timestamp": "时间"}
_AMBIGUOUS = {"earlier": "取较早的一次", "later": "取较晚的一次", "refuse": "拒收"}
_SEVERITIES = {"error": "拒收", "warning": "计数提醒"}
_UNITS = {"d": "日", "h": "小时", "w": "周", "m": "个月", "y": "年"}


def page(contract: Contract, vocabularies: Vocabularies) -> Page:
    """The page of one contract."""
    return Page(
        name=contract.id,
        title=f"{contract.title} {contract.source}.{contract.feed}",
        sections=[
            Section("概况", [Grid(("项目", "内容"), _facts(contract))]),
            Section(
                "字段",
                [Grid(("字段", "中文名", "类型", "必填", "主键", "分级", "限制", "代码表", "落地为"), [_column_row(c) for c in contract.columns])],
            ),
            Section(
                "数据分级", [Grid(("分级", "含义"), [(level, CLASSES[level]) for level in sorted({c.classification for c in contract.columns})])]
            ),
            *_code_lists(contract, vocabularies),
            Section("校验规则", list(_rules(contract))),
            Section("数量", [_volume(contract)]),
            Section("接收示例", [_example(contract, row) for row in contract.accept] or ["合约没有给出示例。"]),
            Section("拒收示例", list(_refusals(contract)) or ["合约没有给出示例。"]),
            Section("归集映射", list(_mapping(contract))),
            Section("变更记录", list(_releases(contract))),
        ],
    )


def write_pages(
    contracts: Contracts, vocabularies: Vocabularies, folder: Path, catalogue: Catalogue, seen: Mapping[str, Seen] | None = None
) -> list[Path]:
    """One HTML page per contract and table, and `index.html` with a search; pages of what is gone are removed. Gives the paths.

    `seen` is by table what the last run showed of it.
    """
    pages = [*(page(c, vocabularies) for c in contracts.values()), *table_pages.pages(catalogue, contracts, seen or {})]
    wanted = {f"{p.name}.html": html_page(p.title, html_sections(p.sections)) for p in pages}
    found = table_pages.search(table_pages.entries(catalogue, contracts))
    wanted["index.html"] = html_page("数据字典", found + html_sections(_index(contracts, catalogue)))
    return write_all(folder, wanted, "*.html")


def write_markdown(contracts: Contracts, vocabularies: Vocabularies, folder: Path, catalogue: Catalogue) -> list[Path]:
    """One Markdown page per contract and table, and `README.md`; pages of what is gone are removed. Gives the paths."""
    return write_all(folder, markdown_pages(contracts, vocabularies, catalogue), "*.md")


def markdown_pages(contracts: Contracts, vocabularies: Vocabularies, catalogue: Catalogue) -> dict[str, str]:
    """File name → content of every Markdown page."""
    pages = [*(page(c, vocabularies) for c in contracts.values()), *table_pages.pages(catalogue, contracts, {})]
    wanted = {f"{p.name}.md": markdown_page(p) for p in pages}
    wanted["README.md"] = markdown_page(Page("README", "数据字典", _index(contracts, catalogue)))
    return wanted


def document(contract: Contract) -> dict[str, Any]:
    """The contract as plain values for machines: what a page says, without its layout."""
    return {
        "id": contract.id,
        "source": contract.source,
        "feed": contract.feed,
        "title": contract.title,
        "entity": contract.entity,
        "version": contract.version,
        "status": contract.status,
        "owner": contract.owner,
        "purpose": contract.purpose,
        "usage": contract.usage,
        "limitations": contract.limitations,
        "time_zone": contract.time_zone,
        "coordinate_system": contract.coordinate_system,
        "region_system": contract.region_system,
        "key": [c.name for c in contract.key],
        "version_order": [c.name for c in contract.version_order],
        "repeat_window_seconds": int(contract.repeat_window.total_seconds()),
        "volume": {"min": contract.volume.min, "max": contract.volume.max, "origin": contract.volume.origin},
        "columns": [
            {
                "name": c.name,
                "title": c.title,
                "description": c.description,
                "type": c.logical_type,
                "required": c.required,
                "key_position": c.key_position,
                "classification": c.classification,
                "limits": limits(c),
                "code_list": c.code_list,
                "lands_as": [f.name for f in bronze_fields(c)],
            }
            for c in contract.columns
        ],
        "rules": [
            {"name": r.name, "description": r.description, "predicate": r.predicate, "dimension": r.dimension, "severity": r.severity}
            for r in contract.rules
        ],
        "accept": [example(contract, row) for row in contract.accept],
        "reject": [{"rule": r.rule, "field": r.field, "row": example(contract, r.row)} for r in contract.reject],
        "changes": [{"version": r.version, "date": r.date.isoformat(), "what": r.what, "sender": r.sender} for r in contract.releases],
        "mapping": {name: _map_entry(entry) for name, entry in contract.mapping.items()},
    }


def limits(column: Column) -> list[str]:
    """The limits of one column in words, as a reader of the contract says them."""
    said = []
    if column.min_length is not None:
        said.append(f"至少 {column.min_length} 字")
    if column.max_length is not None:
        said.append(f"至多 {column.max_length} 字")
    if column.minimum is not None:
        said.append(f"不小于 {column.minimum:g}")
    if column.maximum is not None:
        said.append(f"不大于 {column.maximum:g}")
    if column.pattern:
        said.append(f"形如 {column.pattern}")
    if column.format:
        said.append(f"格式 {column.format}")
    if column.values:
        said.append("取值 " + "、".join(str(v) for v in column.values))
    if column.is_region:
        said.append("须为本系统的区划代码，且在报送单位辖区内")
    if column.redact:
        said.append("落地时隐去证件号、电话和本行姓名")
    if column.local_id_of:
        said.append(f"报送单位内的 {column.local_id_of} 编号" + ("，其未到时本行待关联" if column.is_gate else ""))
    if column.position:
        said.append("落地后统一换算为 CGCS2000，原值另存")
    if column.version_order:
        said.append(f"第 {column.version_order} 版本次序")
    return said


def example(contract: Contract, row: Mapping[str, Any]) -> dict[str, Any]:
    """An example row as it may be shown: values of class L4 are replaced."""
    sealed = {c.name for c in contract.sealed_columns}
    return {name: SEALED_VALUE if name in sealed and value is not None else value for name, value in row.items()}


def _facts(contract: Contract) -> list[tuple[str, str | Code]]:
    key = "、".join(c.name for c in contract.key)
    order = "、".join(c.name for c in contract.version_order)
    facts: list[tuple[str, str | Code]] = [
        ("用途", contract.purpose),
        ("用于", contract.usage),
        ("局限", contract.limitations),
        ("负责", contract.owner),
        ("领域", contract.domain),
        ("来源", Code(contract.source)),
        ("收件目录", Code(f"{contract.source}/{contract.feed}/<报送单位>/")),
        ("版本", f"{contract.version}（{contract.status}）"),
        ("时区", f"{contract.time_zone}；时钟回拨时的重复时刻：{_AMBIGUOUS[contract.ambiguous_time]}"),
        ("坐标系", contract.coordinate_system),
        ("区划体系", Code(contract.region_system)),
        ("主键", Code(key)),
        ("版本次序", Code(order) if order else "按到达次序"),
        ("重复窗口", _duration(contract.repeat_window.total_seconds())),
        ("保存期限", "；".join(f"{_KEPT[schema]} {_duration(period.total_seconds())}" for schema, period in contract.retention.items())),
        ("约定", "；".join(_sla(s) for s in contract.sla)),
        ("忽略的来源字段", "、".join(contract.ignored_columns)),
    ]
    return [(label, text) for label, text in facts if plain(text)]


_KEPT = {"bronze": "原始数据", "quarantine": "拒收数据"}


def _column_row(column: Column) -> Sequence[Cell]:
    title = column.title + (f"（{column.description}）" if column.description else "")
    linked: str | Link = ""
    if column.code_list:
        linked = Link(column.code_list, f"#代码表-{column.code_list}", f"#代码表-{column.code_list}")
    landed = "、".join(f.name for f in bronze_fields(column))
    return (
        Anchor(column.name), title, _TYPES[column.logical_type], "是" if column.required else "", str(column.key_position or ""),
        column.classification, "；".join(limits(column)), linked, Code(landed),
    )  # fmt: skip


def _code_lists(contract: Contract, vocabularies: Vocabularies) -> Iterable[Section]:
    for name in dict.fromkeys(c.code_list for c in contract.columns if c.code_list):
        heading = f"代码表 {name}"
        if name not in vocabularies:
            yield Section(heading, [f"没有名为 {name} 的代码表：expectations/vocabularies/ 与 --contracts 的 vocabularies/ 里都没找到。"])
            continue
        rows = vocabularies[name].rows
        columns = [c for c in ("code", "name_zh", "name_en") if c in rows.column_names]
        shown = rows.select(columns).slice(0, CODES_SHOWN).to_pylist()
        blocks: list[str | Grid | Code] = [
            Grid(
                tuple({"code": "代码", "name_zh": "名称", "name_en": "英文名"}[c] for c in columns),
                [tuple(Code(r[c]) if c == "code" else (r[c] or "") for c in columns) for r in shown],
            )
        ]
        if rows.num_rows > CODES_SHOWN:
            blocks.append(f"共 {rows.num_rows} 项，此处列出前 {CODES_SHOWN} 项，其余见 {vocabularies[name].path.name}。")
        yield Section(heading, blocks)


def _rules(contract: Contract) -> Iterable[str | Grid | Code]:
    required = "、".join(c.name for c in contract.columns if c.required)
    yield f"每行先按字段检查：类型、必填（{required or '无'}）、长度、范围、格式和代码；不合格的行连同原因拒收，原件密封保存。"
    if contract.rules:
        rows = [(Code(r.name), r.description or r.name, Code(r.predicate), _SEVERITIES[r.severity]) for r in contract.rules]
        yield Grid(("规则", "说明", "判定", "不满足时"), rows)


def _volume(contract: Contract) -> str:
    volume = contract.volume
    said = []
    if volume.min is not None:
        said.append(f"一次报送至少 {volume.min:,} 行，不足则停止入库")
    if volume.max is not None:
        said.append(f"至多 {volume.max:,} 行，超出只提醒")
    if not said:
        return "未约定数量。"
    return "；".join(said) + "。" + (f"依据：{volume.origin}。" if volume.origin else "")


def _example(contract: Contract, row: Mapping[str, Any]) -> Code:
    return Code(json.dumps(example(contract, row), ensure_ascii=False, default=str))


def _refusals(contract: Contract) -> Iterable[str | Grid | Code]:
    words = {rule.name: rule.description for rule in contract.rules}
    for rejected in contract.reject:
        place = f"，字段 {rejected.field}" if rejected.field else ""
        said = f"（{words[rejected.rule]}）" if words.get(rejected.rule) else ""
        yield f"规则 {rejected.rule}{said}{place}："
        yield _example(contract, rejected.row)


def _mapping(contract: Contract) -> Iterable[str | Grid | Code]:
    if contract.defines:
        yield f"本接口定义实体 {contract.defines}：字段即标准字段，直接进入 staging.stg_{contract.defines}。"
    elif contract.conforms_to:
        yield f"归入实体 {contract.conforms_to}，进入 staging.stg_{contract.conforms_to}。"
        if contract.mapping:
            yield Grid(("标准字段", "取自"), [(Code(name), Code(_map_entry(entry))) for name, entry in contract.mapping.items()])
    else:
        yield "不归入任何实体：只在 bronze 与 staging 保留本接口自己的表。"
    if contract.sql:
        yield f"其余映射见 {contract.sql_path.name}："
        yield Code(contract.sql.strip())


def _releases(contract: Contract) -> Iterable[str | Grid | Code]:
    if not contract.releases:
        yield f"现行版本 {contract.version}，尚无变更。"
        return
    rows = [(r.version, r.date.isoformat(), r.what, r.sender or "无须处理") for r in contract.releases]
    yield Grid(("版本", "日期", "变更内容", "报送单位须做"), rows)


def _map_entry(entry: Mapping[str, Any]) -> str:
    if "sql" in entry:
        return str(entry["sql"])
    if "constant" in entry:
        return f"常量 {entry['constant']}"
    said = str(entry.get("column", ""))
    if "codes" in entry:
        said += "：" + "，".join(f"{source}→{code}" for source, code in entry["codes"].items())
    if "default" in entry:
        said += f"；其余→{entry['default']}"
    return said


def _sla(property_: Mapping[str, Any]) -> str:
    names = {"frequency": "频率", "latency": "时延", "retention": "保存"}
    name = names.get(str(property_.get("property")), str(property_.get("property")))
    unit = str(property_.get("unit", ""))
    return f"{name} {property_.get('value')} {_UNITS.get(unit, unit)}".strip()


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "日"), (3600, "小时"), (60, "分钟")):
        if seconds % size == 0:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:g} 秒"


def _index(contracts: Contracts, catalogue: Catalogue) -> list[Section]:
    feeds = [
        (Link(f"{c.source}.{c.feed}", f"{c.id}.md", f"{c.id}.html"), c.title, Code(c.entity) if c.entity else "", c.version, c.purpose)
        for c in contracts.values()
    ]
    sections = [Section("接口", [Grid(("接口", "名称", "实体", "版本", "用途"), feeds)])]
    schemas = dict.fromkeys(name.partition(".")[0] for name in catalogue.tables)
    for schema in schemas:
        tables = [t for t in catalogue.tables.values() if t.name.startswith(f"{schema}.")]
        rows = [(Link(t.name, f"{t.name}.md", f"{t.name}.html"), t.title, str(len(t.columns))) for t in tables]
        sections.append(Section(f"{SCHEMAS.get(schema, '')} {schema}".strip(), [Grid(("表", "一行是什么", "字段数"), rows)]))
    return sections


def main() -> None:
    """Write the Markdown pages of what is built in into `docs/dictionary/` of the checkout."""
    settings = Settings(contracts=None)
    folder = settings.project / "docs" / "dictionary"
    with tempfile.TemporaryDirectory(prefix="gridlake-dictionary-") as scratch:
        known = catalogues.of_project(settings, Path(scratch) / "lake")
    written = write_markdown(load_contracts(settings), load_vocabularies(settings), folder, known)
    sys.stderr.write(f"{folder}: {len(written)} 页\n")
    for gap in known.gaps:
        sys.stderr.write(f"{gap}\n")
    sys.exit(1 if known.gaps else 0)


if __name__ == "__main__":
    main()
