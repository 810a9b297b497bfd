"""Backups: a restored lake is the lake of one moment, and a backup that is not whole says so."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gridlake import backup, cli
from gridlake.privacy import Keys
from gridlake.progress import ProgressLog
from gridlake.runs import entries
from gridlake.tables import Tables
from streaming import feed_lander
from tests.e2e import pushed
from tests.streaming.conftest import DECLARATIONS, Lake, visit

QUIET = ProgressLog(quiet=True)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Rows landed, refused, kept as a sealed file; a run in the ledger."""
    lake = Lake(tmp_path / "old")
    lake.put("1.jsonl", [visit(n, source_version="x" if n % 7 == 0 else 1, visitor_name="王小明") for n in range(30)])
    lake.put("2.jsonl", [{"visit_id": "V1", "note": "a" * (1 << 20)}])
    lake.land()
    return lake


def take(lake: Lake, target: Path, **options: Any) -> dict[str, Any]:
    return backup.take(lake.settings, target, QUIET, **options)


def restored(target: Path, folder: Path, keys: Path, **options: Any) -> Lake:
    lake = Lake(folder)
    (folder / "lake.keys.json").write_bytes(keys.read_bytes())
    assert backup.restore(target, lake.home, lake.settings.keys, QUIET, **options)["keys"] == "open"
    return lake


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [*map(str, arguments), "--json"], env={"GRIDLAKE_PROJECT": str(DECLARATIONS)})


def test_a_restored_lake_holds_the_same_and_goes_on_landing(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    take(lake, target)
    again = restored(target, tmp_path / "new", lake.settings.keys)
    assert again.content() == lake.content()
    assert [len(again.payload(row)) for row in again.quarantine() if row["payload_ref"]] == [(1 << 20) + 30]
    assert [e["run_id"] for e in entries(again.settings)] == [e["run_id"] for e in entries(lake.settings)]
    again.put("1.jsonl", (lake.inbox / "office/visit/north/1.jsonl").read_bytes())
    again.put("3.jsonl", [visit(99)])
    counts = again.land()["feeds"]["office__visit"]
    assert (counts["already_landed"], counts["accepted"]) == (1, 1)


def test_the_cut_of_an_earlier_run_is_still_read_after_a_restore(lake: Lake, tmp_path: Path) -> None:
    ((name, version),) = [(n, v) for n, v in entries(lake.settings)[0]["cut"].items() if n == "bronze.office__visit"]
    before = lake.tables.read(name, version=version).num_rows
    for number in range(5):
        lake.put(f"n{number}.jsonl", [visit(100 + number)])
        lake.land()
    lake.tables.compact(name)
    lake.tables.checkpoint(name, 1)
    take(lake, tmp_path / "backups")
    again = restored(tmp_path / "backups", tmp_path / "new", lake.settings.keys)
    assert again.tables.read(name, version=version).num_rows == before
    assert len(again.bronze()) == before + 5


def test_a_later_backup_copies_only_what_is_new_and_each_can_be_restored(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    first = take(lake, target)
    assert first["new_files"] > 10
    assert take(lake, target)["new_bytes"] == 0
    lake.put("3.jsonl", [visit(n) for n in range(50, 60)])
    lake.land()
    last = take(lake, target)
    assert 0 < last["new_bytes"] < first["new_bytes"] / 2
    assert len(restored(target, tmp_path / "new", lake.settings.keys).bronze()) == 35
    assert len(restored(target, tmp_path / "newer", lake.settings.keys, backup_id=first["backup_id"]).bronze()) == 25


def test_only_the_newest_are_kept_when_that_is_asked_for(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    ids = [take(lake, target)["backup_id"]]
    lake.put("3.jsonl", [visit(50)])
    lake.land()
    done = take(lake, target, keep=1)
    assert done["removed_backups"] == ids
    assert [b["backup_id"] for b in backup.listed(target)] == [done["backup_id"]]
    named = {digest for digest, _, _ in json.loads((target / "backups" / f"{done['backup_id']}.json").read_text())["files"].values()}
    assert {path.name for path in (target / "objects").glob("*/*")} == named
    assert backup.verify(target, QUIET)["objects"] == len(named)


def test_backups_taken_while_it_lands_are_each_of_one_moment(lake: Lake, tmp_path: Path) -> None:
    target, ended, failed = tmp_path / "backups", threading.Event(), []

    def land() -> None:
        try:
            for number in range(5):
                lake.put(f"n{number:02}.jsonl", [visit(100 + number), visit(200 + number, source_version="x")])
                lake.land()
        except Exception as error:  # noqa: BLE001 - told by the test
            failed.append(error)
        ended.set()

    landing = threading.Thread(target=land)
    landing.start()
    ids = []
    while not ended.is_set():
        ids.append(take(lake, target)["backup_id"])
    landing.join()
    assert not failed
    seen = set()
    for number, backup_id in enumerate([*ids[:2], *ids[-2:]]):
        again = restored(target, tmp_path / f"new{number}", lake.settings.keys, backup_id=backup_id)
        told = again.receipts()
        assert sum(r["accepted"] for r in told) == len(again.bronze())
        assert sum(r["refused"] for r in told) == len(again.quarantine())
        for run_entry in entries(again.settings):
            for name, version in run_entry["cut"].items():
                assert again.tables.version(name) >= version, "a run names a version that is not in the backup"
        seen.add(len(told))
    assert len(seen) > 1


def test_a_backup_begun_in_the_middle_of_a_commit_waits_for_its_end(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, taken = tmp_path / "backups", threading.Event()

    def back_up() -> None:
        take(lake, target)
        taken.set()

    backing_up = threading.Thread(target=back_up)

    def in_the_middle(name: str, _: str = "") -> None:
        if name == "landing.after_receipt":
            backing_up.start()
            # So long it would take alone, and it must not end before the commit does.
            assert not taken.wait(2)

    monkeypatch.setattr(feed_lander, "barrier", in_the_middle)
    lake.put("3.jsonl", [visit(100), visit(200, source_version="x")])
    lake.land()
    backing_up.join()
    again = restored(target, tmp_path / "new", lake.settings.keys)
    assert (len(again.receipts()), len(again.bronze()), len(again.quarantine())) == (3, 26, 7)


def test_what_was_pushed_and_not_landed_is_in_the_backup_with_its_answers(lake: Lake, tmp_path: Path) -> None:
    journals = lake.home / "journals"
    (journals / "office__visit").mkdir(parents=True)
    (journals / "office__visit" / "1.segment").write_bytes(b"pushed")
    writer = sqlite3.connect(journals / "answers.sqlite")
    writer.execute("pragma journal_mode = wal")
    writer.execute("create table answer (key text)")
    writer.execute("insert into answer values ('k')")
    writer.commit()
    take(lake, tmp_path / "backups")
    writer.close()
    again = restored(tmp_path / "backups", tmp_path / "new", lake.settings.keys)
    assert (again.home / "journals/office__visit/1.segment").read_bytes() == b"pushed"
    assert sqlite3.connect(again.home / "journals/answers.sqlite").execute("select key from answer").fetchall() == [("k",)]
    assert not list(lake.home.glob(".backup-*"))


def test_a_push_repeated_after_a_restore_is_answered_as_before(tmp_path: Path) -> None:
    settings = pushed.settings_of(tmp_path / "lake")
    pushed.push_all(settings.home, tmp_path / "said")
    settings.recipients.write_text("[]\n", encoding="utf-8")
    backup.take(settings, tmp_path / "backups", QUIET, with_keys=True)
    new = pushed.settings_of(tmp_path / "new" / "lake")
    backup.restore(tmp_path / "backups", new.home, new.keys, QUIET, private=new.private_files)
    pushed.push_all(new.home, tmp_path / "said again")
    said, again = ((tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("said", "said again"))
    assert pushed.told(again) == pushed.told(said)
    assert pushed.wrong(new.home, said) == ([], [])
    assert (new.recipients.read_text(encoding="utf-8"), new.recipients.stat().st_mode & 0o777) == ("[]\n", 0o600)


def test_a_killed_backup_is_none_and_the_next_one_is_whole(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    gridlake = str(Path(sys.executable).with_name("gridlake"))
    env = {**os.environ, "GRIDLAKE_KILL_AT": "backup.before_manifest", "GRIDLAKE_PROJECT": str(DECLARATIONS)}
    killed = subprocess.run([gridlake, "backup", str(target), "--home", str(lake.home)], env=env, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(backup.BackupError, match="there is none"):
        backup.drill(target, lake.settings.keys, QUIET)
    assert take(lake, target)["new_files"] == 0
    assert backup.drill(target, lake.settings.keys, QUIET)["tables"]["bronze.office__visit"]["rows"] == 25


@pytest.mark.parametrize("harm", ["changed", "shorter", "gone"])
def test_a_damaged_backup_is_found_by_a_drill_and_by_verification(lake: Lake, tmp_path: Path, harm: str) -> None:
    target = tmp_path / "backups"
    take(lake, target)
    content = max((target / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    whole = content.read_bytes()
    if harm == "gone":
        content.unlink()
    else:
        content.write_bytes(whole[:-1] if harm == "shorter" else whole[:-1] + bytes([whole[-1] ^ 1]))
    for look in (lambda: backup.verify(target, QUIET), lambda: backup.drill(target, lake.settings.keys, QUIET)):
        with pytest.raises(backup.BackupError, match=content.name):
            look()


def test_a_table_that_is_not_as_it_was_is_found_by_a_drill(lake: Lake, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    taken = take(lake, target)
    manifest = target / "backups" / f"{taken['backup_id']}.json"
    document = json.loads(manifest.read_text())
    last = max(place for place in document["files"] if place.startswith("tables/bronze/office__visit/_delta_log"))
    del document["files"][last]
    manifest.write_text(json.dumps(document))
    with pytest.raises(backup.BackupError, match=r"bronze\.office__visit: expected"):
        backup.drill(target, lake.settings.keys, QUIET)


def test_keys_are_in_it_only_when_asked_for_and_then_it_is_said(lake: Lake, tmp_path: Path) -> None:
    secret = json.loads(lake.settings.keys.read_text())["token_key"].encode()
    plain, private = tmp_path / "plain", tmp_path / "private"
    done = run("backup", plain, "--home", lake.home)
    assert done.exit_code == 0, done.output
    assert not any(secret in path.read_bytes() for path in plain.rglob("*") if path.is_file())
    done = run("backup", private, "--home", lake.home, "--with-keys")
    assert "WARNING" in done.stderr
    (kept,) = [path for path in private.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    new = tmp_path / "new" / "lake"
    done = run("restore", private, "--home", new)
    assert json.loads(done.stdout)["keys"] == "open"
    assert Keys.load(new.with_name("lake.keys.json")).token is not None
    without = run("restore", plain, "--home", tmp_path / "newer" / "lake")
    assert without.exit_code == 0
    assert "WARNING" in without.stderr


def test_a_drill_with_other_keys_fails(lake: Lake, tmp_path: Path) -> None:
    take(lake, tmp_path / "backups")
    lake.settings.keys.unlink()
    Keys.load(lake.settings.keys)
    done = run("backup", tmp_path / "backups", "--home", lake.home, "--drill")
    assert done.exit_code == 1
    assert "do not open" in json.loads(done.stdout)["message"]


def test_it_is_not_restored_over_a_lake_nor_taken_into_one(lake: Lake, tmp_path: Path) -> None:
    take(lake, tmp_path / "backups")
    with pytest.raises(backup.BackupError, match="expected an empty or new folder"):
        backup.restore(tmp_path / "backups", lake.home, lake.settings.keys, QUIET)
    with pytest.raises(backup.BackupError, match="inside the lake"):
        take(lake, lake.home / "backups")
    assert Tables(lake.settings.tables).row_count("bronze.office__visit") == 25
