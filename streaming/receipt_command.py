"""`gridlake receipt export|verify`: the receipt that a sender gets for a day, and the check that needs nothing but the public key."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.console import Console

from gridlake.cli import command_options, emit
from gridlake.runs import Run, RunError
from gridlake.settings import Settings
from gridlake.signing import PublicKey, SignatureError, public_half
from gridlake.tables import write_file
from streaming import receipt_file
from streaming.receipt_file import STATES, ReceiptError

_NAMES = {"received": "报送", "accepted": "接收", "refused": "拒收", "duplicate": "重复", "waiting": "待关联"}


@click.group()
def receipt() -> None:
    """Receipts (回执) for a sender: what came on a day and what became of each row, signed, to be checked without the platform.

    \b
    gridlake receipt export --sender 330100000000 --day 2026-11-25 --out receipts
    gridlake receipt verify city_platform.event.330100000000.2026-11-25.json --public-key lake.signing.pem.pub --rows sent.jsonl
    """


@receipt.command("export")
@click.option("--sender", "sender_code", required=True, help="The sender's code.")
@click.option("--day", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The day of receipt, by the clock of the feed's zone.")
@click.option("--feed", help="<source>.<feed>; without it every feed that the sender was given receipts for.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where the files go. [default: <home>/receipts]")
@command_options
def export(settings: Settings, as_json: bool, sender_code: str, day: datetime, feed: str | None, out: Path | None) -> None:
    """Write the day's receipts of a sender, one signed file a feed.

    The file is for that sender alone: with the salts in it the digests of short rows can be guessed. A day that is over always gives the same root;
    what a replay moves later is on the receipt of the day on which it moved.
    """
    run = Run.start(settings, quiet=as_json)
    wanted = feed.replace(".", "__", 1) if feed else None
    if wanted is not None and wanted not in set(run.contracts):
        raise RunError(f"--feed {feed}: expected <source>.<feed> of a contract; `gridlake feed list` has them")
    written = []
    for name, contract in run.contracts.items():
        zone = ZoneInfo(contract.time_zone)
        start, end = (datetime.combine(d, time(), zone).astimezone(UTC) for d in (day.date(), day.date() + timedelta(days=1)))
        if wanted not in {None, name} or (wanted is None and sender_code not in receipt_file.senders_of(run, name, start, end)):
            continue
        document = receipt_file.export(run, contract, sender_code, day.date())
        path = (out or settings.home / "receipts") / f"{document['feed']}.{sender_code}.{document['day']}.json"
        write_file(path, json.dumps(document, ensure_ascii=False, indent=1).encode())
        written.append({"path": str(path), **{k: document[k] for k in ("feed", "day", "is_complete", "counts")}, "root": document["merkle"]["root"]})
    if not written:
        raise RunError(f"--sender {sender_code} --day {day:%Y-%m-%d}: no receipts; expected a sender's code and a day on which something came")

    def text(console: Console) -> None:
        for entry in written:
            console.print(f"{entry['path']}\n  {_said(entry['counts'])}；root {entry['root']}", highlight=False, markup=False, soft_wrap=True)

    emit(written, as_json=as_json, text=text)


@receipt.command("verify")
@click.argument("path", metavar="RECEIPT.json", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--rows", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="What you sent: .jsonl, .ndjson or .csv, each also .gz.")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The platform's public key. [default: the one beside this lake]",
)
@command_options
def verify(settings: Settings, as_json: bool, path: Path, rows: Path | None, public_key: Path | None) -> None:
    """Whether a receipt stands as the platform signed it and adds up, and with --rows, whether all your rows are in it and what became of them.

    Needs the public key and no connection. Ends with 1 and the first difference where something is amiss.
    """
    key_file = public_key or public_half(settings.signing_key)
    try:
        if not key_file.exists():
            raise SignatureError(f"{key_file}: no public key here; ask the platform for it and give it with --public-key")
        key = PublicKey.load(key_file)
        document = _read(path)
        receipt_file.verify(document, key)
    except SignatureError as error:
        raise ReceiptError(f"{path}: {error}") from error
    said: dict[str, Any] = {"valid": True, "key_id": key.id, **{k: document[k] for k in ("sender", "feed", "day", "is_complete", "counts")}}
    said["root"] = document["merkle"]["root"]
    if rows is not None:
        matched = receipt_file.match(document, rows)
        if matched.missing:
            raise ReceiptError(
                f"{rows}: row {matched.missing[0]} is not in the receipt of {document['day']}, nor are {len(matched.missing) - 1} others of "
                f"{len(matched.lines) + len(matched.missing)}; it came on another day, or never: look at that day's receipt, or send it again"
            )
        not_accepted = [
            {"row": number, "state": state, "delivery_id": delivery, "delivery_row": place}
            for number, state, delivery, place in matched.lines
            if state != "accepted"
        ]
        said["rows"] = {"sent": len(matched.lines), **matched.counts, "in_the_receipt_alone": matched.not_sent, "not_accepted": not_accepted}

    def text(console: Console) -> None:
        console.print(f"有效 valid: {document['sender']} {document['sender_name'] or ''} {document['feed']} {document['day']}", highlight=False)
        console.print(f"  {_said(document['counts'])}；root {said['root']}；公钥编号 key {key.id}", highlight=False, soft_wrap=True)
        if not document["is_complete"]:
            console.print(f"  该日尚未结束 the day was not over: as of {document['made_at']}", highlight=False)
        if "rows" in said:
            console.print(f"  {rows}: {said['rows']['sent']:,} 行均在回执中 all in the receipt", highlight=False, soft_wrap=True)
            for state in STATES[1:]:
                numbers = [str(n["row"]) for n in said["rows"]["not_accepted"] if n["state"] == state]
                if numbers:
                    console.print(
                        f"    {_NAMES[state]} {state}: {len(numbers):,}: {'、'.join(numbers[:20])}{' …' if len(numbers) > 20 else ''}",
                        highlight=False,
                    )
            if said["rows"]["in_the_receipt_alone"]:
                console.print(
                    f"    回执另有 {said['rows']['in_the_receipt_alone']:,} 行不在此文件中 the same deliveries have more rows", highlight=False
                )

    emit(said, as_json=as_json, text=text)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReceiptError(f"{path}: expected a receipt as JSON; {error}") from error
    if not isinstance(found, dict) or found.get("document") != receipt_file.KIND or found.get("format") != receipt_file.FORMAT:
        raise ReceiptError(f"{path}: expected a document {receipt_file.KIND} of format {receipt_file.FORMAT}; this is something else")
    return found


def _said(counts: dict[str, int]) -> str:
    return "，".join(f"{_NAMES[state]} {counts[state]:,}" for state in STATES)
