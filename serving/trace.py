"""One record's way through the lake: receipt, bronze versions, staging, crosswalk, library, factors, findings, marts.

Reads Delta tables and the current snapshot; starts no engine. A value of class L4 is never shown, only that it is there;
free text is shown by its length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gridlake import contracts as contract_files
from gridlake import senders as sender_files
from gridlake.contracts import Contract, Contracts
from gridlake.contracts.compile import SEALED, TOKEN, payload_type
from gridlake.dictionary import SEALED_VALUE
from gridlake.privacy import Keys
from gridlake.runs import RunError
from gridlake.settings import Settings
from gridlake.tables import Tables
from serving import regions
from serving.snapshots import NoSnapshot, Snapshot, Snapshots

# A digest and a letter for each row of a receipt: for `gridlake receipt export`, of no use to a person.
_ROWS_OF_RECEIPT = {"row_digests", "row_outcomes"}
LIBRARY = ("theme", "item", "business", "sharing")
Row = dict[str, Any]


class NotFound(RunError):
    """No such entity, or no record of that key; the message says what was searched."""


@dataclass(frozen=True)
class Candidate:
    """A way to read the key that was given: as a sender's own id."""

    local_id: str
    sender_code: str | None


class Trace:
    """Follows records of one lake."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._contracts: Contracts = contract_files.load_all(settings)
        self._senders = sender_files.load_all(settings)
        self._tables = Tables(settings.tables)
        self._names = frozenset(self._tables.names())
        self._texts = {c.name for contract in self._contracts.values() for c in contract.columns if c.redact}
        try:
            self._snapshot: Snapshot | None = Snapshots(settings.home).open()
        except NoSnapshot:
            self._snapshot = None

    def follow(self, entity: str, key: str, sender: str | None = None) -> dict[str, Any]:
        """Every record of that key as one JSON-ready document; raises NotFound.

        `entity` is an entity or a feed id; `key` is a sender's local id or a canonical one; `sender` narrows a local id.
        """
        feeds = self._feeds(entity)
        searched: list[str] = []
        records = []
        for contract in feeds:
            for candidate in self._candidates(key, sender):
                table = f"bronze.{contract.id}"
                of_sender = f" of {candidate.sender_code}" if candidate.sender_code else ""
                searched.append(f"{table}.{contract.key[0].name} = {candidate.local_id}{of_sender}")
                versions = self._versions(contract, candidate)
                for code in sorted({v["_sender_code"] for v in versions}):
                    records.append(self._record(contract, candidate.local_id, code, [v for v in versions if v["_sender_code"] == code]))
        if not records:
            raise NotFound(
                f"{entity} {key}: expected a sender's own id or a canonical one, found no accepted row; searched {'; '.join(searched)}. "
                "Check the spelling and --home; a refused row keeps its bytes sealed and cannot be searched by key: its delivery's receipt says why"
            )
        return {"entity": entity, "key": key, "snapshot": self._snapshot.id if self._snapshot else None, "records": records}

    def _feeds(self, entity: str) -> list[Contract]:
        feeds = [self._contracts[entity]] if entity in set(self._contracts) else self._contracts.conforming(entity)
        if not feeds:
            known = ", ".join([*self._contracts.entities, *self._contracts])
            raise NotFound(f"{entity}: expected an entity or a feed, one of {known}; `gridlake feed list` describes them")
        return feeds

    def _candidates(self, key: str, sender: str | None) -> list[Candidate]:
        if sender is not None and sender not in self._senders:
            raise NotFound(f"--sender {sender}: expected one of {', '.join(self._senders)}")
        prefixed = [Candidate(key.removeprefix(f"{code}-"), code) for code in self._senders if key.startswith(f"{code}-")]
        return [c for c in (Candidate(key, sender), *prefixed) if sender is None or c.sender_code == sender]

    def _versions(self, contract: Contract, candidate: Candidate) -> list[Row]:
        name, column = f"bronze.{contract.id}", contract.key[0]
        if name not in self._names:
            return []
        if column.is_sealed:
            token = Keys.load(self._settings.keys).token(pa.array([candidate.local_id])).to_pylist()[0]
            where = ds.field(column.name + TOKEN) == token
        else:
            try:
                where = ds.field(column.name) == pc.cast(pa.scalar(candidate.local_id), payload_type(column))
            except pa.ArrowInvalid:
                return []
        if candidate.sender_code:
            where = where & (ds.field("_sender_code") == candidate.sender_code)
        order = [*(c.name for c in contract.version_order), "_source_position"]
        found: list[Row] = self._tables.read(name, where=where).sort_by([(c, "ascending") for c in order]).to_pylist()
        return found

    def _record(self, contract: Contract, local_id: str, sender: str, versions: list[Row]) -> dict[str, Any]:
        entity = contract.entity or contract.id
        own_key = "local_id" if "local_id" in self._staged_names(contract) else self._key(contract)
        staged = self._rows(f"staging.stg_{contract.id}", {own_key: local_id, "_sender_code": sender})
        canonical = str(staged[0][self._key(contract)]) if staged else self._canonical(contract, local_id, sender)
        library = self._library(contract, canonical)
        findings = self._findings(entity, canonical)
        return {
            "feed": contract.id,
            "sender_code": sender,
            "sender_name": self._senders[sender].name if sender in self._senders else None,
            "local_id": local_id,
            "canonical_id": canonical,
            "receipts": self._receipts(contract, versions),
            "bronze": [self.shown(v) for v in versions],
            "staging": {f"staging.stg_{contract.id}": [self.shown(r) for r in staged]} if staged else {},
            "crosswalk": self._rows("resolved.crosswalk", {"entity": entity, "sender_code": sender, "local_id": local_id}),
            "person_links": [
                link for side in ("left", "right") for link in self._rows("resolved.person_link", {f"{side}_entity": entity, f"{side}_id": canonical})
            ],
            "library": {name: [self.shown(r) for r in rows] for name, rows in library.items()},
            "factors": [self.shown(r) for r in self._rows(f"factor.{entity}", {"subject_id": canonical})],
            "findings": findings,
            "marts": self._marts(entity, canonical, library, findings),
        }

    def _key(self, contract: Contract) -> str:
        shape = self._contracts.defining(contract.entity) if contract.entity else contract
        return shape.key[0].name

    def _canonical(self, contract: Contract, local_id: str, sender: str) -> str:
        shape = self._contracts.defining(contract.entity) if contract.entity else contract
        return f"{sender}-{local_id}" if shape.key[0].local_id_of else local_id

    def _staged_names(self, contract: Contract) -> list[str]:
        name = f"staging.stg_{contract.id}"
        return list(self._tables.schema(name).names) if name in self._names else []

    def _rows(self, table: str, equal: Mapping[str, str]) -> list[Row]:
        if table not in self._names:
            return []
        schema = self._tables.schema(table)
        if any(name not in schema.names for name in equal):
            return []
        where = None
        for name, value in equal.items():
            condition = ds.field(name) == pc.cast(pa.scalar(value), schema.field(name).type)
            where = condition if where is None else where & condition
        found: list[Row] = self._tables.read(table, where=where).to_pylist()
        return found

    def _library(self, contract: Contract, canonical: str) -> dict[str, list[Row]]:
        key = self._key(contract)
        tables = [name for name in sorted(self._names) if name.partition(".")[0] in LIBRARY]
        return {name: rows for name in tables if (rows := self._rows(name, {key: canonical}))}

    def _receipts(self, contract: Contract, versions: list[Row]) -> list[Row]:
        if "ops.receipt" not in self._names:
            return []
        landed = {(v["_delivery_id"], int(str(v["_source_position"]).rpartition("#")[2])) for v in versions}
        where = (ds.field("feed") == contract.id) & ds.field("_delivery_id").isin([delivery for delivery, _ in landed])
        rows = self._tables.read("ops.receipt", where=where).sort_by([("received_at", "ascending"), ("batch", "ascending")]).to_pylist()
        named = [(r, [row for delivery, row in landed if delivery == r["_delivery_id"] and _covers(r, row)]) for r in rows]
        told = [({k: v for k, v in r.items() if k not in _ROWS_OF_RECEIPT}, numbers) for r, numbers in named if numbers]
        return [{**self.shown(receipt), "rows_of_this_record": sorted(numbers)} for receipt, numbers in told]

    def _findings(self, entity: str, canonical: str) -> list[dict[str, Any]]:
        found = []
        for finding in self._rows("finding.finding", {"subject_type": entity, "subject_id": canonical}):
            same = {"finding_id": str(finding["finding_id"])}
            reasons = sorted(self._rows("finding.reason", same), key=lambda r: (-r["contribution"], r["factor"]))
            found.append({**self.shown(finding), "reasons": reasons, "evidence": self._rows("finding.evidence", same)})
        return found

    def _marts(self, entity: str, canonical: str, library: Mapping[str, list[Row]], findings: list[dict[str, Any]]) -> dict[str, Any]:
        snapshot = self._snapshot
        if snapshot is None:
            return {}
        marts: dict[str, Any] = {}
        place = next((row for rows in library.values() for row in rows if row.get("region_code") and row.get("region_system")), None)
        code = canonical if entity == "region" else str(place["region_code"]) if place else None
        if code:
            marts["mart.region_overview"] = _counted_in(snapshot, code, str(place["region_system"]) if place else None)
        for event in library.get("business.event", []) if entity == "event" else []:
            marts["mart.event_daily"] = snapshot.rows(
                """
                select * from mart.event_daily
                where business_date = $business_date and region_system = $region_system and sender_code = $sender_code
                  and class_code = $class_code and level_code = $level_code and region_code = coalesce((
                      select region_code from mart.region_closure
                      where region_system = $region_system and region_code = $grid_id and ancestor_code = $region_code), $region_code)
                """,
                {n: event[n] for n in ("business_date", "region_system", "region_code", "grid_id", "sender_code", "class_code", "level_code")},
            )
        ids = [f["finding_id"] for f in findings]
        if ids:
            marts["mart.finding"] = snapshot.rows(
                "select finding_id, model, score from mart.finding where finding_id in (select unnest($ids))", {"ids": ids}
            )
        return {name: rows for name, rows in marts.items() if rows}

    def shown(self, row: Mapping[str, Any]) -> Row:
        """A row as it may be shown: of what is sealed that it is there, of texts how long they are."""
        shown: Row = {}
        for name, value in row.items():
            if name.endswith(TOKEN) and name.removesuffix(TOKEN) + SEALED in row:
                continue
            if name.endswith(SEALED):
                plain = name.removesuffix(SEALED)
                # A redacted text's own column says what is left of it; the sealed original beside it says nothing more.
                if plain not in row:
                    shown[plain] = SEALED_VALUE if value is not None else None
            elif name in self._texts and isinstance(value, str):
                shown[name] = f"（文本，{len(value)} 字）"
            else:
                shown[name] = _plain(value)
        return shown


def _covers(receipt: Row, row: int) -> bool:
    if receipt.get("state") == "replayed":  # it names the rows that moved
        return any(row in numbers for numbers in json.loads(receipt["row_outcomes"]).values())
    first, last = receipt["first_row"], receipt["last_row"]
    return first is None or last is None or first <= row <= last


def _counted_in(snapshot: Snapshot, code: str, system: str | None) -> list[Row]:
    try:
        region = regions.find(snapshot, code, system)
    except regions.UnknownRegion:
        return []
    return regions.path(snapshot, region)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime | date) else value
