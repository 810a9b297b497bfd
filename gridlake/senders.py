"""Who may send what: one file a sender, the file stem is its code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from gridlake.declared import Declared
from gridlake.settings import Settings

_MAJOR = re.compile(r"_v[0-9]+\Z")
EVERYWHERE = "*"


class SenderError(Exception):
    """A sender file that cannot be understood."""


@dataclass(frozen=True)
class Sender:
    """One city platform or department; `feeds` gives the contract versions it may send, `regions` the subtrees it answers for.

    `http_secret` names the key of its pushes (gridlake.credentials); a sender without one cannot push. Of a sender with `done_markers` a file
    `x.csv` in the inbox is taken once `x.csv.done` lies beside it.
    """

    code: str
    name: str
    name_en: str
    region_system: str
    regions: tuple[str, ...]
    feeds: Mapping[str, SpecifierSet]
    http_secret: str | None = None
    done_markers: bool = False

    def may_send(self, source: str, feed: str, version: str) -> bool:
        """Whether the sender is entitled to this feed at this contract version. `event_v2` is a version of `event` and goes by its range."""
        named = f"{source}.{feed}"
        allowed = self.feeds.get(named) or self.feeds.get(_MAJOR.sub("", named))
        return allowed is not None and allowed.contains(Version(version), prereleases=True)

    @property
    def accepts_all_regions(self) -> bool:
        """Whether rows of any region may come from it."""
        return EVERYWHERE in self.regions


@cache
def _allows(allowed: SpecifierSet, version: str) -> bool:
    """Asked for every push; there are as many answers as declarations."""
    return allowed.contains(Version(version), prereleases=True)


class Senders(Declared[Sender]):
    """All senders of a run, by code."""

    def __init__(self, senders: list[Sender]) -> None:
        super().__init__("sender", senders, lambda sender: sender.code)


def load_all(settings: Settings) -> Senders:
    """Every built-in sender and those of `--contracts DIR/senders`."""
    folders = [settings.expectations / "senders", *([settings.contracts / "senders"] if settings.contracts else [])]
    return Senders(list({p.stem: load(p) for folder in folders for p in sorted(folder.glob("*.yml"))}.values()))


def load(path: Path) -> Sender:
    """One sender from `<code>.yml`."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(document["regions"], str):
            raise TypeError("regions is one text, not a list")
        return Sender(
            code=path.stem,
            name=document["name"],
            name_en=document.get("name_en", document["name"]),
            region_system=document.get("region_system", "cn"),
            regions=tuple(str(r) for r in document["regions"]),
            feeds={str(feed): SpecifierSet(str(versions)) for feed, versions in document["feeds"].items()},
            http_secret=_http_secret(document.get("credentials") or {}),
            done_markers=_done_markers(document.get("inbox") or {}),
        )
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, InvalidSpecifier) as error:
        raise SenderError(f"{path}: expected name, regions and feeds {{<source>.<feed>: '>=1,<2'}}; problem: {error!r}") from error


def _http_secret(credentials: Mapping[str, Mapping[str, str]]) -> str | None:
    """credentials: {http: {secret: <name>}}; anything else, a key itself above all, is refused."""
    unknown = {*credentials} - {"http"} | {*credentials.get("http", {})} - {"secret"}
    if unknown:
        raise TypeError("credentials: expected {http: {secret: <name>}}, the name of a secret and never the secret")
    return str(credentials["http"]["secret"]) if credentials else None


def _done_markers(inbox: Mapping[str, bool]) -> bool:
    """inbox: {done_markers: true}."""
    if {*inbox} - {"done_markers"} or not isinstance(inbox.get("done_markers", False), bool):
        raise TypeError("inbox: expected {done_markers: true or false}")
    return inbox.get("done_markers", False)
