"""A set of landed files is compared with its sender's manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gridlake.cli import main
from tests.streaming.conftest import DECLARATIONS, Lake, visit


def told(path: Path, rows: int) -> dict[str, Any]:
    return {"name": path.name, "rows": rows, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_missing_extra_and_different_files_are_told(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDLAKE_PROJECT", str(DECLARATIONS))
    good = lake.put("backfill/1.jsonl", [visit(1), visit(2, source_version="x")])
    short = lake.put("backfill/2.jsonl", [visit(3)])
    other = lake.put("backfill/3.jsonl", [visit(4)])
    lake.put("backfill/5.jsonl", [visit(5)])
    lake.put("of_another_set.jsonl", [visit(6)])
    lake.land()
    files = [told(good, 2), told(short, 2), told(other, 1) | {"sha256": "0" * 64}, {"name": "4.jsonl", "rows": 9, "sha256": "1" * 64}]
    manifest = good.with_name("_manifest.json")
    manifest.write_text(json.dumps({"files": files}))
    asked = ["land", "reconcile", "--feed", "office.visit", "--sender", "north", "--manifest", str(manifest), "--json"]
    asked += ["--home", str(lake.home), "--inbox", str(lake.inbox)]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [e["name"] for e in found["missing"]] == ["4.jsonl"]
    assert [e["name"] for e in found["extra"]] == ["5.jsonl"]
    assert [(e["name"], *(k for k in e if k != "name")) for e in found["different"]] == [("2.jsonl", "rows"), ("3.jsonl", "sha256")]
    assert found["equal"] == 1
    manifest.write_text(json.dumps({"files": [told(p, n) for p, n in ((good, 2), (short, 1), (other, 1), (good.with_name("5.jsonl"), 1))]}))
    assert CliRunner().invoke(main, asked).exit_code == 0
    manifest.write_text("{}")
    assert "expected a manifest" in CliRunner().invoke(main, asked).output
