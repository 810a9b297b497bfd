"""`gridlake conform` and `gridlake conform verify|status|cases`."""

from __future__ import annotations

import json
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gridlake import contracts, senders, vocabularies
from gridlake.cli import command_options, emit
from gridlake.contracts import Contract, Contracts
from gridlake.regions import RegionTree
from gridlake.runs import RunError
from gridlake.senders import Sender
from gridlake.settings import Settings
from gridlake.signing import SIGNATURE, PublicKey, SignatureError, SigningKey, public_half
from gridlake.tables import write_file
from streaming.conform import certificate, deliveries
from streaming.conform.cases import CaseMaker
from streaming.conform.deliveries import Landed
from streaming.conform.folder import FolderSandbox, Sandbox
from streaming.conform.pushed import PushSandbox

_MARK_LETTERS = 4


@click.group(invoke_without_command=True)
@click.option("--sender", "sender_code", help="The sender's code, e.g. 330100000000.")
@click.option("--feed", "feed_name", help="The feed, e.g. event or city_platform.event.")
@click.option("--endpoint", help="The sandbox: a folder with <source>/<feed>/<sender>/, http(s)://host:port or kafka://host:port.")
@click.option("--sandbox", type=click.Path(path_type=Path, file_okay=False), help="The sandbox's own lake. [default: <home>-sandbox]")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where certificates and reports go. [default: <home>-certificates]")
@click.option(
    "--volume", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="Rows of the case of volume, and asked of the sender."
)
@click.option("--complete", is_flag=True, help="Fail unless the sender has put test deliveries of its own into the sandbox.")
@click.pass_context
@command_options
def conform(
    ctx: click.Context,
    settings: Settings,
    as_json: bool,
    sender_code: str | None,
    feed_name: str | None,
    endpoint: str | None,
    sandbox: Path | None,
    out: Path | None,
    volume: int,
    complete: bool,
) -> None:
    """Joint debugging of a sender and a feed on a sandbox; a signed certificate where all is as the contract says.

    \b
    First every case that the contract promises is shown on the endpoint: its rows to accept and to refuse, wrong types, missing and unknown
    values, foreign regions, broken encoding, repeats, order, deletes, empty and damaged deliveries, volume. Then whatever the sender has put
    there itself is judged: accepted, corrected where refused, updated, deleted, repeated, at volume.
    On a server (gridlake land http --home <sandbox>) also: forged, expired and repeated signatures, and pushes repeated under their key.
    Nothing touches the lake of production. Exit code 0 only where everything required has passed.

    \b
    gridlake conform --sender 330100000000 --feed event --endpoint sandbox-inbox
    gridlake conform verify certificate.json --public-key lake.signing.pem.pub
    gridlake conform status                         who has passed which feed
    gridlake conform cases --sender … --feed … --out DIR    the cases as files, to send them yourself
    """
    if ctx.invoked_subcommand is not None:
        return
    missing = [name for name, value in (("--sender", sender_code), ("--feed", feed_name), ("--endpoint", endpoint)) if value is None]
    if missing:
        raise click.UsageError(f"{', '.join(missing)} missing; see `gridlake conform --help`")
    assert sender_code is not None
    assert feed_name is not None
    assert endpoint is not None
    known, rights = contracts.load_all(settings), senders.load_all(settings)
    sender = rights[sender_code] if sender_code in rights else _no_sender(sender_code, rights)
    contract = _feed_of(feed_name, known, sender)
    words = vocabularies.load_all(settings)
    home = sandbox or settings.home.with_name(settings.home.name + "-sandbox")
    _keep_apart(settings, home, endpoint)
    mark = _mark()
    maker = CaseMaker(contract, sender, words, RegionTree(words.regions), mark, datetime.now(UTC))
    box = _sandbox(endpoint, settings, home, contract, sender)
    cases = [box.fitting(case) for case in maker.cases(volume) if box.takes(case)]
    shown = box.show(cases, mark)
    pairs = {case.id: (case, shown[case.id]) for case in cases} | {case.id: (case, came) for case, came in box.own_cases(maker.plain(1)[0])}
    landed = box.own() or (Landed.nothing(contract) if complete else None)
    own = deliveries.judge(box.run, contract, sender, words, landed, volume) if landed else None
    found = certificate.document(contract, sender, words, {"kind": box.kind, "address": box.address}, pairs, own)
    if found["result"] == certificate.PASSED:
        found = SigningKey.load(settings.signing_key).sign(found)
    paths = certificate.write(found, out or _certificates(settings))
    emit({**found, "files": [str(p) for p in paths]}, as_json=as_json, text=lambda console: _print(console, found, paths))
    if found["result"] != certificate.PASSED:
        sys.exit(1)


@conform.command()
@click.argument("path", metavar="CERTIFICATE.json", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The platform's public key. [default: the one beside this lake]",
)
@command_options
def verify(settings: Settings, as_json: bool, path: Path, public_key: Path | None) -> None:
    """Whether a certificate stands as the platform signed it; needs the public key and no connection."""
    key_file = public_key or public_half(settings.signing_key)
    try:
        if not key_file.exists():
            raise SignatureError(f"{key_file}: no public key here; ask the platform for it and give it with --public-key")
        key = PublicKey.load(key_file)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SignatureError(f"{path}: expected a certificate as JSON; {error}") from error
        if not isinstance(found, dict) or found.get("document") != certificate.KIND:
            raise SignatureError(f"{path}: expected a document {certificate.KIND}; this is something else")
        key.verify(found)
    except SignatureError as error:
        raise RunError(str(error)) from error
    says = {
        "valid": True, "key_id": key.id, "id": found["id"], "issued_at": found["issued_at"], "level": found["level"], "result": found["result"],
        "sender": found["sender"]["code"], "feed": found["feed"], "contract": found["contract"], "counts": found["counts"],
    }  # fmt: skip

    def show(console: Console) -> None:
        console.print(f"[green]有效 valid[/green] {found['sender']['name']} {found['feed']} {found['contract']['version']}", highlight=False)
        console.print(
            f"  {_LEVELS[found['level']]}；{found['counts']['passed']} / {found['counts']['cases']} 项；{found['issued_at']}", highlight=False
        )
        console.print(f"  公钥编号 key {key.id}；适用合约版本 {found['contract']['valid_for']}", highlight=False, markup=False)

    emit(says, as_json=as_json, text=show)


@conform.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where certificates lie. [default: <home>-certificates]")
@command_options
def status(settings: Settings, as_json: bool, out: Path | None) -> None:
    """How far every sender is with every feed that it may send: nothing, channel, complete, or to be tested again."""
    rows = list(_standing(settings, out or _certificates(settings)))

    def show(console: Console) -> None:
        table = Table(title="联调进度")
        for heading in ("报送单位", "接口", "合约", "状态", "证书"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(f"{row['name']} {row['sender']}", row["feed"], row["contract_version"], _STATES[row["state"]], row["certificate"] or "")
        console.print(table)
        done = sum(row["state"] == certificate.COMPLETE for row in rows)
        console.print(f"{done} / {len(rows)} 个接口联调通过", highlight=False)

    emit({"feeds": rows}, as_json=as_json, text=show)


@conform.command()
@click.option("--sender", "sender_code", required=True, help="The sender's code.")
@click.option("--feed", "feed_name", required=True, help="The feed.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder to write into.")
@click.option("--volume", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="Rows of the case of volume.")
@command_options
def cases(settings: Settings, as_json: bool, sender_code: str, feed_name: str, out: Path, volume: int) -> None:
    """The cases as files with what must become of each row, for engineers who send them from their own system."""
    known, rights = contracts.load_all(settings), senders.load_all(settings)
    sender = rights[sender_code] if sender_code in rights else _no_sender(sender_code, rights)
    contract = _feed_of(feed_name, known, sender)
    words = vocabularies.load_all(settings)
    made = CaseMaker(contract, sender, words, RegionTree(words.regions), _mark(), datetime.now(UTC)).cases(volume)
    listed = []
    for number, case in enumerate(made, 1):
        name = f"{number:02d}-{case.id}{case.suffix}"
        write_file(out / name, case.content)
        expected = [str(e) for e in case.expected] if len(set(case.expected)) > 1 else [str(case.expected[0])]
        listed.append(
            {
                "file": name,
                "title": case.title,
                "title_en": case.title_en,
                "rows": len(case.expected),
                "expected": expected,
                "notes": list(case.notes),
            }
        )
    document = {"feed": f"{contract.source}.{contract.feed}", "contract_version": contract.version, "sender": sender.code, "cases": listed}
    write_file(out / "cases.json", json.dumps(document, ensure_ascii=False, indent=1).encode())
    emit(document, as_json=as_json, text=lambda console: console.print(f"{out}: {len(listed)} cases and cases.json", highlight=False, soft_wrap=True))


_LEVELS = {certificate.CHANNEL: "通道联通 channel", certificate.COMPLETE: "联调通过 complete"}
_NOTHING, _AGAIN, _DOUBTFUL = "nothing", "again", "unsigned"
_STATES = {
    certificate.COMPLETE: "[green]联调通过[/green]",
    certificate.CHANNEL: "[yellow]通道已通，自报数据未测[/yellow]",
    _NOTHING: "[dim]未开始[/dim]",
    _AGAIN: "[red]合约已换大版本，需重测[/red]",
    _DOUBTFUL: "[red]证书签名不符[/red]",
}


def _standing(settings: Settings, folder: Path) -> list[dict[str, Any]]:
    known, rights = contracts.load_all(settings), senders.load_all(settings)
    key_file = public_half(settings.signing_key)
    key = PublicKey.load(key_file) if key_file.exists() else None
    rows = []
    for sender in rights.values():
        for contract in known.values():
            if not sender.may_send(contract.source, contract.feed, contract.version):
                continue
            feed = f"{contract.source}.{contract.feed}"
            found = [json.loads(p.read_text(encoding="utf-8")) for p in (folder / feed / sender.code).glob("certificate-*.json")]
            best = max(found, key=lambda c: (c["level"] == certificate.COMPLETE, c["issued_at"]), default=None)
            row: dict[str, Any] = {"sender": sender.code, "name": sender.name, "feed": feed, "contract_version": contract.version}
            row |= {"state": _state(best, contract, key), "certificate": best and best["id"], "issued_at": best and best["issued_at"]}
            rows.append(row)
    return rows


def _state(found: dict[str, Any] | None, contract: Contract, key: PublicKey | None) -> str:
    if found is None:
        return _NOTHING
    try:
        if key is None:
            return _DOUBTFUL
        key.verify(found)
    except SignatureError:
        return _DOUBTFUL
    if not SpecifierSet(found["contract"]["valid_for"]).contains(Version(contract.version), prereleases=True):
        return _AGAIN
    return str(found["level"])


def _sandbox(endpoint: str, settings: Settings, home: Path, contract: Contract, sender: Sender) -> Sandbox:
    if endpoint.startswith(("http://", "https://")):
        return PushSandbox(endpoint, settings, home, contract, sender)
    if endpoint.startswith("kafka://"):
        from streaming.kafka.sandbox import TopicSandbox

        return TopicSandbox(endpoint, settings, home, contract, sender)
    if "://" in endpoint:
        raise RunError(f"--endpoint {endpoint}: expected a folder, http(s)://host:port or kafka://host:port")
    return FolderSandbox(Path(endpoint), settings, home, contract, sender)


def _certificates(settings: Settings) -> Path:
    return settings.home.with_name(settings.home.name + "-certificates")


def _mark() -> str:
    return "".join(secrets.choice("0123456789abcdefghijklmnopqrstuvwxyz") for _ in range(_MARK_LETTERS))


def _no_sender(code: str, rights: senders.Senders) -> Sender:
    raise RunError(f"--sender {code}: no such sender; there are {', '.join(rights)}")


def _feed_of(name: str, known: Contracts, sender: Sender) -> Contract:
    wanted = name.replace("__", ".")
    found = [c for c in known.values() if wanted in {c.feed, f"{c.source}.{c.feed}"}]
    if not found:
        raise RunError(f"--feed {name}: no such feed; there are {', '.join(f'{c.source}.{c.feed}' for c in known.values())}")
    allowed = [c for c in found if sender.may_send(c.source, c.feed, c.version)]
    if not allowed:
        raise RunError(
            f"--feed {name}: {sender.code} may not send {found[0].source}.{found[0].feed} {found[0].version}; "
            f"it may send {', '.join(sender.feeds)}; add the feed to its sender file"
        )
    if len(allowed) > 1:
        raise RunError(f"--feed {name}: several sources have it; say {' or '.join(f'{c.source}.{c.feed}' for c in allowed)}")
    return allowed[0]


def _keep_apart(settings: Settings, sandbox: Path, endpoint: str) -> None:
    """Nothing of a test may reach the lake or the inbox of production."""
    if "://" not in endpoint and not Path(endpoint).is_dir():
        raise RunError(f"--endpoint {endpoint}: no such folder; expected the sandbox's inbox <folder>/<source>/<feed>/<sender>/, create it first")
    places = [("--sandbox", sandbox, settings.home)] + ([] if "://" in endpoint else [("--endpoint", Path(endpoint), settings.inbox)])
    for what, place, forbidden in places:
        ours, theirs = place.resolve(), forbidden.resolve()
        if ours == theirs or ours.is_relative_to(theirs) or theirs.is_relative_to(ours):
            raise RunError(f"{what} {place}: lies in production's {theirs} or around it; give a sandbox its own folder")


def _print(console: Console, found: dict[str, Any], paths: tuple[Path, Path]) -> None:
    table = Table(title=f"{found['title']} {found['feed']} {found['contract']['version']} · {found['sender']['name']}")
    for heading in ("用例 case", "应有 expected", "实际 came", "", "如何处理 what to do"):
        table.add_column(heading, overflow="fold")
    for case in found["cases"]:
        verdict = "[green]通过[/green]" if case["passed"] else "[red]未通过[/red]"
        wrong = [f"第 {row['row']} 行 {row['note']}：应 {row['expected']}，实 {row['came']}" for row in case["listed"] if not row["passed"]][:5]
        todo = "\n".join(wrong) if wrong else ""
        table.add_row(f"{case['title']}\n{case['id']}", _said(case["expected"]), _said(case["came"]), verdict, escape(todo))
    for finding in found["findings"]:
        verdict = "[green]通过[/green]" if finding["passed"] else "[yellow]建议[/yellow]" if finding["is_advice"] else "[red]未通过[/red]"
        todo = "" if finding["passed"] else f"{finding['remedy']}\n{finding['remedy_en']}"
        table.add_row(f"{finding['title']}\n{finding['id']}", escape(finding["expected"]), escape(finding["came"]), verdict, escape(todo))
    console.print(table)
    counts = found["counts"]
    signed = f"，已签名 signed by {found[SIGNATURE]['key_id']}" if SIGNATURE in found else ""
    console.print(f"{counts['passed']} / {counts['cases']} 项通过：{_LEVELS[found['level']]}{signed}", highlight=False)
    if found["level"] == certificate.CHANNEL and found["result"] == certificate.PASSED:
        console.print("下一步：报送单位将自己的测试数据放入沙箱，再运行一次 / next: the sender's own test deliveries, then again", highlight=False)
    for path in paths:
        console.print(str(path), highlight=False, soft_wrap=True, markup=False)


def _said(states: dict[str, int]) -> str:
    return "\n".join(f"{state} {rows:,}" for state, rows in states.items())
