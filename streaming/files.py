"""The inbox: `<inbox>/<source>/<feed>/<sender>/<file>`, the connector for files.

Who sent a file is the folder's word, never the file's. Entries whose name begins with `_` or `.` are not looked at, so a sender writes
under such a name and renames when done. Or it lays `<file>.done` beside a file that is whole: a sender that says so in its declaration
(`inbox: {done_markers: true}`) has no file taken without.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO

from gridlake.contracts import Contract, Contracts
from gridlake.senders import Senders
from streaming.columnar_files import read_parquet
from streaming.decoder import OP
from streaming.quarantine import UNROUTED, Vault
from streaming.rows import Block, Delivery, DeliveryChanged, Readable, Refusal, RefusedWhole
from streaming.sheet_files import read_sheet
from streaming.text_files import Unpacked, read_csv, read_json_lines

SHAPE = "<inbox>/<source>/<feed>/<sender>/<file>"
_FORMATS = ".jsonl, .ndjson, .csv (each also .gz), .xlsx or .parquet"
_DIGEST_DIGITS = 16
MARKER = ".done"


class Inbox:
    """The deliveries that lie in an inbox."""

    def __init__(self, folder: Path, contracts: Contracts, senders: Senders, vault: Vault, say: Callable[[str], None]) -> None:
        self._folder, self._contracts, self._senders, self._vault, self._say = folder, contracts, senders, vault, say
        self._folders: dict[str, Path] = {}
        self._states: dict[tuple[str, str], tuple[int, int]] = {}
        self._hashed: dict[Path, tuple[tuple[int, int], str]] = {}

    def go_by(self, contracts: Contracts, senders: Senders) -> None:
        """Declarations that have taken the place of those given before."""
        self._contracts, self._senders = contracts, senders

    def feeds(self) -> list[str]:
        """The feeds that have a folder, whether a contract knows them or not."""
        for source in self._entries(self._folder):
            if not source.is_dir():
                self._say(f"{source}: a file outside any feed's folder, left where it is; expected {SHAPE}")
                continue
            for feed in self._entries(source):
                if feed.is_dir():
                    self._folders[_text(f"{source.name}__{feed.name}")] = feed
                else:
                    self._say(f"{feed}: a file outside any feed's folder, left where it is; expected {SHAPE}")
        return sorted(self._folders)

    def deliveries(self, feed: str) -> list[Delivery]:
        """A feed's files by sender, then by name in natural order (2 before 10). Hashes each: the content is part of the id."""
        folder = self._folders[feed]
        return [d for sender, path in self.whole_files(feed) if (d := self._delivery(feed, sender, path, folder)) is not None]

    def whole_files(self, feed: str) -> list[tuple[str, Path]]:
        """(sender, file) of a feed, without markers and the files that wait for theirs."""
        found = list(self._files(self._folders[feed]))
        marked = {path.with_name(path.name.removesuffix(MARKER)) for _, path in found if path.name.endswith(MARKER)}
        asking = {code for code in {sender for sender, _ in found} & self._senders.keys() if self._senders[code].done_markers}
        return [(sender, path) for sender, path in found if not path.name.endswith(MARKER) and (_text(sender) not in asking or path in marked)]

    def blocks(self, delivery: Delivery) -> Iterator[Block]:
        """A file's rows; raises DeliveryChanged when it is being written while it is read."""
        if delivery.refusal is not None:
            raise RefusedWhole(delivery.refusal.rule, delivery.refusal.detail)
        self._see_unchanged(delivery)
        contract = self._contracts[delivery.feed]
        try:
            yield from self._read(delivery, contract)
        except RefusedWhole:
            self._see_unchanged(delivery)  # half a file looks damaged
            raise
        self._see_unchanged(delivery)

    def keep(self, delivery: Delivery) -> str:
        """Seal the whole file."""
        with _path(delivery).open("rb") as source:
            folder = delivery.feed if delivery.feed in self._contracts else UNROUTED
            return self._vault.keep(source, folder, f"{delivery.feed}/{delivery.id}")

    def _entries(self, folder: Path) -> list[Path]:
        try:
            found = [p for p in folder.iterdir() if not p.name.startswith(("_", "."))]
        except OSError as error:
            self._say(f"{folder}: cannot be read ({error.strerror}), left for the next run; check its owner and mode")
            return []
        return sorted(found, key=lambda p: natural(p.name))

    def _files(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """(sender, file) of a feed's folder; a file beside the senders' folders comes from nobody."""
        for entry in self._entries(folder):
            if entry.is_dir():
                yield from ((entry.name, path) for path in self._below(entry))
            elif entry.is_file():
                yield "", entry

    def _below(self, folder: Path) -> Iterator[Path]:
        for entry in self._entries(folder):
            if entry.is_dir():
                yield from self._below(entry)
            elif entry.is_file():
                yield entry

    def _delivery(self, feed: str, sender: str, path: Path, folder: Path) -> Delivery | None:
        try:
            with path.open("rb") as content:
                state = os.fstat(content.fileno())
                digest = self._digest(path, content, state)
        except OSError as error:
            self._say(f"{path}: cannot be read ({error.strerror}), left for the next run; check its owner and mode")
            return None
        name = _text(path.relative_to(folder / sender if sender else folder).as_posix())
        code = _text(sender)
        delivery = Delivery(feed, code, name, f"files:{code}/{name}@{digest}", state.st_size, path, self._refusal(feed, code))
        self._states[feed, delivery.id] = state.st_size, state.st_mtime_ns
        return delivery

    def _digest(self, path: Path, content: BufferedReader, state: os.stat_result) -> str:
        """Of what the file holds; a file that was hashed before and has not been written since is not read again."""
        known, now = self._hashed.get(path), (state.st_size, state.st_mtime_ns)
        if known is None or known[0] != now:
            known = now, hashlib.file_digest(content, "sha256").hexdigest()[:_DIGEST_DIGITS]
            self._hashed[path] = known
        return known[1]

    def _refusal(self, feed: str, sender: str) -> Refusal | None:
        if feed not in self._contracts:
            return Refusal("unknown_feed", f"no contract {feed}; there are {', '.join(self._contracts)}")
        contract = self._contracts[feed]
        if contract.is_retired:
            return Refusal("retired", f"{contract.source}.{contract.feed} {contract.version} is retired; send the version now in force")
        if sender not in self._senders:
            return Refusal("unknown_sender", f"no such sender; expected {SHAPE} with the sender's code")
        if not self._senders[sender].may_send(contract.source, contract.feed, contract.version):
            return Refusal("not_entitled", f"sender {sender} may not send {contract.source}.{contract.feed} {contract.version}")
        return None

    def _read(self, delivery: Delivery, contract: Contract) -> Iterator[Block]:
        path = _path(delivery)
        known = frozenset({*(c.name for c in contract.columns), OP})
        kept = 0

        def keep(line: Readable) -> str:
            nonlocal kept
            kept += 1
            return self._vault.keep(line, delivery.feed, f"{delivery.feed}/{delivery.id}/{kept}")

        def opened() -> IO[bytes]:
            content = path.open("rb")
            return Unpacked(content, delivery.size) if path.name.lower().endswith(".gz") else content  # type: ignore[return-value]

        suffix = Path(path.name.lower().removesuffix(".gz")).suffix
        if suffix in {".jsonl", ".ndjson"}:
            with opened() as source:
                yield from read_json_lines(source, keep)
        elif suffix == ".csv":
            yield from read_csv(opened, keep, known)
        elif suffix == ".xlsx" and not path.name.lower().endswith(".gz"):
            yield from read_sheet(path, known, (contract.feed, contract.title), lambda: self.keep(delivery))
        elif suffix == ".parquet" and not path.name.lower().endswith(".gz"):
            yield from read_parquet(path, known, lambda: self.keep(delivery))
        else:
            raise RefusedWhole("format", f"expected {_FORMATS}")

    def _see_unchanged(self, delivery: Delivery) -> None:
        try:
            now = _path(delivery).stat()
        except OSError:
            raise DeliveryChanged(f"{_path(delivery)}: was removed while it was read") from None
        if (now.st_size, now.st_mtime_ns) != self._states[delivery.feed, delivery.id]:
            raise DeliveryChanged(f"{_path(delivery)}: was written while it was read; write under a name beginning with '.' and rename when done")


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key that puts `2.csv` before `10.csv`."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"([0-9]+)", name)]


def _text(name: str) -> str:
    """A file's name as text: names packed on a Chinese Windows are often GB18030, which Python gives as lone surrogates."""
    content = os.fsencode(name)
    for encoding in ("utf-8", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("utf-8", "backslashreplace")


def _path(delivery: Delivery) -> Path:
    if delivery.path is None:
        raise ValueError(f"{delivery.id}: a delivery of the inbox has a path")
    return delivery.path
