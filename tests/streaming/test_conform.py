"""Conformance: every contract's cases come out as promised, the sender's own deliveries are judged, certificates verify and forged ones do not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gridlake import contracts, senders, vocabularies
from gridlake.contracts import Contract
from gridlake.credentials import Secrets
from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.senders import Sender
from gridlake.settings import Settings
from gridlake.signatures import sign
from gridlake.signing import PublicKey, SignatureError, SigningKey, canonical
from streaming.conform import certificate
from streaming.conform.cases import ACCEPTED, DUPLICATE, EMPTY, REFUSED, WHOLE, CaseMaker
from streaming.conform.command import conform
from streaming.conform.folder import FolderSandbox
from tests.conftest import needs_java
from tests.streaming.broker import TestBroker
from tests.streaming.pushing import CLIENT

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NINGBO = "330200000000"
DECLARED = Settings(contracts=None)
SENDERS = senders.load_all(DECLARED)
WORDS = vocabularies.load_all(DECLARED)
REGIONS = RegionTree(WORDS.regions)
CONTRACTS = contracts.load_all(DECLARED)


def sender_of(contract: Contract) -> Sender:
    """The last sender that may send it: for the cities not Hangzhou, whose regions the examples have."""
    return [s for s in SENDERS.values() if s.may_send(contract.source, contract.feed, contract.version)][-1]


def maker(contract: Contract, mark: str = "a1b2", sender: Sender | None = None) -> CaseMaker:
    return CaseMaker(contract, sender or sender_of(contract), WORDS, REGIONS, mark, NOW)


def call(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """`gridlake conform` with a lake in the folder; gives exit code and document."""
    home = ["--home", str(folder / "lake"), "--inbox", str(folder / "inbox")]
    done = CliRunner().invoke(
        conform, [*arguments[:1], *home, *arguments[1:], "--json"] if arguments[:1] == ("status",) else [*home, *arguments, "--json"]
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, json.loads(done.stdout)


def test_every_kind_of_case_is_made_for_the_event_feed() -> None:
    made = {case.id: case for case in maker(CONTRACTS["city_platform__event"]).cases(50)}
    assert {
        "accept",
        "reject",
        "wrong_type",
        "missing_required",
        "unknown_column",
        "unknown_code",
        "out_of_limits",
        "unknown_region",
        "foreign_region",
    } <= set(made)
    assert {
        "broken_encoding",
        "broken_json",
        "huge_value",
        "repeat",
        "out_of_order",
        "delete",
        "csv",
        "gzip",
        "damaged_file",
        "empty",
        "volume",
    } <= set(made)
    contract = CONTRACTS["city_platform__event"]
    assert len(made["reject"].expected) == len(contract.reject)
    assert {e.field for e in made["missing_required"].expected} == {c.name for c in contract.columns if c.required}
    assert {e.field for e in made["wrong_type"].expected} == {c.name for c in contract.columns}
    assert [e.state for e in made["repeat"].expected] == [ACCEPTED, DUPLICATE, DUPLICATE]
    assert (made["empty"].expected[0].state, made["damaged_file"].expected[0].state) == (EMPTY, WHOLE)
    assert len(made["volume"].expected) == 50


@pytest.mark.parametrize("feed", list(CONTRACTS))
def test_cases_can_be_made_for_every_contract(feed: str) -> None:
    contract = CONTRACTS[feed]
    made = {case.id: case for case in maker(contract).cases(40)}
    assert len(made) >= 18
    # Regions of Hangzhou in an example would be foreign to the others; none is left out for it.
    assert len(made["accept"].expected) == len(contract.accept)
    assert len(made["reject"].expected) >= len(contract.reject) - 1
    assert len(made["volume"].expected) == 40
    assert all(
        case.content.count(b"\n") == len(case.expected) for case in made.values() if case.suffix == ".jsonl" and case.expected[0].state != EMPTY
    )


@pytest.mark.parametrize("feed", ["city_platform__event", "city_platform__team_member", "city_platform__region"])
def test_a_sandbox_folder_shows_every_case_as_the_contract_promises(feed: str, tmp_path: Path) -> None:
    contract = CONTRACTS[feed]
    box = FolderSandbox(tmp_path / "box", Settings(), tmp_path / "sandbox", contract, sender_of(contract))
    cases = maker(contract).cases(100)
    shown = box.show(cases, "a1b2")
    wrong = {
        case.id: [
            (n, str(e), str(c)) for n, (e, c) in enumerate(zip(case.expected, shown[case.id].came, strict=True), 1) if not certificate.fits(e, c)
        ]
        for case in cases
    }
    assert {name: rows for name, rows in wrong.items() if rows} == {}
    # And again, with files of the first time taken away and nothing a repeat of it.
    again = FolderSandbox(tmp_path / "box", Settings(), tmp_path / "sandbox", contract, sender_of(contract)).show(
        maker(contract, "c3d4").cases(100), "c3d4"
    )
    assert {name: [c.state for c in s.came] for name, s in again.items()} == {name: [c.state for c in s.came] for name, s in shown.items()}


def test_a_platform_that_does_otherwise_gets_no_certificate(tmp_path: Path) -> None:
    contract = CONTRACTS["city_platform__event"]
    lax = replace(contract, rules=(), columns=tuple(replace(c, code_list=None) for c in contract.columns))
    box = FolderSandbox(tmp_path / "box", Settings(), tmp_path / "sandbox", lax, sender_of(contract))
    cases = [case for case in maker(contract).cases(10) if case.id in {"accept", "reject", "unknown_code"}]
    shown = box.show(cases, "a1b2")
    found = certificate.document(
        contract, sender_of(contract), WORDS, {"kind": "folder", "address": "box"}, {c.id: (c, shown[c.id]) for c in cases}, None
    )
    assert {case["id"]: case["passed"] for case in found["cases"]} == {"accept": True, "reject": False, "unknown_code": False}
    assert (found["result"], found["counts"]["failed"]) == ("failed", 2)
    data, page = certificate.write(found, tmp_path / "out")
    assert data.name.startswith("report-")
    assert "未通过" in page.read_text(encoding="utf-8")


def test_a_sender_passes_step_by_step(tmp_path: Path) -> None:
    """Nothing of its own; then deliveries with a refused row that it has not corrected; then all that joint debugging asks for."""
    box, given = tmp_path / "box", ["--sender", NINGBO, "--feed", "event", "--volume", "20"]
    box.mkdir()
    place = box / "city_platform" / "event" / NINGBO
    code, unfinished = call(tmp_path, *given, "--endpoint", str(box), "--complete")
    assert (code, unfinished["result"]) == (1, "failed")

    rows = maker(CONTRACTS["city_platform__event"], "zz99", SENDERS[NINGBO]).plain(25)
    put(place / "1.jsonl", [*rows[:24], {**rows[24], "class_code": "8888"}])
    code, second = call(tmp_path, *given, "--endpoint", str(box))
    failed = {f["id"]: f for f in second["findings"] if not f["passed"] and not f["is_advice"]}
    assert (code, second["result"]) == (1, "failed")
    assert set(failed) == {"own_corrected", "own_new_versions", "own_deletes", "own_repeats"}
    assert "code_list/class_code" in failed["own_corrected"]["came"]
    assert "代码表" in failed["own_corrected"]["remedy"]

    put(place / "2.jsonl", [rows[24], {**rows[0], "source_version": 2, "changed_at": "2026-03-02 09:00:00"}])
    put(place / "3.jsonl", [{"event_id": rows[1]["event_id"], "_op": "delete", "source_version": 2, "changed_at": "2026-03-02 09:00:00"}])
    put(place / "4.jsonl", rows[:24])
    code, third = call(tmp_path, *given, "--endpoint", str(box))
    assert (code, third["result"], third["level"]) == (0, "passed", "complete")
    assert [(d["file_name"], d["accepted"], d["refused"], d["duplicate"]) for d in third["deliveries"]] == [
        ("1.jsonl", 24, 1, 0), ("2.jsonl", 2, 0, 0), ("3.jsonl", 1, 0, 0), ("4.jsonl", 0, 0, 24),
    ]  # fmt: skip
    page = Path(third["files"][1]).read_text(encoding="utf-8")
    assert "数据接口联调通过证书" in page
    assert "宁波市基层治理平台" in page

    _, standing = call(tmp_path, "status")
    states = {(row["sender"], row["feed"]): row["state"] for row in standing["feeds"]}
    assert states[NINGBO, "city_platform.event"] == "complete"
    assert set(states.values()) == {"complete", "nothing"}
    assert not (tmp_path / "lake").exists(), "production's lake is not touched"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TestBroker]:
    needs_java()
    started = TestBroker(tmp_path / "broker")
    yield started
    started.close()


@contextmanager
def push_server(home: Path) -> Iterator[str]:
    """`gridlake land http` on a sandbox lake; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from gridlake.cli import main; main()", "land", "http", "--port", "0", "--home", str(home), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(timeout=60)


def put(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a certificate, the folder of the lake beside whose key it was signed)."""
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "box").mkdir()
    code, found = call(folder, "--sender", NINGBO, "--feed", "event", "--endpoint", str(folder / "box"), "--volume", "5")
    assert code == 0
    return Path(found["files"][0]), folder


def test_a_certificate_is_verified_offline_with_the_public_key_alone(passed: tuple[Path, Path], tmp_path: Path) -> None:
    path, folder = passed
    key = tmp_path / "platform.pub"
    key.write_bytes((folder / "lake.signing.pem.pub").read_bytes())
    done = CliRunner().invoke(conform, ["verify", str(path), "--public-key", str(key), "--home", str(tmp_path / "elsewhere"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["contract"]["version"] == CONTRACTS["city_platform__event"].version
    assert (folder / "lake.signing.pem").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"level": "complete"}, "changed after it was signed"),
        ({"sender": {"code": "330300000000", "name": "温州", "name_en": "Wenzhou"}}, "changed after it was signed"),
        ({"signature": None}, "never signed"),
    ],
)
def test_a_changed_certificate_is_refused(passed: tuple[Path, Path], change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path, folder = passed
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    done = CliRunner().invoke(conform, ["verify", str(forged), "--public-key", str(folder / "lake.signing.pem.pub")])
    assert done.exit_code == 1
    assert said in done.stderr


def test_a_certificate_of_another_key_is_refused(passed: tuple[Path, Path], tmp_path: Path) -> None:
    path, _ = passed
    stranger = SigningKey.load(tmp_path / "stranger.pem")
    done = CliRunner().invoke(conform, ["verify", str(path), "--public-key", str(tmp_path / "stranger.pem.pub")])
    assert done.exit_code == 1
    assert f"this is key {stranger.public.id}" in done.stderr
    own = stranger.sign(json.loads(path.read_text(encoding="utf-8")))
    PublicKey.load(tmp_path / "stranger.pem.pub").verify(own)
    with pytest.raises(SignatureError):
        PublicKey.load(tmp_path / "stranger.pem.pub").verify({**own, "feed": "x"})


def test_what_is_signed_does_not_depend_on_the_order_of_members() -> None:
    assert canonical({"b": 1, "a": "中", "signature": 3}) == canonical({"a": "中", "b": 1}) == '{"a":"中","b":1}'.encode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sender", "nobody", "--feed", "event", "--endpoint", "box"], "no such sender"),
        (["--sender", NINGBO, "--feed", "weather", "--endpoint", "box"], "no such feed"),
        (["--sender", NINGBO, "--feed", "person", "--endpoint", "box"], "may not send public_security.person"),
        (["--sender", NINGBO, "--feed", "event", "--endpoint", "nowhere"], "no such folder"),
        (["--sender", NINGBO, "--feed", "event", "--endpoint", "inbox/deeper"], "production"),
        (["--sender", NINGBO, "--feed", "event", "--endpoint", "box", "--sandbox", "lake"], "production"),
    ],
)
def test_what_cannot_be_tested_is_said(arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("box", "inbox/deeper"):
        (tmp_path / folder).mkdir(parents=True)
    done = CliRunner().invoke(conform, arguments)
    assert done.exit_code == 1
    assert said in done.stderr


def test_the_cases_are_written_as_files_for_engineers(tmp_path: Path) -> None:
    done = CliRunner().invoke(conform, ["cases", "--sender", NINGBO, "--feed", "event", "--out", str(tmp_path / "pack"), "--volume", "10", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / "pack" / "cases.json").read_text(encoding="utf-8"))
    assert {p.name for p in (tmp_path / "pack").iterdir()} == {case["file"] for case in said["cases"]} | {"cases.json"}
    reject = next(case for case in said["cases"] if case["file"].endswith("reject.jsonl"))
    assert f"{REFUSED} required/class_code" in reject["expected"]


def test_a_row_that_waits_for_its_grid_is_the_platforms_to_finish() -> None:
    from streaming.conform.cases import Outcome
    from streaming.conform.folder import Came

    assert certificate.fits(Outcome(ACCEPTED), Came("waiting"))
    assert not certificate.fits(Outcome(REFUSED, "type", "a"), Came(REFUSED, (("type", "b"),)))
    assert not certificate.fits(Outcome(ACCEPTED), Came(DUPLICATE))


def test_a_run_is_of_the_sandbox(tmp_path: Path) -> None:
    contract = CONTRACTS["city_platform__grid"]
    box = FolderSandbox(tmp_path / "box", Settings(home=tmp_path / "lake"), tmp_path / "sandbox", contract, sender_of(contract))
    assert isinstance(box.run, Run)
    assert box.run.settings.home.is_relative_to(tmp_path / "sandbox")
    assert box.run.settings.keys.is_relative_to(tmp_path / "sandbox")


def test_a_push_server_shows_every_case_and_its_own_and_the_senders_rows_are_told_apart(tmp_path: Path) -> None:
    home, feed, sender = tmp_path / "box", "/feeds/city_platform/event", SENDERS[NINGBO]
    key = Secrets(home.with_name("box.secrets.json")).make(str(sender.http_secret), datetime.now(UTC), timedelta(0))
    rows = maker(CONTRACTS["city_platform__event"], "zz99", sender).plain(25)
    given = ["--sender", NINGBO, "--feed", "event", "--volume", "20", "--sandbox", str(home)]
    with push_server(home) as url:
        code, first = call(tmp_path, *given, "--endpoint", url)
        assert [(c["id"], c["came"], c["listed"]) for c in first["cases"] if not c["passed"]] == []
        assert (code, first["level"]) == (0, "channel")
        shown = {case["id"] for case in first["cases"]}
        assert {"unsigned", "forged_signature", "expired_signature", "changed_body", "repeated_nonce", "repeated_push", "reused_key"} <= shown
        assert {"accept", "reject", "repeat", "broken_encoding", "csv_gb18030", "damaged_file", "no_header", "empty", "volume"} <= shown

        def push(*pushed: dict[str, Any]) -> None:
            body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pushed).encode()
            headers = sign("POST", url + feed, key, NINGBO, body=body, headers={"content-type": "application/x-ndjson"})
            assert CLIENT.post(url + feed, content=body, headers=headers).status_code == 200

        push(*rows, {**rows[0], "source_version": 2})
        code, second = call(tmp_path, *given, "--endpoint", url)
        open_ones = {f["id"] for f in second["findings"] if not f["passed"] and not f["is_advice"]}
        assert (code, open_ones) == (1, {"own_deletes", "own_repeats"})
        push(rows[3], {"event_id": rows[1]["event_id"], "_op": "delete", "source_version": 2, "changed_at": "2026-03-02 09:00:00"})
        code, third = call(tmp_path, *given, "--endpoint", url)
    assert (code, third["result"], third["level"]) == (0, "passed", "complete")
    assert [(d["received"], d["accepted"], d["refused"], d["duplicate"]) for d in third["deliveries"]] == [(28, 27, 0, 1)]


def test_a_topic_shows_every_case_that_records_can_carry_and_the_senders_own_are_told_apart(tmp_path: Path, broker: TestBroker) -> None:
    topic = f"city_platform.event.{NINGBO}"
    given = ["--sender", NINGBO, "--feed", "event", "--volume", "20", "--endpoint", f"kafka://{broker.address}"]
    code, missing = call(tmp_path, *given)
    assert code == 1
    assert f"no topic {topic}" in missing["message"]
    broker.topic(topic, 2)
    code, first = call(tmp_path, *given)
    assert [(c["id"], c["came"], c["listed"]) for c in first["cases"] if not c["passed"]] == []
    assert (code, first["level"]) == (0, "channel")
    shown = {case["id"] for case in first["cases"]}
    assert {
        "accept",
        "reject",
        "wrong_type",
        "foreign_region",
        "broken_encoding",
        "repeat",
        "out_of_order",
        "delete",
        "huge_value",
        "volume",
    } <= shown
    assert not shown & {"csv", "gzip", "empty", "damaged_file"}

    rows = maker(CONTRACTS["city_platform__event"], "zz99", SENDERS[NINGBO]).plain(25)
    gone = {"event_id": rows[1]["event_id"], "_op": "delete", "source_version": 2, "changed_at": "2026-03-02 09:00:00"}
    broker.send(topic, [*rows, {**rows[0], "source_version": 2}, {**rows[2], "class_code": "8888"}], partition=1)
    broker.send(topic, [rows[3], gone], partition=1)
    code, second = call(tmp_path, *given)
    assert (code, second["result"], second["level"]) == (0, "passed", "complete")
    assert [(d["received"], d["accepted"], d["refused"], d["duplicate"]) for d in second["deliveries"]] == [(29, 27, 1, 1)]
