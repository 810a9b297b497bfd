"""The result of a conformance run as a document: every case, counts, what was tested; signed where everything required has passed.

A certificate names the contract by version and digest and holds for the contract's major version. `level` says how much was shown: `channel`
(each case came out on the sandbox as the contract says) or `complete` (the sender's own test deliveries passed as well).
"""

from __future__ import annotations

import hashlib
import html
import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from packaging.version import Version

from gridlake import __version__
from gridlake.contracts import Contract
from gridlake.contracts.refusals import refusal
from gridlake.senders import Sender
from gridlake.signing import SIGNATURE
from gridlake.tables import write_file
from gridlake.vocabularies import Vocabularies
from streaming.conform.cases import ACCEPTED, DUPLICATE, WAITING, Case, Outcome
from streaming.conform.deliveries import Own
from streaming.conform.folder import Came, Shown

KIND = "gridlake.conformance"
PASSED, FAILED = "passed", "failed"
CHANNEL, COMPLETE = "channel", "complete"
# Rows of a case that are listed one by one; a case of volume is counted.
_ROWS_LISTED = 60
_PAGE = Path(__file__).with_name("certificate.html")


def document(
    contract: Contract,
    sender: Sender,
    vocabularies: Vocabularies,
    endpoint: Mapping[str, str],
    shown: Mapping[str, tuple[Case, Shown]],
    own: Own | None,
) -> dict[str, Any]:
    """The unsigned document of one run."""
    cases = [_case(case, came, contract) for case, came in shown.values()]
    findings = [asdict(finding) for finding in own.findings] if own else []
    passed = all(case["passed"] for case in cases) and all(f["passed"] for f in findings if not f["is_advice"])
    volume = next((case for case in cases if case["id"] == "volume"), None)
    return {
        "document": KIND,
        "id": f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(4)}",
        "issued_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "result": PASSED if passed else FAILED,
        "level": COMPLETE if own else CHANNEL,
        "sender": {"code": sender.code, "name": sender.name, "name_en": sender.name_en},
        "feed": f"{contract.source}.{contract.feed}",
        "title": contract.title,
        "contract": {"version": contract.version, "digest": digest(contract, vocabularies), "valid_for": valid_for(contract.version)},
        "endpoint": dict(endpoint),
        "platform": {"gridlake": __version__},
        "cases": cases,
        "findings": findings,
        "counts": _counts(cases, findings),
        "volume": {"rows": volume["rows"], "seconds": volume["seconds"]} if volume else None,
        "deliveries": own.deliveries if own else [],
    }


def digest(contract: Contract, vocabularies: Vocabularies) -> str:
    """SHA-256 over the contract's file and the code lists it names: what the sender was tested against, to the letter."""
    taken = hashlib.sha256(contract.path.read_bytes())
    for name in sorted({c.code_list for c in contract.columns if c.code_list}):
        if name in vocabularies:
            taken.update(name.encode() + b"\0" + vocabularies[name].path.read_bytes())
    return "sha256:" + taken.hexdigest()


def valid_for(version: str) -> str:
    """The contract versions that a certificate for this one holds for: senders need change nothing within a major version."""
    number = Version(version)
    return f">={version},<{number.major + 1}" if number.major else f">={version},<0.{number.minor + 1}"


def write(found: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """The document as JSON and as a page to print; gives both paths."""
    stem = "certificate" if SIGNATURE in found else "report"
    place = folder / found["feed"] / found["sender"]["code"]
    data, page = place / f"{stem}-{found['id']}.json", place / f"{stem}-{found['id']}.html"
    write_file(data, json.dumps(found, ensure_ascii=False, indent=1).encode())
    write_file(page, render(found).encode())
    return data, page


def render(found: Mapping[str, Any]) -> str:
    """The page to print; nothing is loaded from elsewhere."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    words = {ACCEPTED: "接收", "refused": "拒收", "duplicate": "重复", WAITING: "等待", "empty": "空件", "refused_whole": "整件拒收"}

    def chinese(text: str) -> str:
        state, _, rest = text.partition(" ")
        return html.unescape(f"{words.get(state, state)} {rest}".strip())

    environment.filters["outcome"] = chinese
    return environment.from_string(_PAGE.read_text(encoding="utf-8")).render(found=found, is_signed=SIGNATURE in found)


def fits(expected: Outcome, came: Came) -> bool:
    """Whether a row ended as it must. A row that waits for what it refers to is accepted as far as its sender can see to it."""
    if expected.state == ACCEPTED:
        return came.state in {ACCEPTED, WAITING}
    if expected.state == DUPLICATE and came.state == WAITING:
        return True  # a repeat of a row that waits waits with it, and is a duplicate when both are let go
    return came.state == expected.state and (expected.rule is None or _has(expected, came.reasons))


def _has(expected: Outcome, reasons: Sequence[tuple[str, str | None]]) -> bool:
    return any(rule == expected.rule and (expected.field is None or field == expected.field) for rule, field in reasons)


def _case(case: Case, shown: Shown, contract: Contract) -> dict[str, Any]:
    missing = (Came("nothing"),) * (len(case.expected) - len(shown.came))
    pairs = list(zip(case.expected, (*shown.came, *missing), strict=False))
    wrong = [n for n, (expected, came) in enumerate(pairs) if not fits(expected, came)]
    is_right = not wrong and len(shown.came) == len(case.expected)
    codes = list(dict.fromkeys(e.rule for e in case.expected if e.rule))
    if not is_right:
        codes = list(dict.fromkeys(rule for n in wrong for rule, _ in pairs[n][1].reasons)) or codes
    remedies = [refusal(code, contract) for code in codes]
    entry: dict[str, Any] = {
        "id": case.id,
        "title": case.title,
        "title_en": case.title_en,
        "rows": len(case.expected),
        "expected": _summed(case.expected),
        "came": _summed(shown.came),
        "passed": is_right,
        "seconds": round(shown.seconds, 3),
        "remedy": "；".join(f"{r.code}：{r.remedy}" for r in remedies) or "无须处理",
        "remedy_en": "; ".join(f"{r.code}: {r.remedy_en}" for r in remedies) or "nothing to do",
        "listed": [],
    }
    listed = range(len(pairs)) if len(pairs) <= _ROWS_LISTED else wrong[:_ROWS_LISTED]
    for n in listed:
        note = case.notes[n] if n < len(case.notes) else ""
        entry["listed"].append(
            {"row": n + 1, "note": note, "expected": str(pairs[n][0]), "came": str(pairs[n][1]), "passed": fits(pairs[n][0], pairs[n][1])}
        )
    return entry


def _summed(outcomes: Sequence[Outcome] | Sequence[Came]) -> dict[str, int]:
    return dict(Counter(outcome.state for outcome in outcomes))


def _counts(cases: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for case in cases:
        rows.update(case["came"])
    required = [f for f in findings if not f["is_advice"]]
    return {
        "cases": len(cases) + len(required),
        "passed": sum(c["passed"] for c in cases) + sum(f["passed"] for f in required),
        "failed": sum(not c["passed"] for c in cases) + sum(not f["passed"] for f in required),
        "advice": sum(not f["passed"] for f in findings if f["is_advice"]),
        **{f"rows_{state}": number for state, number in sorted(rows.items())},
    }
