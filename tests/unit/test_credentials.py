"""Secrets by name: made beside the lake for its owner alone, rotated with an overlap, given by the environment, never shown again."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from gridlake.cli import main
from gridlake.credentials import CredentialError, Secrets
from gridlake.senders import SenderError, load

NOW = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lake.secrets.json"


def test_the_file_is_made_for_its_owner_alone_and_is_not_read_when_others_may_read_it(file: Path) -> None:
    made = Secrets(file, {}).make("north", NOW, WEEK)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Secrets(file, {}).one("north", NOW) == made
    file.chmod(0o640)
    with pytest.raises(CredentialError, match=r"mode 640.*chmod 600"):
        Secrets(file, {}).one("north", NOW)


def test_a_rotated_key_is_newest_and_the_one_before_ends_with_the_overlap(file: Path) -> None:
    running = Secrets(file, {})
    first = running.make("north", NOW, WEEK)
    # Another process rotates; the running one sees it without being told.
    second = Secrets(file, {}).make("north", NOW, WEEK)
    assert running.valid("north", NOW) == [second, first]
    assert running.valid("north", NOW + WEEK) == [second]
    third = running.make("north", NOW + timedelta(days=1), WEEK)
    assert running.valid("north", NOW + timedelta(days=6)) == [third, second, first]
    assert running.valid("north", NOW + WEEK) == [third, second], "a second rotation does not lengthen the first one's overlap"


def test_the_environment_has_the_first_word(file: Path) -> None:
    Secrets(file, {}).make("sender_zj-1", NOW, WEEK)
    assert Secrets(file, {"GRIDLAKE_SECRET_SENDER_ZJ_1": "given"}).valid("sender_zj-1", NOW) == ["given"]


def test_a_missing_secret_is_named_with_what_to_do_and_a_removed_one_is_gone(file: Path) -> None:
    kept = Secrets(file, {})
    with pytest.raises(CredentialError, match=r"no secret 'portal'; set GRIDLAKE_SECRET_PORTAL.*gridlake secret put portal"):
        kept.one("portal", NOW)
    kept.put("portal", "s3cret", NOW)
    assert kept.one("portal", NOW) == "s3cret"
    assert kept.remove("portal")
    assert not kept.valid("portal", NOW)


@pytest.mark.parametrize("credentials", ["{http: {key: abc}}", "{ftp: {secret: x}}", "{http: {secret: x, key: y}}"])
def test_a_senders_file_names_the_secret_and_nothing_else(tmp_path: Path, credentials: str) -> None:
    path = tmp_path / "north.yml"
    plain = 'name: 北\nregions: ["1"]\nfeeds: {a.b: ">=1"}\n'
    path.write_text(plain + "credentials: {http: {secret: north_key}}\n", encoding="utf-8")
    assert load(path).http_secret == "north_key"
    path.write_text(plain, encoding="utf-8")
    assert load(path).http_secret is None
    path.write_text(plain + f"credentials: {credentials}\n", encoding="utf-8")
    with pytest.raises(SenderError, match="the name of a secret and never the secret"):
        load(path)


def test_the_command_makes_rotates_and_revokes_a_senders_key_and_shows_it_once(tmp_path: Path) -> None:
    def told(*arguments: str) -> object:
        done = CliRunner().invoke(main, [*arguments, "--home", str(tmp_path / "lake"), "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def keys() -> int:
        listed = told("sender", "list")
        assert isinstance(listed, list)
        return next(entry["valid_keys"] for entry in listed if entry["sender"] == "330100000000")

    assert keys() == 0
    first = told("sender", "key", "make", "330100000000")
    again = CliRunner().invoke(main, ["sender", "key", "make", "330100000000", "--home", str(tmp_path / "lake")])
    assert again.exit_code == 1
    assert "rotate" in again.output
    second = told("sender", "key", "rotate", "330100000000")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["key"] != second["key"]
    assert keys() == 2
    assert first["key"] not in CliRunner().invoke(main, ["secret", "list", "--home", str(tmp_path / "lake")]).output
    told("sender", "key", "revoke", "330100000000")
    assert keys() == 0
