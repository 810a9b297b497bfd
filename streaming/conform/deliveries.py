"""What a sender has put into its sandbox itself, judged: what joint debugging must have shown before a feed goes live.

A refused row is no failure when the same key was accepted afterwards: that is what receipts are for.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gridlake.contracts import Contract
from gridlake.contracts.compile import QUARANTINE_SCHEMA, SEALED, bronze_schema
from gridlake.contracts.refusals import refusal
from gridlake.runs import Run
from gridlake.senders import Sender
from gridlake.vocabularies import Vocabularies
from streaming import receipts
from streaming.decoder import DELETE, OP
from streaming.quarantine import REFUSED
from streaming.reasons import label

_NAMES_SHOWN = 12


@dataclass(frozen=True)
class Finding:
    """One thing looked for in the sender's own deliveries; advice does not stand in the way of a certificate."""

    id: str
    title: str
    title_en: str
    expected: str
    came: str
    passed: bool
    remedy: str = ""
    remedy_en: str = ""
    is_advice: bool = False


@dataclass(frozen=True)
class Own:
    """The sender's own deliveries as they landed."""

    deliveries: list[dict[str, Any]]
    findings: list[Finding]


@dataclass(frozen=True)
class Landed:
    """What landed of the sender's own: receipts (as dicts), bronze's rows, quarantine's rows."""

    told: list[dict[str, Any]]
    rows: pa.Table
    refused: pa.Table

    @classmethod
    def nothing(cls, contract: Contract) -> Landed:
        """For a sender that has sent nothing of its own."""
        return cls([], bronze_schema(contract).empty_table(), QUARANTINE_SCHEMA.empty_table())


def landed(run: Run, feed: str, ids: Sequence[str]) -> Landed:
    """The deliveries of these ids in the sandbox's lake."""
    ours = ds.field("_delivery_id").isin(pa.array(ids, pa.string()))
    return Landed(
        run.tables.read(receipts.TABLE, where=ours & (ds.field("feed") == feed)).to_pylist(),
        run.tables.read(f"bronze.{feed}", where=ours),
        still_refused(run, feed, ours),
    )


def still_refused(run: Run, feed: str, where: ds.Expression) -> pa.Table:
    """Rows of quarantine that are refused; those that wait, or were let go since, are not."""
    rows = run.tables.read(f"quarantine.{feed}", where=where).sort_by([("state_number", "descending")])
    first: dict[str, int] = {}
    for number, position in enumerate(rows.column("_source_position").to_pylist()):
        first.setdefault(position, number)
    newest = rows.take(pa.array(first.values(), pa.int64()))
    return newest.filter(pc.equal(newest.column("state"), REFUSED))


def judge(run: Run, contract: Contract, sender: Sender, vocabularies: Vocabularies, own: Landed, volume: int) -> Own:
    """Look at what landed of the sender's own; `volume` accepted rows are asked for."""
    look = _Look(run, contract, sender, vocabularies, own)
    return Own(look.deliveries(), list(look.findings(volume)))


class _Look:
    def __init__(self, run: Run, contract: Contract, sender: Sender, vocabularies: Vocabularies, own: Landed) -> None:
        self._run, self._contract, self._sender, self._vocabularies = run, contract, sender, vocabularies
        self._told, self._rows, self._refused = own.told, own.rows, own.refused

    def deliveries(self) -> list[dict[str, Any]]:
        """Each delivery with its counts."""
        found: dict[str, dict[str, Any]] = {}
        for receipt in self._told:
            entry = found.setdefault(
                receipt["_delivery_id"], {"delivery_id": receipt["_delivery_id"], "file_name": receipt["file_name"], "state": receipt["state"]}
            )
            for name in ("received", "accepted", "refused", "duplicate", "waiting"):
                entry[name] = entry.get(name, 0) + receipt[name]
        return sorted(found.values(), key=lambda entry: entry["file_name"])

    def findings(self, volume: int) -> Iterator[Finding]:
        """Everything that is looked for."""
        yield self._delivered()
        yield self._whole()
        yield self._corrected()
        if self._contract.version_order:
            yield self._new_versions()
        if any(row.get(OP) == DELETE for row in self._contract.accept):
            yield self._deleted()
        yield self._repeated()
        yield self._volume(volume)
        yield self._columns_filled()
        yield from self._codes_used()
        yield from self._regions_covered()

    def _count(self, name: str) -> int:
        return sum(receipt[name] for receipt in self._told)

    def _delivered(self) -> Finding:
        accepted = self._count("accepted") + self._count("waiting")
        return Finding(
            "own_delivered",
            "报送单位自己报来数据",
            "deliveries of the sender's own",
            "至少一件、一行 / at least one row",
            f"{len({r['_delivery_id'] for r in self._told})} 件 {accepted} 行 / deliveries and rows",
            accepted > 0,
            "用本单位系统生成测试报送件，放入沙箱",
            "let your own system write a test delivery into the sandbox",
        )

    def _whole(self) -> Finding:
        stopped = [r for r in self._told if r["state"] in {receipts.REFUSED_WHOLE, receipts.BELOW_MINIMUM}]
        rules = Counter(rule for r in stopped for rule in json.loads(r["reasons"]))
        first = next(iter(rules), "format")
        return Finding(
            "own_whole",
            "没有整件拒收",
            "no delivery refused whole",
            "0 件 / deliveries",
            f"{len(stopped)} 件 / deliveries {_counted(rules)}".strip(),
            not stopped,
            refusal(first, self._contract).remedy + "，并移走原件",
            refusal(first, self._contract).remedy_en + "; take the bad file away",
        )

    def _corrected(self) -> Finding:
        names = [c.name for c in self._contract.key]
        accepted = {tuple(str(v) for v in row.values()) for row in self._rows.select(self._in_rows(names)).to_pylist()}
        open_rows = [
            reasons
            for payload, reasons in zip(self._payloads(), self._refused.column("reasons").to_pylist(), strict=True)
            if not payload or tuple(str(payload.get(n)) for n in names) not in accepted
        ]
        rules = Counter(label(reason["rule"], reason["field"]) for reasons in open_rows for reason in reasons)
        codes = list(dict.fromkeys(name.partition("/")[0] for name, _ in rules.most_common(3)))
        return Finding(
            "own_corrected",
            "拒收的行已改正重报",
            "refused rows were corrected and sent again",
            "每个拒收的行，其主键后来被接收 / each refused key is accepted afterwards",
            f"拒收 {self._refused.num_rows} 行，未改正 {len(open_rows)} 行 / refused, still open {_counted(rules)}".strip(),
            not open_rows,
            "；".join(refusal(code, self._contract).remedy for code in codes),
            "; ".join(refusal(code, self._contract).remedy_en for code in codes),
        )

    def _new_versions(self) -> Finding:
        names = self._in_rows([c.name for c in self._contract.key])
        changed = 0
        if names and self._rows.num_rows:
            grouped = self._rows.group_by(names).aggregate([("_payload_digest", "count_distinct")])
            changed = int(pc.sum(pc.greater(grouped.column("_payload_digest_count_distinct"), 1).cast(pa.int64())).as_py() or 0)
        order = "、".join(c.name for c in self._contract.version_order)
        return Finding(
            "own_new_versions",
            "同一主键的更新",
            "updates of a key",
            "至少一个主键有两个版本 / a key in two versions",
            f"{changed} 个主键 / keys",
            changed > 0,
            f"修改一条已报的记录，{order} 递增后再报",
            f"change a record, count up {order}, send it again",
        )

    def _deleted(self) -> Finding:
        deletes = int(pc.sum(pc.equal(self._rows.column(OP), DELETE).cast(pa.int64())).as_py() or 0)
        return Finding(
            "own_deletes",
            "删除",
            "deletes",
            "至少一行 / at least one row",
            f"{deletes} 行 / rows",
            deletes > 0,
            f"报送一行 {OP} 为 {DELETE} 的删除",
            f"send a row whose {OP} is {DELETE}",
        )

    def _repeated(self) -> Finding:
        repeats = self._count("duplicate")
        return Finding(
            "own_repeats",
            "重报不产生重复数据",
            "sending again makes no second row",
            "至少一行判为重复 / at least one duplicate",
            f"{repeats} 行 / rows",
            repeats > 0,
            "将一件已报的数据换文件名原样重报，模拟网络中断后的重试",
            "send a delivery again under another name, as after a lost connection",
        )

    def _volume(self, volume: int) -> Finding:
        accepted = self._count("accepted") + self._count("waiting")
        return Finding(
            "own_volume",
            "批量",
            "volume",
            f"至少接收 {volume:,} 行 / accepted rows",
            f"{accepted:,} 行 / rows",
            accepted >= volume,
            "用测试数据按日常规模报送",
            "send test data of an everyday size",
        )

    def _columns_filled(self) -> Finding:
        never = [c.name for c in self._contract.columns if not self._is_filled(c.name)]
        total = len(self._contract.columns)
        return Finding(
            "own_columns",
            "各字段都有过值",
            "every column had a value",
            f"{total} 个字段 / columns",
            f"{total - len(never)} 个 / columns" + (f"；从未有值 / never: {_listed(never)}" if never else ""),
            not never,
            "有数据来源的选填字段应一并报送",
            "send optional columns too where you have them",
            is_advice=True,
        )

    def _codes_used(self) -> Iterator[Finding]:
        for column in self._contract.columns:
            if not column.code_list or column.name not in self._rows.column_names or column.code_list not in self._vocabularies:
                continue
            codes = self._vocabularies[column.code_list].codes
            used = set(pc.unique(self._rows.column(column.name)).to_pylist()) & codes
            unused = sorted(code for code in codes - used if code is not None)
            yield Finding(
                f"own_codes_{column.name}",
                f"代码覆盖：{column.title}",
                f"codes used: {column.name}",
                f"{len(codes)} 个代码 / codes",
                f"{len(used)} 个 / codes" + (f"；未出现 / unused: {_listed(unused)}" if unused else ""),
                not unused,
                "核对本单位代码与代码表的对照是否完整",
                "see that your own codes are all mapped",
                is_advice=True,
            )

    def _regions_covered(self) -> Iterator[Finding]:
        for column in self._contract.columns:
            if column.is_region and column.name in self._rows.column_names:
                regions = len(set(self._rows.column(column.name).drop_null().to_pylist()))
                yield Finding(
                    f"own_regions_{column.name}",
                    f"区划覆盖：{column.title}",
                    f"regions: {column.name}",
                    "不止一个区划 / more than one",
                    f"{regions} 个 / regions",
                    regions > 1,
                    "测试数据宜覆盖各县（市、区）",
                    "let test data cover your counties",
                    is_advice=True,
                )

    def _is_filled(self, name: str) -> bool:
        found = next((n for n in (name, name + SEALED) if n in self._rows.column_names), None)
        return found is not None and self._rows.num_rows > self._rows.column(found).null_count

    def _in_rows(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self._rows.column_names]

    def _payloads(self) -> Iterator[dict[str, Any]]:
        """The refused rows as sent, as far as they can be read; they stay in this process."""
        for sealed in self._refused.column("payload_sealed").to_pylist():
            yield _read(self._run.keys.open_bytes(sealed)) if sealed else {}


def _read(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload)
        return found if isinstance(found, dict) else {}
    except (ValueError, RecursionError):
        pass
    for encoding in ("utf-8", "gb18030"):
        try:
            rows = list(csv.reader(io.StringIO(payload.decode(encoding))))
        except (UnicodeDecodeError, csv.Error):
            continue
        return dict(zip(rows[0], rows[1], strict=False)) if len(rows) == 2 else {}
    return {}


def _counted(rules: Counter[str]) -> str:
    return "（" + "，".join(f"{name} × {count}" for name, count in rules.most_common(_NAMES_SHOWN)) + "）" if rules else ""


def _listed(names: Sequence[str]) -> str:
    shown = "、".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} 等 {len(names)} 个"
