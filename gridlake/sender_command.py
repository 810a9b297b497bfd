"""`gridlake sender …`: who may send what, and the keys of those who push; `gridlake secret …`: passwords of what is pulled."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gridlake import senders
from gridlake.cli import command_options, emit
from gridlake.credentials import CredentialError, Secrets
from gridlake.settings import Settings

_OVERLAP_DAYS = 7


@click.group()
def sender() -> None:
    """Who may send what, and the keys with which senders sign their pushes."""


@sender.command("list")
@command_options
def list_senders(settings: Settings, as_json: bool) -> None:
    """Every sender: its feeds, and whether it has a key to push with."""
    now, kept = datetime.now(UTC), Secrets(settings.secrets)
    found: list[dict[str, Any]] = [
        {
            "sender": s.code,
            "name": s.name,
            "feeds": {feed: str(versions) for feed, versions in s.feeds.items()},
            "secret": s.http_secret,
            "valid_keys": len(kept.valid(s.http_secret, now)) if s.http_secret else 0,
        }
        for s in senders.load_all(settings).values()
    ]

    def text(console: Console) -> None:
        table = Table(title="Senders")
        for column in ("sender", "name", "feeds", "name of its key", "valid keys"):
            table.add_column(column, overflow="fold")
        for entry in found:
            table.add_row(entry["sender"], entry["name"], str(len(entry["feeds"])), entry["secret"] or "none", str(entry["valid_keys"]))
        console.print(table)

    emit(found, as_json=as_json, text=text)


@sender.group()
def key() -> None:
    """The key of a sender's pushes: kept beside the lake, shown once, when it is made."""


@key.command("make")
@click.argument("code")
@command_options
def make_key(settings: Settings, as_json: bool, code: str) -> None:
    """Make the first key of the sender CODE and show it; a sender that has one is left alone (rotate makes the next)."""
    name, kept, now = _secret_of(settings, code), Secrets(settings.secrets), datetime.now(UTC)
    if kept.valid(name, now):
        raise CredentialError(f"sender {code} has a key; `gridlake sender key rotate {code}` makes the next one")
    _show(code, kept.make(name, now, timedelta(0)), None, as_json=as_json)


@key.command("rotate")
@click.argument("code")
@click.option("--overlap-days", type=click.FloatRange(0, 90), default=_OVERLAP_DAYS, show_default=True, help="How long older keys stay valid.")
@command_options
def rotate_key(settings: Settings, as_json: bool, code: str, overlap_days: float) -> None:
    """Make a new key of the sender CODE and show it; the one before stays valid for a while. A running server sees it at once."""
    now = datetime.now(UTC)
    made = Secrets(settings.secrets).make(_secret_of(settings, code), now, timedelta(days=overlap_days))
    _show(code, made, now + timedelta(days=overlap_days), as_json=as_json)


@key.command("revoke")
@click.argument("code")
@command_options
def revoke_key(settings: Settings, as_json: bool, code: str) -> None:
    """Forget every key of the sender CODE: what it pushes is refused from now on."""
    there_was = Secrets(settings.secrets).remove(_secret_of(settings, code))
    emit({"sender": code, "revoked": there_was}, as_json=as_json, text=lambda c: c.print(f"{code}: {'revoked' if there_was else 'had no key'}"))


@click.group()
def secret() -> None:
    """Passwords and tokens of what is pulled, by the names that contracts give them."""


@secret.command("put")
@click.argument("name")
@command_options
def put_secret(settings: Settings, as_json: bool, name: str) -> None:
    """Keep a secret under NAME; its value is read from standard input, so that no shell remembers it."""
    value = click.prompt(name, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read().strip("\r\n")
    if not value:
        raise CredentialError(f"secret {name}: nothing came on standard input; do: gridlake secret put {name} < FILE")
    Secrets(settings.secrets).put(name, value, datetime.now(UTC))
    emit({"secret": name}, as_json=as_json, text=lambda console: console.print(f"{name}: kept in {settings.secrets}"))


@secret.command("list")
@command_options
def list_secrets(settings: Settings, as_json: bool) -> None:
    """The names that there are, never the values."""
    found: list[dict[str, Any]] = [
        {"secret": name, "made_at": s.made_at.isoformat() if s.made_at else None, "until": s.until.isoformat() if s.until else None}
        for name, kept in Secrets(settings.secrets).names().items()
        for s in kept
    ]

    def text(console: Console) -> None:
        table = Table(title=f"Secrets in {settings.secrets}")
        for column in ("secret", "made_at", "until"):
            table.add_column(column)
        for entry in found:
            table.add_row(*(entry[c] or "" for c in ("secret", "made_at", "until")))
        console.print(table)

    emit(found, as_json=as_json, text=text)


def _secret_of(settings: Settings, code: str) -> str:
    known = senders.load_all(settings)
    if code not in known:
        raise CredentialError(f"no sender {code!r}; there are {', '.join(known)}")
    name = known[code].http_secret
    if name is None:
        raise CredentialError(f"sender {code} has no key by name; add to its file: credentials: {{http: {{secret: sender_{code}}}}}")
    return name


def _show(code: str, value: str, older_until: datetime | None, *, as_json: bool) -> None:
    document = {"sender": code, "key": value, "older_keys_until": older_until.isoformat() if older_until else None}

    def text(console: Console) -> None:
        console.print(f"{code}: {value}", highlight=False, soft_wrap=True)
        console.print("Hand it over by a safe way; it is not shown again.", highlight=False)
        if older_until:
            console.print(f"Older keys stay valid until {older_until:%Y-%m-%d %H:%M} UTC.", highlight=False)

    emit(document, as_json=as_json, text=text)
