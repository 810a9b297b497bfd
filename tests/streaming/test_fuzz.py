"""Whatever is sent: no crash, no silent coercion, every row in a receipt. 500 payloads a contract in CI, 20,000 in `make test-deep`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from gridlake import contracts, senders, vocabularies
from gridlake.contracts import Column, Contract
from gridlake.contracts.compile import SEALED
from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.settings import Settings
from streaming import landing
from streaming.checks import Checks
from streaming.decoder import OP, Decoded, Decoder
from streaming.rows import LARGEST_ROW_BYTES, Cells, RefusedWhole, Unreadable
from streaming.text_files import read_csv
from tests.streaming.mutations import payloads

IS_FULL = os.environ.get("GRIDLAKE_TEST_SIZE") == "full"
PAYLOADS = 20_000 if IS_FULL else 500
LANDED = 20_000 if IS_FULL else 60
SEED = int(os.environ.get("GRIDLAKE_FUZZ_SEED", "5"))
NOW = datetime(2026, 11, 1, tzinfo=UTC)
DECLARED = Settings(contracts=None)
CONTRACTS = contracts.load_all(DECLARED)
SENDERS = senders.load_all(DECLARED)
WORDS = vocabularies.load_all(DECLARED)
REGIONS = RegionTree(WORDS.regions)


class NotStrict(ValueError):
    """A line that is no object, or one that names something twice."""


class Unread(str):
    """A number that cannot be read: NaN, an infinity, thousands of digits."""


def strictly(line: bytes) -> dict[str, Any]:
    """The object that a line says and nothing else, read without a look at the decoder; raises ValueError where there is none."""
    outermost: list[list[tuple[str, Any]]] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        outermost.append(found)
        return dict(found)

    def unread(text: str) -> Any:
        # A value that no column may hold; in a column that the contract ignores nobody looks at it.
        return Unread(text)

    found = json.loads(
        line.decode("utf-8"),
        object_pairs_hook=pairs,
        parse_float=Decimal,
        parse_int=lambda t: int(t) if len(t) < 4000 else unread(t),
        parse_constant=unread,
    )
    if not isinstance(found, dict) or len({name for name, _ in outermost[-1]}) != len(outermost[-1]):
        raise NotStrict("no object, or a name twice")
    return found


def sender_for(contract: Contract) -> senders.Sender:
    return next(s for s in SENDERS.values() if s.may_send(contract.source, contract.feed, contract.version))


def is_said(contract: Contract, column: Column, came: Any, kept: Any) -> bool:
    """Whether what was kept of a column is what came, in the column's type."""
    if came is None or kept is None:
        return came is None and kept is None
    kind = column.logical_type
    if kind == "string":
        return type(came) is str and came == kept
    if kind == "integer":
        return type(came) is int and came == kept
    if kind == "boolean":
        return type(came) is bool and came is kept
    if kind == "number":
        return type(came) in {int, Decimal} and float(came) == kept and (type(came) is Decimal or int(kept) == came)
    local = kept.astimezone(ZoneInfo(contract.time_zone)) if kind == "timestamp" else kept
    return type(came) is str and came == written(local, column.format or "")


def written(at: Any, pattern: str) -> str:
    """A date or time as the contract's pattern writes it."""
    text = pattern.replace("yyyy", f"{at.year:04d}").replace("MM", f"{at.month:02d}").replace("dd", f"{at.day:02d}")
    if isinstance(at, datetime):
        text = text.replace("HH", f"{at.hour:02d}").replace("mm", f"{at.minute:02d}").replace("SSS", f"{at.microsecond / 1000:03.0f}")
        text = text.replace("ss", f"{at.second:02d}")
    return text


def keeps_to(contract: Contract, row: dict[str, Any], *, is_delete: bool) -> list[str]:
    """What an accepted row breaks of its contract's columns, looked at without the checks."""
    broken = []
    for column in contract.columns:
        value = row.get(column.name)
        asked = column.key_position or (column.required and (not is_delete or column.version_order))
        if asked and (value is None or value == ""):
            broken.append(f"required {column.name}")
        if value is None:
            continue
        if column.pattern and not re.fullmatch(column.pattern, value):
            broken.append(f"pattern {column.name}")
        if column.max_length is not None and len(value) > column.max_length:
            broken.append(f"length {column.name}")
        if column.minimum is not None and value < column.minimum:
            broken.append(f"minimum {column.name}")
        if column.maximum is not None and value > column.maximum:
            broken.append(f"maximum {column.name}")
        if column.values and value not in column.values:
            broken.append(f"values {column.name}")
        if column.code_list and value not in WORDS[column.code_list].codes:
            broken.append(f"code_list {column.name}")
        if column.is_region and not REGIONS.knows(contract.region_system, value):
            broken.append(f"region {column.name}")
    return broken


@cache
def judges(feed: str) -> tuple[Decoder, Checks]:
    return Decoder(CONTRACTS[feed]), Checks(CONTRACTS[feed], WORDS, REGIONS)


def judged(contract: Contract, decoded: Decoded) -> np.ndarray:
    reasons, _ = judges(contract.id)[1].check(decoded, [sender_for(contract)], np.zeros(len(decoded), np.int64), NOW)
    refused = decoded.unread | reasons.mask(len(decoded))
    assert all(0 <= row < len(decoded) for reason in reasons for row in reason.rows.tolist())
    assert all(reasons.lists(np.flatnonzero(refused)).to_pylist()), "no refusal without a reason"
    return ~refused


def taken(columns: dict[str, pa.Array], rows: np.ndarray) -> list[dict[str, Any]]:
    """Some rows as Python values."""
    return pa.table({name: array.take(pa.array(rows)) for name, array in columns.items()}).to_pylist()


@pytest.mark.parametrize("feed", list(CONTRACTS))
def test_a_mutated_line_is_kept_as_it_says_or_refused(feed: str) -> None:
    contract = CONTRACTS[feed]
    lines = payloads(contract, PAYLOADS, SEED)
    decoder, _ = judges(feed)
    decoded = decoder.lines(lines)
    assert len(decoded) == len(lines) == PAYLOADS
    accepted = np.flatnonzero(judged(contract, decoded))
    known = {c.name for c in contract.columns} | {OP, *contract.ignored_columns}
    ops = decoded.op.take(pa.array(accepted)).to_pylist()
    for number, kept, op in zip(accepted.tolist(), taken(decoded.columns, accepted), ops, strict=True):
        came = strictly(lines[number])
        assert set(came) <= known, lines[number][:300]
        assert op == (came.get(OP) or "upsert")
        changed = [c.name for c in contract.columns if not is_said(contract, c, came.get(c.name), kept[c.name])]
        assert changed == [], (changed, lines[number][:300])
        assert keeps_to(contract, kept, is_delete=op == "delete") == [], lines[number][:300]
    # Neither everything nor nothing: the mutations reach both sides.
    assert PAYLOADS * 0.02 < len(accepted) < PAYLOADS * 0.9


@pytest.mark.parametrize("feed", list(CONTRACTS))
def test_a_mutated_line_is_judged_alike_alone_and_among_others(feed: str) -> None:
    contract = CONTRACTS[feed]
    lines = payloads(contract, 60, SEED + 1)
    decoder, _ = judges(feed)
    together = judged(contract, decoder.lines(lines))
    alone = [bool(judged(contract, decoder.lines([line]))[0]) for line in lines[:20]]
    assert together[:20].tolist() == alone


@pytest.mark.parametrize("feed", list(CONTRACTS))
def test_mutated_csv_is_kept_as_it_says_or_refused(feed: str) -> None:
    """CSV files of mutated rows, and mutated files: what is accepted reads back as the text of its cells."""
    contract = CONTRACTS[feed]
    random, (decoder, _) = Random(f"{feed}/{SEED}"), judges(feed)
    names = [c.name for c in contract.columns]
    seen = 0
    for _ in range(40 if IS_FULL else 6):
        written = io.StringIO()
        writer = csv.writer(written, lineterminator=random.choice(["\n", "\r\n"]))
        writer.writerow(names)
        for line in payloads(contract, 25, random.randrange(1 << 30)):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                cells = [row.get(n) for n in names]
                writer.writerow(["" if v is None else str(v).lower() if isinstance(v, bool) else str(v)[:5000] for v in cells])
        content = written.getvalue().encode(random.choice(["utf-8", "gb18030"]), "replace")
        for _ in range(random.choice((0, 0, 1, 2, 4))):
            place = random.randrange(len(content))
            content = (
                content[:place] + random.choice([b"", b"\xff", b"\x00", b'"', b",", b"\r", b"\n", b"\xe4"]) + content[place + random.randrange(3) :]
            )
        try:
            blocks = list(read_csv(lambda content=content: io.BytesIO(content), lambda _: "kept", frozenset(names)))
        except RefusedWhole:
            continue
        for block in blocks:
            decoded = decoder.decode([block])
            assert len(decoded) == len(block)
            accepted = np.flatnonzero(judged(contract, decoded))
            if isinstance(block, Unreadable):
                assert not len(accepted)
                continue
            assert isinstance(block, Cells)
            for number, kept in zip(accepted.tolist(), taken(decoded.columns, accepted), strict=True):
                cells = dict(zip(block.header, block.rows[number], strict=True))
                for column in contract.columns:
                    text = cells.get(column.name) or None
                    assert _text_says(contract, column, text, kept[column.name]), (column.name, text, kept[column.name])
                seen += 1
    assert seen


def _text_says(contract: Contract, column: Column, text: str | None, kept: Any) -> bool:
    if text is None or kept is None or column.logical_type in {"string", "date", "timestamp"}:
        return is_said(contract, column, text, kept)
    if column.logical_type == "boolean":
        return text.lower() == str(kept).lower()
    return is_said(contract, column, int(text) if column.logical_type == "integer" else Decimal(text), kept)


def newest_states(run: Run, feed: str) -> pa.Table:
    """Rows that quarantine holds now, in the newest state of each; those that were let go are in bronze."""
    rows = run.tables.read(f"quarantine.{feed}").sort_by([("state_number", "ascending")]).to_pylist()
    newest = {row["_source_position"]: row for row in rows}
    held = [row for row in newest.values() if row["state"] in {"refused", "waiting"}]
    return pa.Table.from_pylist(held, run.tables.schema(f"quarantine.{feed}"))


def test_every_mutated_line_is_in_a_receipt_and_in_one_place(tmp_path: Path) -> None:
    """Through the lander: received = accepted + refused + duplicate + waiting, each position once, bronze with the values that came."""
    sent: dict[str, list[bytes]] = {}
    for feed, contract in CONTRACTS.items():
        lines = [line for line in payloads(contract, LANDED, SEED + 2) if len(line) < LARGEST_ROW_BYTES]
        sender = sender_for(contract).code
        path = tmp_path / "inbox" / contract.source / contract.feed / sender / "fuzz.jsonl"
        path.parent.mkdir(parents=True)
        # A file begins with a mark or without; what stands before the first line is the file's, not the row's.
        path.write_bytes(b"\n".join([b"{}", *lines]) + b"\n")
        sent[feed] = [b"{}", *lines]
    run = Run.start(Settings(contracts=None, home=tmp_path / "lake", inbox=tmp_path / "inbox"), quiet=True)
    run.received_at = NOW
    done = landing.land(run)
    accepted_rows = 0
    for feed, lines in sent.items():
        contract, counts = CONTRACTS[feed], done["feeds"][feed]
        assert counts["received"] == len(lines) == counts["accepted"] + counts["refused"] + counts["duplicate"] + counts["waiting"], feed
        bronze = run.tables.read(f"bronze.{feed}")
        quarantine = newest_states(run, feed)
        states = Counter(quarantine.column("state").to_pylist())
        assert (bronze.num_rows, states["refused"], states["waiting"]) == (counts["accepted"], counts["refused"], counts["waiting"])
        positions = [*bronze.column("_source_position").to_pylist(), *quarantine.column("_source_position").to_pylist()]
        assert len(set(positions)) == len(positions)
        for row in quarantine.slice(0, 200).to_pylist():
            assert run.keys.open_bytes(row["payload_sealed"]) == lines[int(row["_source_position"][-10:]) - 1], "the bytes as they came"
            assert row["reasons"]
        accepted_rows += bronze.num_rows
        for column in contract.columns:
            if column.is_sealed:
                opened = run.keys.open(bronze.column(column.name + SEALED).combine_chunks(), f"{feed}.{column.name}")
                bronze = bronze.append_column(column.name, opened)
        for row in bronze.slice(0, 2000).to_pylist():
            came = strictly(lines[int(row["_source_position"][-10:]) - 1])
            plain = [c for c in contract.columns if not c.redact]
            assert [c.name for c in plain if not is_said(contract, c, came.get(c.name), row[c.name])] == []
    assert accepted_rows > len(CONTRACTS)
