"""What a sender may take home from a snapshot: findings in its regions, the receipts of its deliveries, the codes assigned to what it sent.

A pull since an earlier snapshot gives what is not in that one, and which findings are no longer there, so that pulls one after another leave
nothing out, however late a row came. No value of class L4 is in any of the tables read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gridlake.senders import Sender
from gridlake.tables import Tables
from serving.snapshots import Snapshot

Row = dict[str, Any]
Since = Snapshot | date | None

_RECEIPT = (
    "_delivery_id", "feed", "file_name", "batch", "first_row", "last_row", "received", "accepted", "refused", "duplicate", "waiting", "reasons",
    "contract_version", "received_at", "state", "message",
)  # fmt: skip
# By entity: the table of codes, its column of canonical ids, and of codes.
_CODES = {"grid": ("resolved.grid_code", "grid_id", "grid_code"), "micro_grid": ("resolved.micro_grid_code", "micro_grid_id", "micro_grid_code")}
# A day on which nothing had been received or found yet.
_EVER = date(1970, 1, 1)


def lines(home: Path, snapshot: Snapshot, sender: Sender, since: Since) -> Iterator[Row]:
    """Lines of kind `snapshot` first and `end` last, which says how many of each kind went before; between them findings, receipts and codes."""
    known = since.id if isinstance(since, Snapshot) else since.isoformat() if since else None
    yield {"kind": "snapshot", "snapshot": snapshot.id, "as_of": snapshot.manifest.as_of.isoformat(), "sender": sender.code, "since": known}
    counts = {"finding": 0, "withdrawn": 0, "receipt": 0, "code": 0}
    tables = Tables(home / "tables")
    for found in (_findings(snapshot, sender, since), _receipts(tables, snapshot, sender, since), _codes(tables, snapshot, sender, since)):
        for line in found:
            counts[line["kind"]] += 1
            yield line
    yield {"kind": "end", **counts, "next": snapshot.id}


def _findings(snapshot: Snapshot, sender: Sender, since: Since) -> Iterator[Row]:
    known = _known(since, sender) if isinstance(since, Snapshot) else {}
    first = since if isinstance(since, date) else _EVER
    gone = set(known)
    for row in snapshot.rows(
        f"""
        with own as (select * from mart.finding as f where f.business_date >= $first and {_scope(sender)}),
        reason as (
            select finding_id, list({{'factor': factor, 'contribution': contribution, 'reason_zh': reason_zh}} order by contribution desc, factor) as reasons
            from mart.finding_reason where finding_id in (select finding_id from own) group by finding_id
        )
        select own.* exclude (sender_code), own.sender_code, reason.reasons
        from own left join reason using (finding_id) order by own.business_date, own.finding_id
        """,  # noqa: E501
        _bound(sender, first=first),
    ):
        gone.discard(row["finding_id"])
        if known.get(row["finding_id"]) != (row["model_version"], row["score"]):
            yield {"kind": "finding", **row, "local_id": _local(sender, row["subject_id"]), "reasons": row["reasons"] or []}
    yield from ({"kind": "withdrawn", "finding_id": finding} for finding in sorted(gone))


def _known(snapshot: Snapshot, sender: Sender) -> dict[str, tuple[str, float]]:
    rows = snapshot.rows(f"select finding_id, model_version, score from mart.finding as f where {_scope(sender)}", _bound(sender))
    return {row["finding_id"]: (row["model_version"], row["score"]) for row in rows}


def _scope(sender: Sender) -> str:
    """The condition that a finding lies in the sender's regions; a sender of all regions is one of a whole region system."""
    within = "select c.region_code from mart.region_closure as c where c.region_system = $system and c.ancestor_code in (select unnest($regions))"
    return "f.region_system = $system" + ("" if sender.accepts_all_regions else f" and f.region_code in ({within})")


def _bound(sender: Sender, **others: Any) -> dict[str, Any]:
    return {"system": sender.region_system, **({} if sender.accepts_all_regions else {"regions": list(sender.regions)}), **others}


def _receipts(tables: Tables, snapshot: Snapshot, sender: Sender, since: Since) -> Iterator[Row]:
    own = _sent(tables, snapshot, sender, "ops.receipt", [*_RECEIPT, "sender_code"])
    if isinstance(since, Snapshot):
        own = _new(own, _sent(tables, since, sender, "ops.receipt", [*_RECEIPT, "sender_code"]), ["_delivery_id", "batch", "state", "received_at"])
    elif since and own.num_rows:
        own = own.filter(pc.greater_equal(own["received_at"], pa.scalar(_midnight(since), own.schema.field("received_at").type)))
    for row in own.sort_by([("received_at", "ascending"), ("_delivery_id", "ascending"), ("batch", "ascending")]).to_pylist():
        yield {"kind": "receipt", "delivery_id": row.pop("_delivery_id"), **{name: row[name] for name in _RECEIPT if name in row}}


def _codes(tables: Tables, snapshot: Snapshot, sender: Sender, since: Since) -> Iterator[Row]:
    own = _assigned(tables, snapshot, sender)
    if isinstance(since, Snapshot):
        before = {(row["entity"], row["local_id"], row["code"]) for row in _assigned(tables, since, sender)}
        own = [row for row in own if (row["entity"], row["local_id"], row["code"]) not in before]
    elif since:
        own = [row for row in own if row["assigned_at"] >= _midnight(since)]
    yield from ({"kind": "code", **row} for row in own)


def _assigned(tables: Tables, snapshot: Snapshot, sender: Sender) -> list[Row]:
    """The codes of the sender's grids and micro-grids, as of the tables that the snapshot was made of."""
    ids = _sent(tables, snapshot, sender, "resolved.crosswalk", ["sender_code", "entity", "local_id", "canonical_id", "valid_from"])
    found: list[Row] = []
    for entity, (name, id_column, code_column) in _CODES.items():
        if not ids.num_rows or name not in snapshot.manifest.tables:
            continue
        codes = tables.read(name, version=snapshot.manifest.tables[name]["version"], columns=[id_column, code_column])
        mine = ids.filter(pc.equal(ids["entity"], entity)).join(codes, "canonical_id", id_column, join_type="inner")
        for row in mine.sort_by("local_id").to_pylist():
            found.append({"entity": entity, "local_id": row["local_id"], "code": row[code_column], "assigned_at": row["valid_from"]})
    return found


def _sent(tables: Tables, snapshot: Snapshot, sender: Sender, name: str, columns: list[str]) -> pa.Table:
    """The sender's rows of a table at the snapshot's version; none where the snapshot was made without it."""
    if name not in snapshot.manifest.tables:
        return pa.table({column: pa.nulls(0) for column in columns})
    version = snapshot.manifest.tables[name]["version"]
    return tables.read(name, version=version, columns=columns, where=pc.field("sender_code") == sender.code)


def _new(rows: pa.Table, before: pa.Table, keys: list[str]) -> pa.Table:
    return rows.join(before.select(keys), keys, join_type="left anti") if before.num_rows else rows


def _local(sender: Sender, subject_id: str) -> str | None:
    """The sender's own id of a subject; None where another sender sent it."""
    return subject_id.removeprefix(f"{sender.code}-") if subject_id.startswith(f"{sender.code}-") else None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
