"""`gridlake explain`: one record's way through the lake, as a tree or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.tree import Tree

from gridlake.cli import command_options, emit
from gridlake.settings import Settings
from serving.trace import NotFound, Trace
from serving.trace_rows import RowTrace

# Said on the line of the step itself, or of no use to a person.
_QUIET = {"_payload_digest", "_delivery_id", "_contract_version", "_sender_code", "_op", "_received_at", "_source_position"}


@click.command()
@click.argument("entity")
@click.argument("key")
@click.option("--sender", help="The sender, where several have used the same local id.")
@command_options
def explain(settings: Settings, as_json: bool, entity: str, key: str, sender: str | None) -> None:
    """Follow one record: ENTITY (event, grid, …, or a feed such as city_platform__event) and its local or canonical KEY.

    From receipt and every landed version through staging and library to findings and the counts it is part of.
    Or follow rows of a library or mart back: a table (mart.event_daily) and COLUMN=VALUE,…, a region with all below it.
    Values of class L4 are never shown.
    """
    if "=" in key:
        asked = dict(part.partition("=")[::2] for part in key.split(","))
        rows = RowTrace(settings)
        table = rows.table_of(entity)
        if table is None:
            raise NotFound(f"{entity}: expected a table of a library or mart for {key}, such as mart.event_daily; the dictionary lists them")
        found = rows.follow(table, asked)
        emit(found, as_json=as_json, text=lambda console: console.print(_made_of(found), highlight=False))
        return
    document = Trace(settings).follow(entity, key, sender)
    emit(document, as_json=as_json, text=lambda console: _print(console, document))


def _print(console: Console, document: Mapping[str, Any]) -> None:
    for record in document["records"]:
        console.print(_tree(document["entity"], record), highlight=False)
    console.print(f"快照 snapshot {document['snapshot'] or '尚未发布 none published'}", highlight=False)


def _made_of(found: Mapping[str, Any]) -> Tree:
    said = "  ".join(f"{name}={value}" for name, value in found["asked"].items())
    tree = Tree(f"[bold]{_safe(found['table'])}[/]" + _safe(f"  {said}  ({found['row_count']} 行)"))
    if found["sums"]:
        tree.add("合计 " + _fields(found["sums"]))
    for row in found["rows"][:5]:
        tree.add(_fields({n: v for n, v in row.items() if n not in _QUIET and v is not None}))
    for above, rows in found["made_of"].items():
        leaf = tree.add(_safe(f"由 {above} 的 {rows['row_count']} 行得出"))
        leaf.add(_safe(f"{rows['key']}：" + "、".join(str(k) for k in rows["first"]) + (" …" if rows["row_count"] > len(rows["first"]) else "")))
    return tree


def _tree(entity: str, record: Mapping[str, Any]) -> Tree:
    sender = f"{record['sender_code']} {record['sender_name'] or ''}".strip()
    tree = Tree(f"[bold]{_safe(entity)} {_safe(record['canonical_id'])}[/]" + _safe(f"  {record['feed']}，{sender}，本单位编号 {record['local_id']}"))
    receipts = tree.add(f"回执 receipt ({len(record['receipts'])})")
    for receipt in record["receipts"]:
        counts = " ".join(f"{state} {receipt[state]}" for state in ("received", "accepted", "refused", "duplicate", "waiting"))
        rows = "、".join(str(n) for n in receipt["rows_of_this_record"])
        receipts.add(_safe(f"{receipt['received_at']}  {receipt['file_name']} 第 {rows} 行  [{receipt['state']}] {counts}"))
    landed = tree.add(f"落地 bronze.{_safe(record['feed'])} ({len(record['bronze'])} 版)")
    before: Mapping[str, Any] = {}
    for version in record["bronze"]:
        branch = landed.add(
            _safe(f"{version['_op']}  {version['_received_at']}  {version['_source_position']}  contract {version['_contract_version']}")
        )
        changed = {n: v for n, v in version.items() if n not in _QUIET and v is not None and (not before or before.get(n) != v)}
        branch.add(_fields(changed))
        before = version
    for title, tables in (("归集 staging", record["staging"]), ("库 library", record["library"])):
        branch = tree.add(f"{title} ({len(tables)} 表)")
        for table, rows in tables.items():
            leaf = branch.add(f"{_safe(table)} ({len(rows)} 行)")
            for row in rows[:5]:
                leaf.add(_fields({n: v for n, v in row.items() if n not in _QUIET and v is not None}))
    for match in record["crosswalk"]:
        end = (f"，至 {match['valid_to']}" if match.get("valid_to") else "") + (f"，并入 {match['merged_into']}" if match.get("merged_into") else "")
        tree.add(_safe(f"编号对照 crosswalk  {match['sender_code']} {match['local_id']} → {match['canonical_id']}，自 {match['valid_from']}{end}"))
    if record["person_links"]:
        links = tree.add(f"同一人 person_link ({len(record['person_links'])})")
        for link in record["person_links"]:
            other = "right" if link["left_id"] == record["canonical_id"] else "left"
            links.add(
                _safe(
                    f"{link['state_code']}  {link[f'{other}_entity']} {link[f'{other}_id']}  得分 {link['score']}（阈值 {link['threshold']}）"
                    f"  一致 {link['agreed'] or '无'}  不一致 {link['differed'] or '无'}  {link['link_id']}"
                )
            )
    if record["factors"]:
        factors = tree.add(f"因子 factor ({len(record['factors'])})")
        for factor in record["factors"]:
            factors.add(
                _safe(
                    f"{factor['factor']} = {factor['value']}"
                    + (f"，依据 {factor['evidence_type']} {factor['evidence_id']}" if factor["evidence_id"] else "")
                )
            )
    findings = tree.add(f"研判 finding ({len(record['findings'])})")
    for finding in record["findings"]:
        leaf = findings.add(
            _safe(f"{finding['model']} {finding['model_version']}  得分 {finding['score']}（阈值 {finding['threshold']}）  {finding['finding_id']}")
        )
        for reason in finding["reasons"]:
            leaf.add(_safe(f"{reason['contribution']:+.3f}  {reason['reason_zh']}（{reason['factor']}）"))
    marts = tree.add(f"统计 mart ({len(record['marts'])} 表)")
    for table, rows in record["marts"].items():
        if table == "mart.region_overview":
            marts.add(_safe(f"{table}  计入 " + " › ".join(r["region_name"] for r in rows)))
        else:
            leaf = marts.add(_safe(table))
            for row in rows:
                leaf.add(_fields(row))
    return tree


def _fields(row: Mapping[str, Any]) -> str:
    return _safe("  ".join(f"{name}={value}" for name, value in row.items()))


def _safe(text: str) -> str:
    # Square brackets of data are no markup.
    return text.replace("[", r"\[")
