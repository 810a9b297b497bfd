"""Signed reports reach a real SMTP server once each, to their own region, whatever is killed or refused on the way."""

from __future__ import annotations

import asyncio
import email
import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import aiosmtpd.smtp
import docx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gridlake.cli import main
from gridlake.credentials import CredentialError
from gridlake.settings import CHECKOUT, Settings
from gridlake.signing import SigningKey
from serving.reports import issues, subjects
from serving.reports import smtp as mail_server
from serving.reports.declaration import FOLDER, Report, load, load_reports
from serving.reports.issues import Issue
from serving.reports.making import documents, make
from serving.reports.period import Period
from serving.reports.recipients import Recipient, RecipientError, Recipients
from serving.reports.results import ask
from serving.reports.smtp import Connection, MailError
from serving.snapshots import Snapshot, Snapshots

WEEK = Period.named("2026-W09")
PROVINCE, HANGZHOU, NINGBO = "330000000000", "330100000000", "330200000000"
SIGNED_AT = datetime(2026, 3, 3, 1, tzinfo=UTC)
NOW = "2026-03-03T09:00:00Z"
ADDRESSES = f"""
- {{region: {PROVINCE}, role: 政法委, addresses: [wang@zj.example.cn]}}
- {{region: {HANGZHOU}, role: 社会治理中心, addresses: [zhou@hz.example.cn, li@hz.example.cn]}}
- {{region: {NINGBO}, role: 社会治理中心, addresses: [chen@nb.example.cn]}}
"""
# The region that an address is in, by its domain, and the name that its report has in its head.
OF = {"zj.example.cn": "浙江省", "hz.example.cn": "杭州市", "nb.example.cn": "宁波市"}


class Sink:
    """What an SMTP server was given, and what it is to answer to which address."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.answers: dict[str, str] = {}
        self.is_silent_for: str | None = None

    async def handle_RCPT(self, server: aiosmtpd.smtp.SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: aiosmtpd.smtp.SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if envelope.rcpt_tos == [self.is_silent_for]:
            await asyncio.Event().wait()
        assert isinstance(envelope.content, bytes)
        self.taken += [(address, envelope.content) for address in envelope.rcpt_tos]
        return "250 taken"

    @property
    def messages(self) -> list[tuple[str, EmailMessage]]:
        """By whom they are for."""
        found = [(to, email.message_from_bytes(content, policy=SMTP)) for to, content in self.taken]
        return [(to, message) for to, message in found if isinstance(message, EmailMessage)]

    @property
    def ids(self) -> list[str]:
        """Message-IDs in the order in which they came."""
        return [str(message["Message-ID"]) for _, message in self.messages]


class _AtAnyPort(Controller):
    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def listening(sink: Sink, **given: Any) -> Iterator[int]:
    """The port at which the sink listens."""
    controller = _AtAnyPort(sink, hostname="127.0.0.1", port=0, **given)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    """A server that takes everything, which GRIDLAKE_SMTP names."""
    found = Sink()
    with listening(found) as port:
        monkeypatch.setenv("GRIDLAKE_SMTP", f"smtp://127.0.0.1:{port}?timeout=20")
        monkeypatch.setenv("GRIDLAKE_SMTP_FROM", "平安办 <report@zj.example.cn>")
        yield found


@pytest.fixture(scope="module")
def made(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published lake with the weekly drafts of the province and two cities."""
    lake = tmp_path_factory.mktemp("mailed") / "lake"
    shutil.copytree(home, lake, symlinks=True, ignore=shutil.ignore_patterns("tables", "reports"))
    snapshot, report = Snapshots(lake).open(), load(FOLDER / "weekly")
    found = make(lake, snapshot, report, [subjects.find(snapshot, report, code) for code in (PROVINCE, HANGZHOU, NINGBO)], WEEK, ("docx",))
    assert found.stopped == []
    return lake


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Path:
    """A copy of it with everybody's addresses; the reports of the province and of Hangzhou are signed off."""
    own = Path(shutil.copytree(made, tmp_path / "lake", symlinks=True))
    _addresses(own, ADDRESSES)
    for code in (PROVINCE, HANGZHOU):
        _sign(own, code)
    return own


@pytest.fixture(scope="module")
def declared() -> dict[str, Report]:
    """The reports that there are."""
    return load_reports(Settings())


def _addresses(home: Path, text: str) -> Path:
    path = home.with_name("lake.recipients.yml")
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def _sign(home: Path, code: str, edition: int = 1) -> Issue:
    issue = issues.find(home, f"weekly/{WEEK}/{code}/{edition}")
    issues.sign(issue, SigningKey.load(home.with_name("lake.signing.pem")), "张主任", SIGNED_AT)
    return issue


def _send(home: Path, *arguments: str, ends_with: int = 0, now: str = NOW) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["report", "send", *arguments, "--home", str(home), "--as-of", now, "--json"], catch_exceptions=False)
    assert done.exit_code == ends_with, done.output
    for place in (done.output, *(path.read_text(encoding="utf-8") for path in (home / "reports" / "_mail").rglob("*.json"))):
        assert "wang@" not in place
        assert "zhou@" not in place
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _attached(message: EmailMessage) -> tuple[str, docx.document.Document]:
    (part,) = message.iter_attachments()
    assert part.get_content_type() == "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    return str(part.get_filename()), docx.Document(io.BytesIO(part.get_content()))


def _text(message: EmailMessage, kind: str = "plain") -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def _strays(sink: Sink) -> list[str]:
    """To whom the report of another region came."""
    found = [(to, "\n".join(p.text for p in _attached(message)[1].paragraphs[:5])) for to, message in sink.messages]
    return [to for to, head in found if OF[to.rpartition("@")[2]] not in head]


def test_a_signed_report_arrives_whole_and_once(lake: Path, sink: Sink) -> None:
    answer = _send(lake)
    assert sorted(to for to, _ in sink.messages) == ["li@hz.example.cn", "wang@zj.example.cn", "zhou@hz.example.cn"]
    assert {entry["recipient"] for entry in answer["sent"]} == {"l***@hz.example.cn", "w***@zj.example.cn", "z***@hz.example.cn"}

    message = dict(sink.messages)["zhou@hz.example.cn"]
    assert message["Subject"] == "平安法治周报：杭州市 2026年第9周（2月23日至3月1日）"
    assert message["From"].addresses[0].display_name == "平安办"
    assert (message["To"], message["Auto-Submitted"]) == ("zhou@hz.example.cn", "auto-generated")
    assert message["List-Id"] == "<weekly.reports.zj.example.cn>"
    assert message["Date"].datetime.utcoffset() == timedelta(hours=8)
    assert len(set(sink.ids)) == 3

    name, document = _attached(message)
    assert name == "平安法治周报_杭州市_2026-W09.docx"
    said = [p.text for p in document.paragraphs]
    issue = issues.find(lake, f"weekly/{WEEK}/{HANGZHOU}")
    archive = json.loads(issue.archive)
    for kind in ("plain", "html"):
        text = _text(message, kind)
        assert next(line for line in said if line.startswith("2026年第9周")) in text, "the sentences of the report"
        assert "数据完整性：13 个县（市、区）中 13 个已报送。" in text
        assert archive["snapshot"]["id"] in text
        assert "第1版，2026年3月3日 09:00 签发。" in text
        assert "张主任" not in text
    raw = dict(sink.taken)["zhou@hz.example.cn"]
    assert raw.isascii()
    assert b"filename*0*=utf-8''" in raw or b"filename*=utf-8''" in raw
    assert max(map(len, raw.splitlines())) <= 998

    again = _send(lake)
    assert (again["sent"], again["sent_before"], len(sink.taken)) == ([], 3, 3)


def test_what_is_not_signed_off_or_long_past_or_altered_is_not_mailed(lake: Path, sink: Sink) -> None:
    planned = _send(lake, "--dry-run")
    assert [(e["subject_name"], e["recipient"]) for e in planned["would_send"]] == [
        ("浙江省", "w***@zj.example.cn"), ("杭州市", "z***@hz.example.cn"), ("杭州市", "l***@hz.example.cn"),
    ]  # fmt: skip
    assert planned["unsigned"] == ["weekly 330200000000 2026-W09 edition 1"]
    assert _send(lake, now="2026-04-04T00:00:00Z")["sent"] == []

    page = issues.find(lake, f"weekly/{WEEK}/{PROVINCE}").files[0]
    page.chmod(0o644)
    page.write_bytes(page.read_bytes() + b" ")
    answer = _send(lake, "--issue", f"weekly/{WEEK}/{PROVINCE}", ends_with=1, now="2026-04-04T00:00:00Z")
    assert answer["stopped"] == [f"weekly {PROVINCE} 2026-W09: not mailed: {page.name}: changed after it was signed"]
    assert sink.taken == []
    answer = _send(lake, "--issue", f"weekly/{WEEK}/{HANGZHOU}", now="2026-04-04T00:00:00Z")
    assert [to for to, _ in sink.taken] == ["zhou@hz.example.cn", "li@hz.example.cn"]


def test_nobody_gets_the_report_of_another_region(lake: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    _sign(lake, NINGBO)
    _send(lake)
    assert len(sink.taken) == 4
    assert _strays(sink) == []
    # Without the rule the same look finds them.
    everybody = [Recipient(f"chief@{domain}", "政法委") for domain in OF]
    monkeypatch.setattr(Recipients, "of", lambda *_: everybody)
    _send(lake)
    assert len(_strays(sink)) == 6


def test_levels_lead_to_the_regions_below_and_never_up(lake: Path, snapshot: Snapshot, declared: dict[str, Report]) -> None:

    def who(text: str, code: str, report: str = "weekly") -> list[str]:
        found = Recipients.load(_addresses(lake, text), declared, snapshot)
        return [one.masked for one in found.of(declared[report], {"kind": "region", "system": "cn", "code": code})]

    below = f"- {{region: {PROVINCE}, role: 政法委, addresses: [wang@zj.example.cn], levels: [2], reports: [weekly]}}"
    assert [len(who(below, code)) for code in (PROVINCE, HANGZHOU, NINGBO, "330106000000")] == [0, 1, 1, 0]
    assert who(below, HANGZHOU, "monthly") == []
    twice = ADDRESSES + f"- {{region: {HANGZHOU}, role: 政法委, addresses: [ZHOU@hz.example.cn]}}"
    assert who(twice, HANGZHOU) == ["z***@hz.example.cn", "l***@hz.example.cn"], "an address that has two roles gets it once"
    sender = f"- {{sender: {HANGZHOU}, role: 报送联络人, addresses: [zhou@hz.example.cn]}}"
    assert who(sender, HANGZHOU) == [], "its sender's quality is not its region's report"
    found = Recipients.load(_addresses(lake, sender), declared, snapshot)
    assert len(found.of(declared["feed_quality"], {"kind": "sender", "system": "cn", "code": HANGZHOU})) == 1
    assert declared["weekly"].recipients == declared["monthly"].recipients == ("政法委", "社会治理中心")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{region: 330100000000, role: 政法委, addresses: [zhou.hz.example.cn]}", r"entry 2: addresses 1: expected .* came z\*\*\*; correct it"),
        ("{region: 330100000000, role: 政法委, addresses: ['zhou@hz.cn, li@hz.cn']}", r"expected an address .* came z\*\*\*@hz.cn"),
        ("{region: 330100000000, role: 政法委, addresses: ['zhou@hz.cn\\r\\nBcc: li@hz.cn']}", "expected an address"),
        ("{region: 330100000000, role: 政法委, addresses: [周@hz.cn]}", "in ASCII"),
        ("{region: 339900000000, role: 政法委, addresses: [zhou@hz.cn]}", "region: expected one of snapshot .*'339900000000': unknown"),
        ("{sender: 339900000000, role: 报送联络人, addresses: [zhou@hz.cn]}", "sender: expected one of snapshot .* came 339900000000"),
        ("{region: 330100000000, role: 局长, addresses: [zhou@hz.cn]}", "role: expected 政法委、社会治理中心, came 局长"),
        ("{region: 330100000000, role: 政法委, reports: [daily], addresses: [zhou@hz.cn]}", "reports: expected reports of a region, .* came daily"),
        ("{region: 330100000000, role: 政法委, reports: [operating_quality], addresses: [zhou@hz.cn]}", "that go to 政法委, came operating"),
        ("{region: 330100000000, role: 政法委, levels: [1], addresses: [zhou@hz.cn]}", "levels: expected 2 or a higher number, .* came 1"),
        ("{region: 330100000000, sender: 330100000000, role: 政法委, addresses: [zhou@hz.cn]}", "give one of them"),
        ("{region: 330100000000, role: 政法委, address: zhou@hz.cn}", "entry 2 addresses: Field required; entry 2 address: Extra inputs"),
        ("{region: 330100000000, role: 政法委", "expected YAML, came something else: line"),
    ],
)  # fmt: skip
def test_a_file_of_recipients_that_cannot_be_followed_is_refused_without_an_address_in_the_clear(
    tmp_path: Path, snapshot: Snapshot, declared: dict[str, Report], entry: str, said: str
) -> None:
    path = _addresses(tmp_path / "lake", f"- {{region: {PROVINCE}, role: 政法委, addresses: [wang@zj.example.cn]}}\n- {entry}\n")
    with pytest.raises(RecipientError, match=said) as refused:
        Recipients.load(path, declared, snapshot)
    assert "zhou@" not in str(refused.value)
    path.chmod(0o640)
    with pytest.raises(CredentialError, match="others may read it"):
        Recipients.load(path, declared, snapshot)


def test_one_who_is_refused_holds_up_no_other_and_is_tried_again(lake: Path, sink: Sink) -> None:
    sink.answers = {"zhou@hz.example.cn": "550 5.1.1 <zhou@hz.example.cn>: no such user", "wang@zj.example.cn": "451 4.7.1 Greylisted, come again"}
    answer = _send(lake, ends_with=1)
    assert [to for to, _ in sink.taken] == ["li@hz.example.cn"]
    (refused,), (deferred,) = answer["refused"], answer["deferred"]
    assert (refused["recipient"], refused["code"], refused["words"]) == ("z***@hz.example.cn", 550, "5.1.1 <z***@hz.example.cn>: no such user")
    assert (deferred["recipient"], deferred["code"], deferred["words"]) == ("w***@zj.example.cn", 451, "4.7.1 Greylisted, come again")

    sink.answers = {}
    answer = _send(lake)
    assert (len(answer["sent"]), answer["sent_before"]) == (2, 1)
    assert sorted(to for to, _ in sink.taken) == ["li@hz.example.cn", "wang@zj.example.cn", "zhou@hz.example.cn"]


def test_a_server_that_falls_silent_is_left_and_its_message_sent_again_by_the_same_id(
    lake: Path, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.is_silent_for = "wang@zj.example.cn"
    monkeypatch.setenv("GRIDLAKE_SMTP", os.environ["GRIDLAKE_SMTP"].replace("timeout=20", "timeout=0.5"))
    answer = _send(lake, ends_with=1)
    ((deferred, words),) = [(entry["message_id"], entry["words"]) for entry in answer["deferred"]]
    assert "timed out" in words
    assert sorted(to for to, _ in sink.taken) == ["li@hz.example.cn", "zhou@hz.example.cn"]
    sink.is_silent_for = None
    assert [entry["message_id"] for entry in _send(lake)["sent"]] == [deferred]


def test_a_sender_killed_after_the_server_took_a_message_doubles_that_one_under_its_id(lake: Path, sink: Sink) -> None:
    command = [sys.executable, "-c", "from gridlake.cli import main; main()", "report", "send", "weekly", "--home", str(lake), "--as-of", NOW]
    killed = subprocess.run(command, cwd=CHECKOUT, env=os.environ | {"GRIDLAKE_KILL_AT": "mail.between_taken_and_ledger:2"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    first = sink.ids
    assert len(first) == 2
    answer = _send(lake)
    assert answer["sent_before"] == 1
    assert sink.ids[2] == first[1], "the one that was on its way"
    assert (len(sink.ids), len(set(sink.ids))) == (4, 3)
    assert _send(lake)["sent"] == []


def test_a_restatement_is_mailed_when_it_is_signed_and_says_what_changed(lake: Path, sink: Sink) -> None:
    _send(lake)
    before = {to: message["Message-ID"] for to, message in sink.messages}
    sink.taken.clear()
    # One event came late.
    snapshot, report = Snapshots(lake).open(), load(FOLDER / "weekly")
    subject = subjects.find(snapshot, report, HANGZHOU)
    ((key, results),) = ask(snapshot, report, "cn", [subject], WEEK).results.items()
    row = next(row for row in results["numbers"] if row["which"] == "now")
    was = row["event_count"]
    row["event_count"] = was + 1
    planned = issues.plan(lake, snapshot, report, subject, WEEK, results)
    issues.write(lake, planned, documents(report, planned.archived, ()))
    assert key
    answer = _send(lake)
    assert (answer["sent"], answer["unsigned"]) == ([], ["weekly 330100000000 2026-W09 edition 2", "weekly 330200000000 2026-W09 edition 1"])

    _sign(lake, HANGZHOU, edition=2)
    _send(lake)
    assert [to for to, _ in sink.taken] == ["zhou@hz.example.cn", "li@hz.example.cn"]
    for to, message in sink.messages:
        assert message["Subject"] == "【更正第1号】平安法治周报：杭州市 2026年第9周（2月23日至3月1日）"
        assert message["In-Reply-To"] == before[to] != message["Message-ID"]
        for kind in ("plain", "html"):
            assert "更正第1号：取代第1版，1 处不同：" in _text(message, kind)
            assert f"关键数据，本周，上报事件：{was:,} → {was + 1:,}" in _text(message, kind)
        name, document = _attached(message)
        assert name == "平安法治周报_杭州市_2026-W09_更正第1号.docx"
        assert "第2版（更正，取代第1版）" in "\n".join(p.text for p in document.paragraphs)
    with pytest.raises(AssertionError, match="edition 2 has taken its place"):
        _send(lake, "--issue", f"weekly/{WEEK}/{HANGZHOU}/1")


def test_a_report_that_does_not_wait_for_a_signature_says_that_it_is_a_draft(lake: Path, sink: Sink, tmp_path: Path) -> None:
    own = tmp_path / "contracts" / "reports" / "weekly"
    shutil.copytree(FOLDER / "weekly", own)
    path = own / "report.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("mail:\n", "mail:\n  signed_only: false\n"), encoding="utf-8")
    _addresses(lake, f"- {{region: {NINGBO}, role: 政法委, addresses: [chen@nb.example.cn]}}")
    given = ("--contracts", str(tmp_path / "contracts"))
    _send(lake, *given)
    _send(lake, *given)
    assert [str(message["Subject"]).partition("平安")[0] for _, message in sink.messages] == ["【未签发稿】"]
    _sign(lake, NINGBO)
    _send(lake, *given)
    assert [str(message["Subject"]).partition("平安")[0] for _, message in sink.messages] == ["【未签发稿】", ""]
    path.write_text(path.read_text(encoding="utf-8").replace("mail:\n", "mail:\n  formats: [docx, pdf]\n"), encoding="utf-8")
    _addresses(lake, f"- {{region: {PROVINCE}, role: 政法委, addresses: [wang@zj.example.cn]}}")
    assert "expected pdf as report.yml mails it" in _send(lake, *given, ends_with=1)["stopped"][0]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed but itself, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


def _let_in(*arguments: Any) -> AuthResult:
    given = arguments[-1]
    return AuthResult(success=isinstance(given, LoginPassword) and given.password == b"right", handled=False)


def _with_starttls(context: ssl.SSLContext) -> dict[str, Any]:
    return {"tls_context": context, "require_starttls": True}


def _with_tls(context: ssl.SSLContext) -> dict[str, Any]:
    return {"ssl_context": context, "auth_require_tls": False}


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize(("security", "given"), [("starttls", _with_starttls), ("tls", _with_tls)])
def test_a_password_goes_out_only_under_a_certificate_that_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, security: Any, given: Callable[[ssl.SSLContext], dict[str, Any]]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    sink, message = Sink(), EmailMessage(policy=SMTP)
    message["Subject"] = "平安法治周报"
    sender = mail_server.server(Settings(smtp="smtp://127.0.0.1", smtp_from="report@zj.example.cn")).sender
    with listening(sink, **given(context), authenticator=_let_in, auth_required=True) as port:

        def send(password: str) -> str:
            server = mail_server.Server("localhost", port, sender, security, 5.0, "gridlake", password)
            with Connection(server) as connection:
                return connection.send(message, "zhou@hz.example.cn").outcome

        with pytest.raises(MailError, match="expected a certificate that this machine trusts"):
            send("right")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(MailError, match="expected to be let in as GRIDLAKE_SMTP_USER, came 535"):
            send("wrong")
        assert sink.taken == []
        assert send("right") == "sent"
        assert len(sink.taken) == 1


def test_a_server_without_tls_is_not_told_a_report(sink: Sink) -> None:
    found = mail_server.server(Settings())
    assert found.security == "none", "on this machine"
    with (
        Connection(mail_server.Server(found.host, found.port, found.sender, "starttls", 5.0)) as connection,
        pytest.raises(MailError, match="STARTTLS"),
    ):
        connection.send(EmailMessage(), "zhou@hz.example.cn")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "in GRIDLAKE_SMTP, it is not set"),
        ({"smtp": "smtp://gridlake:secret@mail.example.cn"}, "expected no user or password in it"),
        ({"smtp": "http://mail.example.cn"}, "expected smtp://"),
        ({"smtp": "smtp://mail.example.cn?tls=maybe"}, "expected smtp://"),
        ({"smtp": "smtp://mail.example.cn:smtp"}, "expected smtp://"),
        ({"smtp": "smtp://mail.example.cn?tls=off", "smtp_user": "gridlake"}, "expected TLS for the log-in"),
        ({"smtp": "smtp://mail.example.cn"}, "GRIDLAKE_SMTP_FROM: expected one address"),
        ({"smtp": "smtp://mail.example.cn", "smtp_from": "a@example.cn, b@example.cn"}, "GRIDLAKE_SMTP_FROM: expected one address"),
    ],
)
def test_a_setting_of_the_server_that_cannot_be_followed_says_so(given: dict[str, str], said: str) -> None:
    with pytest.raises(MailError, match=said) as refused:
        mail_server.server(Settings(**given))  # type: ignore[arg-type]
    assert "secret@" not in str(refused.value)


def test_a_server_is_named_by_its_address_and_its_secret_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDLAKE_SECRET_SMTP", "right")
    found = mail_server.server(Settings(smtp="smtps://mail.example.cn", smtp_user="report@example.cn"))
    assert (found.port, found.security, found.user, found.password, found.sender.addr_spec) == (
        465,
        "tls",
        "report@example.cn",
        "right",
        "report@example.cn",
    )
    found = mail_server.server(Settings(smtp="smtp://mail.example.cn:25?tls=off&timeout=5", smtp_from="a@example.cn"))
    assert (found.port, found.security, found.seconds, found.password) == (25, "none", 5.0, None)
    assert mail_server.server(Settings(smtp="smtp://mail.example.cn", smtp_from="a@example.cn")).security == "starttls"
