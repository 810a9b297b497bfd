"""The server that mails go through, as GRIDLAKE_SMTP names it, and a connection to it that tells refused from not now.

A password, and a report beyond this machine, goes out only under TLS with a certificate that is checked.
"""

from __future__ import annotations

import contextlib
import ipaddress
import smtplib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

from gridlake.credentials import Secrets
from gridlake.runs import RunError
from gridlake.settings import Settings

# The name of the secret with which GRIDLAKE_SMTP_USER logs in.
LOGIN = "smtp"
# Submission (RFC 6409), and submission under TLS from the first byte (RFC 8314).
_PORTS = {"smtp": 587, "smtps": 465}
_EXAMPLE = "smtp://mail.example.gov.cn:587 or smtps://mail.example.gov.cn"
_SECONDS = 60.0
# RFC 5321, section 4.2.
_DONE, _PERMANENT = 250, 500


class MailError(RunError):
    """The server of mails is not named, not reached, or does not let us in. Nothing that was sent is sent again afterwards."""


@dataclass(frozen=True)
class Server:
    """Where mails go, under which name, and from whom."""

    host: str
    port: int
    sender: Address
    security: Literal["tls", "starttls", "none"]
    seconds: float = _SECONDS
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True)
class Answer:
    """What became of a message: taken, refused for good (5xx), or not now (4xx, a timeout, a broken connection: code 0), in the server's words."""

    outcome: Literal["sent", "deferred", "refused"]
    code: int
    words: str


def server(settings: Settings) -> Server:
    """The server of GRIDLAKE_SMTP and its kin; raises MailError, CredentialError."""
    if not settings.smtp:
        raise MailError(f"expected the server that mails go through in GRIDLAKE_SMTP, it is not set; set it, as {_EXAMPLE}")
    given = urlsplit(settings.smtp)
    # Not repeated in an error: a password may stand in it.
    if given.password or given.username:
        raise MailError("GRIDLAKE_SMTP: expected no user or password in it, came one; set GRIDLAKE_SMTP_USER and do `gridlake secret put smtp`")
    asked = {name: values[-1] for name, values in parse_qs(given.query).items()}
    try:
        port, seconds = given.port or _PORTS[given.scheme], float(asked.get("timeout", _SECONDS))
        if not given.hostname or asked.get("tls", "off") != "off" or asked.keys() - {"tls", "timeout"} or seconds <= 0:
            raise ValueError
    except (KeyError, ValueError):
        raise MailError(f"GRIDLAKE_SMTP: expected {_EXAMPLE}, after it ?tls=off or ?timeout=<seconds>, came {settings.smtp}; correct it") from None
    security: Literal["tls", "starttls", "none"] = "tls" if given.scheme == "smtps" else "starttls"
    if security == "starttls" and (_is_this_machine(given.hostname) or "tls" in asked):
        security = "none"
    if security == "none" and settings.smtp_user and not _is_this_machine(given.hostname):
        raise MailError(f"GRIDLAKE_SMTP: expected TLS for the log-in of GRIDLAKE_SMTP_USER at {given.hostname}, came tls=off; leave one of them out")
    password = Secrets(settings.secrets).one(LOGIN, datetime.now(UTC)) if settings.smtp_user else None
    return Server(given.hostname, port, _sender(settings), security, seconds, settings.smtp_user, password)


class Connection:
    """One connection for many messages, opened when the first is sent and again after it broke."""

    def __init__(self, to: Server) -> None:
        self._to = to
        self._smtp: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._smtp is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._smtp.quit()
        self._drop()

    def send(self, message: EmailMessage, address: str) -> Answer:
        """Hand one message over. Raises MailError where no connection is to be had: then no other message can be sent either."""
        smtp = self._open()
        try:
            smtp.send_message(message, self._to.sender.addr_spec, [address])
        except smtplib.SMTPRecipientsRefused as refused:
            return self._judged(*next(iter(refused.recipients.values())))
        except smtplib.SMTPResponseException as refused:
            return self._judged(refused.smtp_code, refused.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            # Whether the server took it before the connection broke is not known: the same Message-ID is sent again.
            self._drop()
            return Answer("deferred", 0, f"connection lost: {error}")
        return Answer("sent", _DONE, "")

    def _judged(self, code: int, words: bytes | str) -> Answer:
        if self._smtp is not None and self._smtp.sock is None:  # after 421 smtplib has closed it
            self._drop()
        said = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
        return Answer("refused" if code >= _PERMANENT else "deferred", code, said)

    def _open(self) -> smtplib.SMTP:
        if self._smtp is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                # A server hangs up on who was silent for long.
                if self._smtp.noop()[0] == _DONE:
                    return self._smtp
            self._drop()
        to = self._to
        try:
            if to.security == "tls":
                opened: smtplib.SMTP = smtplib.SMTP_SSL(to.host, to.port, timeout=to.seconds, context=ssl.create_default_context())
            else:
                opened = smtplib.SMTP(to.host, to.port, timeout=to.seconds)
            self._smtp = opened
            if to.security == "starttls":
                opened.starttls(context=ssl.create_default_context())
            if to.user and to.password:
                opened.login(to.user, to.password)
        except ssl.SSLCertVerificationError as error:
            self._drop()
            raise MailError(
                f"{to.host}:{to.port}: expected a certificate that this machine trusts, came another: {error.verify_message}; "
                "name its issuer's in SSL_CERT_FILE"
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            self._drop()
            raise MailError(
                f"{to.host}:{to.port}: expected STARTTLS and log-in as asked for, came: {error}; smtps://, or ?tls=off within one's own net"
            ) from None
        except smtplib.SMTPAuthenticationError as error:
            self._drop()
            raise MailError(
                f"{to.host}:{to.port}: expected to be let in as GRIDLAKE_SMTP_USER, came {error.smtp_code}; correct it, or `gridlake secret put smtp`"
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            raise MailError(
                f"{to.host}:{to.port}: expected a server of mails, came: {error}; see whether it runs and is reached, then send again"
            ) from None
        return opened

    def _drop(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
        self._smtp = None


def _sender(settings: Settings) -> Address:
    given = settings.smtp_from or settings.smtp_user or ""
    try:
        found: tuple[Address, ...] = SMTP.header_factory("From", given).addresses
        if len(found) == 1 and found[0].username and found[0].domain and found[0].addr_spec.isascii():
            return found[0]
    except (MessageError, ValueError, IndexError):
        pass
    raise MailError(f"GRIDLAKE_SMTP_FROM: expected one address, as 平安办 <report@example.gov.cn>, came {given or 'none'}; set it")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
