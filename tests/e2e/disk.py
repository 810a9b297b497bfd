"""A disk as the system calls of a process left it: what is on it for good, and what a power cut may take away or leave half-written.

Promised is only what POSIX promises: a file's content is on the disk when `fsync` of the file has returned, a name when `fsync` of its folder has.
Everything else may be there, be missing, or, of a content, be cut short or have pages of zeros. No order between two unsynced writes is promised.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

PAGE = 4096
# Files that nobody reads after a power cut: the index of SQLite's log, which is mapped into memory.
NOT_KEPT = "-shm"


@dataclass(eq=False)
class File:
    """A file's content as processes see it, and as it is on the disk for good."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""

    def write(self, offset: int, data: bytes) -> None:
        """Put data at an offset; a gap before it is zeros."""
        if offset > len(self.content):
            self.content.extend(bytes(offset - len(self.content)))
        self.content[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        """Cut it to a size, or fill it with zeros up to it."""
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))


@dataclass(eq=False)
class Link:
    """A symbolic link."""

    target: str


@dataclass(eq=False)
class Folder:
    """The names in a folder as processes see them, those on the disk for good, and the changes in between, each whole or not at all."""

    names: dict[str, Entry] = field(default_factory=dict)
    synced: dict[str, Entry] = field(default_factory=dict)
    unsynced: list[dict[str, Entry | None]] = field(default_factory=list)

    def set(self, changes: dict[str, Entry | None]) -> None:
        """Give names to entries, or take them away, in one change."""
        _apply(self.names, changes)
        self.unsynced.append(changes)


Entry: TypeAlias = File | Folder | Link
# Of the changes of a folder's names, which survive; of a file that was not synced, what does.
Names: TypeAlias = Callable[[list[dict[str, Entry | None]]], list[dict[str, Entry | None]]]
Content: TypeAlias = Callable[[File], bytes]


class Disk:
    """The tree under one folder, `root` as the traced process names it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tree = Folder()

    @classmethod
    def of(cls, root: Path) -> Disk:
        """The tree as it is now, all of it on the disk for good."""
        disk = cls(root)
        disk.tree = _synced_folder(root)
        return disk

    def knows(self, path: str) -> bool:
        """Whether the path lies in this tree."""
        return Path(path).is_relative_to(self.root)

    def find(self, path: str) -> Entry | None:
        """What has this path, None where nothing has."""
        entry: Entry | None = self.tree
        for part in Path(path).relative_to(self.root).parts:
            if not isinstance(entry, Folder):
                return None
            entry = entry.names.get(part)
        return entry

    def file(self, path: str) -> File:
        """The file of this path; raises LookupError."""
        found = self.find(path)
        if not isinstance(found, File):
            raise LookupError(f"{path}: expected a file on the disk as modelled, found {found}; a system call is not modelled")
        return found

    def set(self, path: str, entry: Entry | None) -> None:
        """Give a path to an entry, or take it away."""
        self._folder_of(path).set({Path(path).name: entry})

    def rename(self, old: str, new: str) -> None:
        """Move an entry; within one folder in one change, as every journal does it."""
        entry, source, target = self.find(old), self._folder_of(old), self._folder_of(new)
        assert entry is not None, f"{old}: renamed, and not on the disk as modelled"
        if source is target:
            source.set({Path(old).name: None, Path(new).name: entry})
        else:
            target.set({Path(new).name: entry})
            source.set({Path(old).name: None})

    def sync(self, path: str) -> None:
        """fsync of a file or a folder."""
        found = self.find(path)
        if isinstance(found, File):
            found.synced = bytes(found.content)
        elif isinstance(found, Folder):
            found.synced, found.unsynced = dict(found.names), []

    def contents(self) -> dict[str, bytes | None]:
        """Every path under the root as processes see it, with a file's content."""
        return {path: content for path, content in _walk(self.tree, "") if not path.endswith(NOT_KEPT)}

    def leave(self, target: Path, names: Names, content: Content) -> None:
        """Write into an empty folder what is left after a power cut."""
        _leave(self.tree, target, names, content)

    def _folder_of(self, path: str) -> Folder:
        found = self.find(str(Path(path).parent))
        assert isinstance(found, Folder), f"{path}: its folder is not on the disk as modelled"
        return found


# --- what a power cut leaves


def no_names(_: list[dict[str, Entry | None]]) -> list[dict[str, Entry | None]]:
    """No change of names that was not synced."""
    return []


def all_names(changes: list[dict[str, Entry | None]]) -> list[dict[str, Entry | None]]:
    """Every change of names."""
    return changes


def synced_content(file: File) -> bytes:
    """What was synced: of a new file nothing."""
    return file.synced


class Chance:
    """Names and contents that survive by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def names(self, changes: list[dict[str, Entry | None]]) -> list[dict[str, Entry | None]]:
        """Some of the changes, in their order."""
        return [change for change in changes if self._chance.random() < 0.5]

    def torn(self, file: File) -> bytes:
        """A content cut short at a page, at a line or anywhere, or with pages that were never written; what was synced and left alone stays."""
        now = bytes(file.content)
        if now == file.synced:
            return now
        if file.synced:
            return self._with_pages_of_before(now, file.synced)
        ways = [self._cut_at_page, self._cut_at_line, self._cut_anywhere, self._with_pages_of_zeros]
        return self._chance.choice(ways)(now)

    def any_content(self, file: File) -> bytes:
        """All of it, what was synced of it, or a torn one."""
        return self._chance.choice([lambda f: bytes(f.content), synced_content, self.torn])(file)

    def _cut_at_page(self, now: bytes) -> bytes:
        return now[: PAGE * self._chance.randint(0, len(now) // PAGE)]

    def _cut_at_line(self, now: bytes) -> bytes:
        ends = [number + 1 for number, byte in enumerate(now) if byte == ord("\n")]
        return now[: self._chance.choice(ends)] if ends else self._cut_anywhere(now)

    def _cut_anywhere(self, now: bytes) -> bytes:
        return now[: self._chance.randrange(len(now) + 1)]

    def _with_pages_of_zeros(self, now: bytes) -> bytes:
        pages = [now[start : start + PAGE] for start in range(0, len(now), PAGE)]
        return b"".join(bytes(len(page)) if self._chance.random() < 0.5 else page for page in pages)

    def _with_pages_of_before(self, now: bytes, before: bytes) -> bytes:
        """Each page that was written is as it was before, as it is now, or, where the file has grown, cut anywhere behind what stood there."""
        pages = []
        for start in range(0, max(len(now), len(before)), PAGE):
            old, new = before[start : start + PAGE], now[start : start + PAGE]
            if old != new and self._chance.random() < 0.5:
                new = new[: self._chance.randint(len(old), len(new))] if new.startswith(old) else old
            pages.append(new)
        while len(pages) > 1 and not pages[-1]:
            pages.pop()
        return b"".join([*(page.ljust(PAGE, b"\0") for page in pages[:-1]), pages[-1]])


def _apply(names: dict[str, Entry], changes: dict[str, Entry | None]) -> None:
    for name, entry in changes.items():
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry


def _synced_folder(path: Path) -> Folder:
    names: dict[str, Entry] = {}
    for found in path.iterdir():
        if found.is_symlink():
            names[found.name] = Link(str(found.readlink()))
        elif found.is_dir():
            names[found.name] = _synced_folder(found)
        else:
            content = found.read_bytes()
            names[found.name] = File(bytearray(content), content)
    return Folder(names, dict(names))


def _walk(folder: Folder, path: str) -> Iterator[tuple[str, bytes | None]]:
    for name, entry in folder.names.items():
        yield f"{path}{name}", bytes(entry.content) if isinstance(entry, File) else None
        if isinstance(entry, Folder):
            yield from _walk(entry, f"{path}{name}/")


def _leave(folder: Folder, target: Path, names: Names, content: Content) -> None:
    left = dict(folder.synced)
    for changes in names(folder.unsynced):
        _apply(left, changes)
    for name, entry in left.items():
        if isinstance(entry, Folder):
            (target / name).mkdir()
            _leave(entry, target / name, names, content)
        elif isinstance(entry, Link):
            (target / name).symlink_to(entry.target)
        else:
            (target / name).touch(0o600)  # modes are not modelled, and files of keys must be the owner's alone
            (target / name).write_bytes(content(entry))
