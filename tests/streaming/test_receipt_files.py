"""A receipt file holds without the platform: changed anywhere it falls, and a sender finds every row of its own in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gridlake.cli import main
from gridlake.signing import SignatureError, SigningKey
from streaming import merkle, receipt_file
from streaming.receipt_file import ReceiptError
from tests.streaming.conftest import NOW, lines, visit
from tests.streaming.offices import Office

FEED, DAY = "office__visit", date(2026, 6, 1)
STRICT, MENDED = "maximum: 500", "maximum: 900"


def landed(folder: Path) -> Office:
    office = Office(folder)
    office.put("1.jsonl", [visit(1), visit(2, visitor_count=600), visit(1), visit(3)])
    office.put("2.csv", b"visit_id,region_code,started_at,source_version\nV7,1001,2026-05-01 09:00:00,1\nV8,9999,2026-05-01 09:00:00,1\n")
    office.put("1.jsonl", [visit(9, region_code="2001")], sender="south")
    office.land()
    return office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A day's landing, which tests only read."""
    return landed(tmp_path_factory.mktemp("office"))


def exported(office: Office, day: date = DAY) -> dict[str, Any]:
    run = office.run()
    made: dict[str, Any] = json.loads(json.dumps(receipt_file.export(run, run.contracts[FEED], "north", day)))
    return made


def key_of(office: Office) -> SigningKey:
    return SigningKey.load(office.settings.signing_key)


# Leaves and roots of the test data of Google's certificate-transparency, made for RFC 6962.
LEAVES = [b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31", b"\x40\x41\x42\x43", bytes(range(0x50, 0x58)), bytes(range(0x60, 0x70))]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_standard(size: int) -> None:
    assert merkle.root([merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size]


def test_a_receipt_verifies_and_tells_of_every_row_of_a_file(office: Office) -> None:
    document = exported(office)
    receipt_file.verify(document, key_of(office).public)
    assert document["counts"] == {"received": 6, "accepted": 3, "refused": 2, "duplicate": 1, "waiting": 0}
    matched = receipt_file.match(document, office.inbox / "office/visit/north/1.jsonl")
    assert [(line, state) for line, state, _, _ in matched.lines] == [(1, "accepted"), (2, "refused"), (3, "duplicate"), (4, "accepted")]
    assert (matched.missing, matched.not_sent) == ([], 0)
    of_csv = receipt_file.match(document, office.inbox / "office/visit/north/2.csv")
    assert [(line, state) for line, state, _, _ in of_csv.lines] == [(1, "accepted"), (2, "refused")]
    # The sender has the same rows in another file, in another order, and one that it never sent.
    other = office.folder / "mine.jsonl"
    other.write_bytes(lines(visit(3), visit(4), visit(1)))
    matched = receipt_file.match(document, other)
    assert ([line for line, *_ in matched.lines], matched.missing, matched.not_sent) == ([1, 3], [2], 2)


def _count(document: dict[str, Any]) -> None:
    document["receipts"][0]["accepted"] += 1


def _outcome(document: dict[str, Any]) -> None:
    document["receipts"][0]["row_outcomes"] = base64.b64encode(b"aaaa").decode()


def _drop(document: dict[str, Any]) -> None:
    del document["receipts"][0]


def _swap(document: dict[str, Any]) -> None:
    document["receipts"].reverse()


@pytest.mark.parametrize("change", [_count, _outcome, _drop, _swap])
def test_whoever_changes_a_receipt_is_found_out_even_with_the_platforms_key(office: Office, change: Callable[[dict[str, Any]], None]) -> None:
    document = exported(office)
    change(document)
    with pytest.raises(SignatureError, match="was changed after it was signed"):
        receipt_file.verify(document, key_of(office).public)
    with pytest.raises(ReceiptError):
        receipt_file.verify(key_of(office).sign(document), key_of(office).public)


def test_a_replay_stands_on_the_receipt_of_its_own_day_and_leaves_the_old_one_as_it_was(tmp_path: Path) -> None:
    office = landed(tmp_path)
    before = exported(office)
    office.change(STRICT, MENDED)
    office.replay(at=NOW + timedelta(days=2))
    after = exported(office)
    assert after["merkle"] == before["merkle"]
    later = exported(office, DAY + timedelta(days=2))
    receipt_file.verify(later, key_of(office).public)
    assert later["counts"] == {"received": 0, "accepted": 1, "refused": -1, "duplicate": 0, "waiting": 0}
    (moved,) = later["receipts"]
    assert json.loads(base64.b64decode(moved["row_outcomes"])) == {"accepted": [2]}


def test_a_day_that_is_over_keeps_the_root_that_was_given_out(tmp_path: Path) -> None:
    office = landed(tmp_path)
    exported(office)
    table = office.tables.read("ops.receipt")
    kept = table.filter([r["file_name"] != "2.csv" for r in table.to_pylist()])
    office.tables.overwrite("ops.receipt", kept)
    with pytest.raises(ReceiptError, match=r"Something has changed ops\.receipt"):
        exported(office)


def test_salts_differ_by_delivery_and_stand_nowhere_in_the_lake(office: Office) -> None:
    salts = {r["salt"] for r in exported(office)["receipts"]}
    assert len(salts) == 2
    kept = str([office.tables.read(name).to_pylist() for name in office.tables.names()])
    assert not any(salt in kept or repr(bytes.fromhex(salt)) in kept for salt in salts)


def test_the_commands_export_and_verify_and_end_with_1_at_the_first_row_that_is_missing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDLAKE_PROJECT", str(office.declared))
    own = ["--home", str(office.home)]
    out = office.folder / "out"
    done = CliRunner().invoke(main, ["receipt", "export", "--sender", "north", "--day", "2026-06-01", "--out", str(out), "--json", *own])
    assert done.exit_code == 0, done.output
    (path,) = out.glob("*.json")
    public = [str(office.settings.signing_key) + ".pub"]
    verify = ["receipt", "verify", str(path), "--public-key", *public, "--json", "--home", str(office.folder / "elsewhere")]
    mine = office.folder / "mine.jsonl"
    mine.write_bytes(lines(visit(1), visit(3)))
    good = CliRunner().invoke(main, [*verify, "--rows", str(mine)])
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["rows"]["accepted"] == 2
    mine.write_bytes(lines(visit(1), visit(55)))
    bad = CliRunner().invoke(main, [*verify, "--rows", str(mine)])
    assert bad.exit_code == 1
    assert "row 2 is not in the receipt" in bad.output
