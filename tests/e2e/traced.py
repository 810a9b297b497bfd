"""A process under strace: the system calls of all its threads that write under one folder, and the lines it adds to a file of acknowledgements."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.disk import NOT_KEPT, Disk, File, Folder, Link

_MODELLED = (
    "openat,open,creat,write,pwrite64,writev,ftruncate,truncate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,lseek,close"
)
# A call of these on a file under the folder would be a hole in the model, so it is an error.
_NOT_MODELLED = "pwritev,pwritev2,fallocate,copy_file_range,sendfile,splice,sync_file_range,syncfs,sync,dup,dup2,dup3,mmap"
_LINE = re.compile(r"(\d+) +(?:<\.\.\. \w+ resumed>)?(.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)", re.DOTALL)
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HANDLE = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
_FOLDER = r"(?:AT_FDCWD|\d+)<(?:\\x[0-9a-f]{2})*>"


@dataclass(frozen=True)
class Call:
    """A system call that ended well."""

    name: str
    arguments: str
    result: int

    @property
    def texts(self) -> list[bytes]:
        """Its arguments in quotation marks."""
        return [_bytes(text) for text in _TEXT.findall(self.arguments)]

    @property
    def handle(self) -> tuple[int, str] | None:
        """(number, path) of the file that its first argument names; None where that is none, or has no path any more."""
        found = _HANDLE.match(self.arguments)
        return (int(found[1]), os.fsdecode(_bytes(found[2]))) if found and not found[3] else None


# The end of a process: its open files are closed.
END = Call("", "", 0)


def run(command: Sequence[str | Path], trace: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end under strace, which writes what it does to the file `trace`."""
    calls = f"{_MODELLED},{_NOT_MODELLED}"
    # All bytes of every write, in hexadecimal, with the path of each open file.
    options = ["-f", "-y", "-xx", "-s", str(1 << 27), "--seccomp-bpf", "-e", f"trace={calls}", "-e", "signal=none"]
    return subprocess.run(["strace", *options, "-o", str(trace), *map(str, command)], env=dict(env), capture_output=True, text=True, check=False)


def calls(trace: Path) -> list[Call]:
    """The calls that ended well, in the order in which they ended."""
    return list(_calls(trace))


def _calls(trace: Path) -> Iterator[Call]:
    begun: dict[str, str] = {}
    with trace.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            found = _LINE.match(line.rstrip("\n"))
            if not found:
                raise ValueError(f"{trace}: expected a line of strace, got {line[:100]!r}")
            process, text = found.groups()
            if text.endswith("<unfinished ...>"):
                begun[process] = text.removesuffix("<unfinished ...>")
                continue
            if "resumed>" in line[:60]:
                text = begun.pop(process) + text
            call = _CALL.match(text)
            if call and int(call[3]) >= 0:
                yield Call(call[1], call[2], int(call[3]))


class Replay:
    """Does recorded calls again on a modelled disk, one at a time."""

    def __init__(self, disk: Disk, said: Path) -> None:
        self.disk = disk
        # The lines that were added to the file `said`, outside the disk.
        self.said: list[str] = []
        self._said_in = str(said)
        self._offsets: dict[int, int] = {}
        self._opened: dict[int, str] = {}
        self._appending: set[int] = set()

    def do(self, call: Call) -> bool:
        """Do one; gives whether it wrote something under the root that a power cut may take away."""
        if call == END:
            self._offsets.clear()
            self._opened.clear()
            self._appending.clear()
            return False
        if call.name in _NOT_MODELLED.split(","):
            self._refuse_on_disk(call)
            return False
        method = getattr(self, f"_{call.name.rstrip('0123456789')}", None) or getattr(self, f"_{_SAME_AS[call.name]}")
        return bool(method(call))

    def _refuse_on_disk(self, call: Call) -> None:
        handles = [os.fsdecode(_bytes(path)) for path in re.findall(r"\d+<((?:\\x[0-9a-f]{2})*)>", call.arguments)]
        # The index that SQLite makes anew from its log when nobody has the database open.
        handles = [h for h in handles if not h.endswith(NOT_KEPT)]
        is_reading = call.name == "mmap" and not ("PROT_WRITE" in call.arguments and "MAP_SHARED" in call.arguments)
        if not is_reading and call.name not in {"sync", "dup", "dup2", "dup3"} and any(self.disk.knows(h) for h in handles):
            raise NotImplementedError(f"{call.name} on {handles}: not modelled by tests.e2e.disk; model it first")

    def _paths(self, call: Call) -> list[str]:
        """The paths that a call names, those relative to an open folder made absolute."""
        found = re.findall(rf'(?:({_FOLDER}), )?"((?:\\x[0-9a-f]{{2}})*)"', call.arguments)
        return [str(Path(_path_in(folder), os.fsdecode(_bytes(text)))) for folder, text in found]

    def _openat(self, call: Call) -> bool:
        if "O_CREAT" not in call.arguments and "O_WRONLY" not in call.arguments and "O_RDWR" not in call.arguments:
            return False
        path = self._paths(call)[0]
        self._offsets[call.result], self._opened[call.result] = 0, path
        self._appending.discard(call.result)
        if "O_APPEND" in call.arguments:
            self._appending.add(call.result)
        if not self.disk.knows(path):
            return False
        found = self.disk.find(path)
        if found is None:
            self.disk.set(path, File())
            return True
        if "O_TRUNC" in call.arguments and isinstance(found, File) and found.content:
            found.truncate(0)
            return True
        return False

    def _write(self, call: Call) -> bool:
        if call.handle is None:
            return False
        number, path = call.handle
        data = b"".join(call.texts)[: call.result]
        if path == self._said_in:
            self.said += data.decode().splitlines()
        if not self.disk.knows(path):
            return False
        file = self.disk.file(path)
        offset = len(file.content) if number in self._appending else self._offsets[number]
        file.write(offset, data)
        self._offsets[number] = offset + len(data)
        return True

    def _pwrite(self, call: Call) -> bool:
        if call.handle is None or not self.disk.knows(call.handle[1]):
            return False
        self.disk.file(call.handle[1]).write(int(call.arguments.rpartition(", ")[2]), call.texts[0][: call.result])
        return True

    def _lseek(self, call: Call) -> bool:
        if call.handle is not None and call.handle[0] in self._offsets:
            self._offsets[call.handle[0]] = call.result
        return False

    def _close(self, call: Call) -> bool:
        # A close of one thread may be told of after another thread was given the number anew.
        if call.handle is not None and self._opened.get(call.handle[0]) == call.handle[1]:
            self._offsets.pop(call.handle[0], None)
        return False

    def _ftruncate(self, call: Call) -> bool:
        if call.handle is None or not self.disk.knows(call.handle[1]):
            return False
        self.disk.file(call.handle[1]).truncate(int(call.arguments.rpartition(", ")[2]))
        return True

    def _truncate(self, call: Call) -> bool:
        (path,) = self._paths(call)
        if self.disk.knows(path):
            self.disk.file(path).truncate(int(call.arguments.rpartition(", ")[2]))
        return self.disk.knows(path)

    def _rename(self, call: Call) -> bool:
        old, new = self._paths(call)
        if self.disk.knows(old) != self.disk.knows(new):
            raise NotImplementedError(f"rename of {old} to {new}: into or out of the modelled folder")
        if self.disk.knows(old):
            self.disk.rename(old, new)
        return self.disk.knows(old)

    def _link(self, call: Call) -> bool:
        old, new = self._paths(call)
        if self.disk.knows(new):
            self.disk.set(new, self.disk.file(old))
        return self.disk.knows(new)

    def _symlink(self, call: Call) -> bool:
        target, path = call.texts[0], self._paths(call)[-1]
        if self.disk.knows(path):
            self.disk.set(path, Link(os.fsdecode(target)))
        return self.disk.knows(path)

    def _unlink(self, call: Call) -> bool:
        (path,) = self._paths(call)
        if self.disk.knows(path):
            self.disk.set(path, None)
        return self.disk.knows(path)

    def _mkdir(self, call: Call) -> bool:
        (path,) = self._paths(call)
        if self.disk.knows(path):
            self.disk.set(path, Folder())
        return self.disk.knows(path)

    def _fsync(self, call: Call) -> bool:
        if call.handle is not None and self.disk.knows(call.handle[1]):
            self.disk.sync(call.handle[1])
        return False


_SAME_AS = {
    "open": "openat",
    "creat": "openat",
    "writev": "write",
    "renameat": "rename",
    "renameat2": "rename",
    "linkat": "link",
    "symlinkat": "symlink",
    "unlinkat": "unlink",
    "rmdir": "unlink",
    "mkdirat": "mkdir",
    "fdatasync": "fsync",
}


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _path_in(folder: str) -> str:
    found = re.search(r"<((?:\\x[0-9a-f]{2})*)>", folder)
    return os.fsdecode(_bytes(found[1])) if found else ""


def paths(call: Call) -> list[str]:
    """The paths that a call names, for people."""
    if call.name.startswith(("write", "pwrite")):
        return [call.handle[1]] if call.handle else []
    return [os.fsdecode(_bytes(text)) for text in re.findall(r'[<"]((?:\\x[0-9a-f]{2})+)[>"]', call.arguments)]
