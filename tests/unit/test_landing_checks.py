"""Rules and column checks: what a predicate may say of a row, and declarations that cannot be checked."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridlake.contracts import Contract, ContractError, Rule, load
from gridlake.regions import RegionTree
from gridlake.senders import load as load_sender
from gridlake.settings import Settings
from gridlake.vocabularies import load_all
from streaming.checks import Checks
from streaming.decoder import Decoder

DECLARATIONS = Path(__file__).parents[1] / "streaming" / "declarations"
CONTRACT = load(DECLARATIONS / "expectations/contracts/office/visit.odcs.yaml")
VOCABULARIES = load_all(Settings(project=DECLARATIONS))
NORTH = load_sender(DECLARATIONS / "expectations/senders/north.yml")
NOW = datetime.fromisoformat("2026-06-01T08:00:00+00:00")


def checks(contract: Contract) -> Checks:
    return Checks(contract, VOCABULARIES, RegionTree(VOCABULARIES.regions))


def refused(rules: list[Rule], *rows: dict[str, Any]) -> list[list[str]]:
    """The broken rules of each row."""
    contract = replace(CONTRACT, rules=tuple(rules))
    whole = [{"visit_id": "V1", "region_code": "1001", "started_at": "2026-05-01 09:00:00", "source_version": 1} | row for row in rows]
    decoded = Decoder(contract).lines([json.dumps(row).encode() for row in whole])
    reasons, _ = checks(contract).check(decoded, [NORTH], np.zeros(len(rows), np.int64), NOW)
    return [[reason.rule for reason in reasons if number in reason.rows] for number in range(len(rows))]


def test_a_predicate_refuses_where_it_is_false_and_lets_pass_where_it_is_null() -> None:
    few = Rule("few", "visitor_count < 5")
    assert refused([few], {"visitor_count": 4}, {"visitor_count": 5}, {}) == [[], ["few"], []]


def test_a_row_for_which_a_predicate_cannot_be_computed_breaks_it_and_stops_no_other() -> None:
    numeric = Rule("numeric", "cast(note as integer) > 5")
    few = Rule("few", "visitor_count < 5 or cast(note as integer) = 7")
    rows = [{"note": "7"}, {"note": "3"}, {"note": "seven"}, {}, {"note": "9", "visitor_count": 9}]
    assert refused([numeric, few], *rows) == [[], ["numeric"], ["numeric", "few"], [], ["few"]]


def test_a_rule_over_a_value_that_is_refused_already_says_nothing_more() -> None:
    ordered = Rule("ordered", "ended_at is not null and ended_at >= started_at")
    assert refused([ordered], {"ended_at": "soon"}, {}) == [["type"], ["ordered"]]


def test_a_rule_is_not_asked_of_a_delete() -> None:
    assert refused([Rule("always", "note is not null")], {"_op": "delete"}, {}) == [[], ["always"]]


def test_times_in_rules_are_utc_and_the_clock_of_receipt_is_there() -> None:
    assert refused([Rule("utc", "started_at = timestamp '2026-05-01 13:00:00'")], {}) == [[]]
    assert refused([Rule("past", "started_at < _received_at - interval 30 day")], {}) == [[]]
    assert refused([Rule("past", "started_at < _received_at - interval 31 day")], {}) == [["past"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": (Rule("odd", "weather = 'fine'"),)}, "rule odd is not a predicate over the contract's columns"),
        ({"rules": (Rule("file", "note in (select content from read_text('/etc/hostname'))"),)}, "rule file is not a predicate"),
        (
            {"columns": tuple(replace(c, pattern="(") if c.name == "note" else c for c in CONTRACT.columns)},
            "column note: pattern '\\(' is no regular expression",
        ),
        (
            {"columns": tuple(replace(c, code_list="moods") if c.name == "note" else c for c in CONTRACT.columns)},
            "column note: no vocabulary 'moods'; there are",
        ),
    ],
)
def test_a_contract_that_cannot_be_checked_is_an_error_before_any_row(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        checks(replace(CONTRACT, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_zone": "Mars/Olympus"}, "mend logicalTypeOptions.format or gridlake.timeZone"),
        ({"columns": tuple(replace(c, format="dd MMM yyyy") if c.name == "started_at" else c for c in CONTRACT.columns)}, "'MMM' is not supported"),
    ],
)
def test_a_contract_that_cannot_be_decoded_is_an_error_before_any_row(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Decoder(replace(CONTRACT, **change))
