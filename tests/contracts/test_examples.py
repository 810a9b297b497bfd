"""Every contract's own examples: each row to accept is accepted, each row to reject is refused for exactly its rule and field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridlake import contracts, senders, vocabularies
from gridlake.contracts import Contract
from gridlake.regions import RegionTree
from gridlake.senders import Sender
from gridlake.settings import Settings
from streaming.checks import Checks
from streaming.decoder import Decoder

TESTS = Path(__file__).parents[1]
# The built-in contracts, and every folder of further ones that the tests land: those with senders of their own.
FOLDERS = [None, *sorted({path.parents[1] for path in TESTS.rglob("*/*.odcs.yaml") if any((path.parents[1] / "senders").glob("*.yml"))})]


@cache
def declared(folder: Path | None) -> tuple[dict[str, Contract], senders.Senders, vocabularies.Vocabularies, RegionTree]:
    settings = Settings(contracts=folder)
    words = vocabularies.load_all(settings)
    built_in = set() if folder is None else set(contracts.load_all(Settings(contracts=None)))
    found = {feed: c for feed, c in contracts.load_all(settings).items() if feed not in built_in}
    return found, senders.load_all(settings), words, RegionTree(words.regions)


@cache
def judges(folder: Path | None, feed: str) -> tuple[Decoder, Checks, Sender]:
    found, allowed, words, regions = declared(folder)
    contract = found[feed]
    sender = next(s for s in allowed.values() if s.may_send(contract.source, contract.feed, contract.version))
    return Decoder(contract), Checks(contract, words, regions), sender


def examples(kind: str) -> Iterator[Any]:
    for folder in FOLDERS:
        for feed, contract in declared(folder)[0].items():
            for number, example in enumerate(getattr(contract, kind), 1):
                what = f"-{example.rule}-{example.field}" if kind == "reject" else ""
                yield pytest.param(folder, feed, example, id=f"{feed}-{number}{what}")


def reasons(folder: Path | None, feed: str, row: Any) -> list[tuple[str, str | None]]:
    decoder, checks, sender = judges(folder, feed)
    decoded = decoder.lines([json.dumps(row, ensure_ascii=False, default=str).encode()])
    found, _ = checks.check(decoded, [sender], np.zeros(1, np.int64), datetime.now(UTC))
    return [(reason.rule, reason.field) for reason in found]


@pytest.mark.parametrize(("folder", "feed", "row"), examples("accept"))
def test_an_example_to_accept_is_accepted(folder: Path | None, feed: str, row: Any) -> None:
    assert reasons(folder, feed, row) == []


@pytest.mark.parametrize(("folder", "feed", "rejected"), examples("reject"))
def test_an_example_to_reject_is_refused_for_its_rule_and_field_alone(folder: Path | None, feed: str, rejected: Any) -> None:
    assert reasons(folder, feed, rejected.row) == [(rejected.rule, rejected.field)]


def test_every_built_in_contract_has_rows_to_accept_and_to_reject() -> None:
    assert [feed for feed, contract in declared(None)[0].items() if not contract.accept or not contract.reject] == []
