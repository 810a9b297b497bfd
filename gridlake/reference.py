"""What declarations say, as tables that SQL can join: code lists, regions, calendar, senders, feeds."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from gridlake import shares
from gridlake.contracts import Contracts
from gridlake.runs import Run
from gridlake.senders import Senders
from gridlake.vocabularies import REGION_COLUMNS, Vocabularies

_NAMED = ("code", "name_zh", "name_en")
CODE_LIST = pa.schema([(name, pa.string()) for name in ("list_name", "code", "name_zh", "name_en", "attributes")])
SENDER = pa.schema([(name, pa.string()) for name in ("sender_code", "name", "region_system", "region_code")])
FEED = pa.schema([(name, pa.string()) for name in ("feed", "source", "entity", "title", "contract_version", "time_zone", "region_system")])
REGION = pa.schema([(name, pa.int64() if name == "region_level" else pa.string()) for name in REGION_COLUMNS])
CALENDAR = pa.schema([("date", pa.date32()), ("day_type", pa.string()), ("name", pa.string())])


def write(run: Run) -> dict[str, int]:
    """Write the reference tables of the schema `staging` where they differ from the declarations; gives rows by table."""
    wanted = {
        "staging.code_list": code_list(run.vocabularies),
        "staging.region_vocabulary": run.vocabularies.regions.select(REGION.names).cast(REGION),
        "staging.work_calendar": run.vocabularies.work_calendar.select(CALENDAR.names).cast(CALENDAR),
        "staging.sender": senders(run.senders),
        "staging.feed": feeds(run.contracts),
        "staging.entitlement": shares.entitlements(shares.load_all(run.settings, run.contracts, set(run.vocabularies["share_purpose"].codes))),
    }
    for name, rows in wanted.items():
        if not run.tables.exists(name) or not _is_same(run.tables.read(name), rows):
            run.tables.overwrite(name, rows)
            run.engine.register_table(name)
    return {name: rows.num_rows for name, rows in wanted.items()}


def code_list(vocabularies: Vocabularies) -> pa.Table:
    """One row per list and code (and version of it); columns beyond the names are JSON text in `attributes`."""
    rows = [
        {"list_name": vocabulary.name, **{name: row.get(name) for name in _NAMED}, "attributes": _attributes(row)}
        for vocabulary in vocabularies.code_lists
        for row in vocabulary.rows.to_pylist()
    ]
    return pa.Table.from_pylist(rows, CODE_LIST)


def senders(declared: Senders) -> pa.Table:
    """One row per sender and region that it answers for; `*` is every region."""
    rows = [
        {"sender_code": sender.code, "name": sender.name, "region_system": sender.region_system, "region_code": region}
        for sender in declared.values()
        for region in sender.regions
    ]
    return pa.Table.from_pylist(rows, SENDER)


def feeds(contracts: Contracts) -> pa.Table:
    """One row per contract."""
    rows = [
        {
            "feed": c.id,
            "source": c.source,
            "entity": c.entity,
            "title": c.title,
            "contract_version": c.version,
            "time_zone": c.time_zone,
            "region_system": c.region_system,
        }
        for c in contracts.values()
    ]
    return pa.Table.from_pylist(rows, FEED)


def _attributes(row: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in row.items() if k not in _NAMED and v is not None}, ensure_ascii=False, sort_keys=True)


def _is_same(present: pa.Table, wanted: pa.Table) -> bool:
    return bool(present.schema.equals(wanted.schema) and present.combine_chunks().equals(wanted.combine_chunks()))
