"""What the servers under infra share: jars fetched by a pom, processes told apart by when they began, ports, waiting. It installs nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

LOOPBACK = "127.0.0.1"


class ServerError(Exception):
    """A server that cannot be started or stopped; the message says what to do."""


def require_java() -> None:
    """Raise ServerError where there is no Java."""
    if shutil.which("java") is None:
        raise ServerError("java: expected Java 17, it is not there; do: apt-get install openjdk-17-jre-headless")


def fetched_jars(pom: Path, folder: Path, wanted: Sequence[str] = ("*.jar",)) -> list[Path]:
    """The jars of a pom that fit one of the patterns; fetched once for each state of the pom, by one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        target = folder / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
        if not target.exists():
            mvn = shutil.which("mvn")
            if mvn is None:
                raise ServerError("mvn: expected Maven, it is not there; do: apt-get install maven openjdk-17-jre-headless")
            # Maven takes a relative folder for one beside the pom.
            fetched = folder.absolute() / f".fetched-{os.getpid()}"
            command = [mvn, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServerError(f"{pom}: Maven could not fetch the jars; {done.stdout[-2000:]}{done.stderr[-2000:]}")
            for jar in set(fetched.iterdir()) - {p for pattern in wanted for p in fetched.glob(pattern)}:
                jar.unlink()
            fetched.rename(target)
        return sorted(target.glob("*.jar"))


def began(pid: int) -> str:
    """The clock tick at which a process began, which tells it from a later one of the same id; '' where there is none or only its remains."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = said.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def end(pid: int, since: str, seconds: float, what: str) -> None:
    """Ask a process to end, and kill it where it has not after so many seconds."""
    os.kill(pid, signal.SIGTERM)
    try:
        wait_for(lambda: began(pid) != since, seconds, f"{what} ({pid}) to end")
    except ServerError:
        os.kill(pid, signal.SIGKILL)


def launch(command: Sequence[str], folder: Path, log: Path, surroundings: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; what it says goes to the end of the log."""
    nothing, given = subprocess.DEVNULL, dict(surroundings) if surroundings is not None else None
    with log.open("ab") as said:
        return subprocess.Popen(command, cwd=folder, env=given, stdin=nothing, stdout=said, stderr=said, start_new_session=True)


def record(file: Path, pid: int, port: int) -> None:
    """Write down a server's process, the moment it began, and its port."""
    file.write_text(f"{pid} {began(pid)} {port}\n", encoding="ascii")


def recorded(file: Path) -> str:
    """The address of the server that was recorded there; '' where it runs no more."""
    try:
        pid, since, port = file.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return ""
    return f"{LOOPBACK}:{port}" if began(int(pid)) == since else ""


def end_recorded(file: Path, seconds: float, what: str) -> bool:
    """End the server that was recorded there, by its id; whether it ran."""
    was_running = bool(recorded(file))
    if was_running:
        pid, since, _ = file.read_text(encoding="ascii").split()
        end(int(pid), since, seconds, what)
    file.unlink(missing_ok=True)
    return was_running


def marked(variable: str, value: str) -> list[int]:
    """The processes of this user that were started with this value of a variable, and that have not ended."""
    mark = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            surroundings = (folder / "environ").read_bytes()
        except OSError:
            continue
        if mark in surroundings.split(b"\0") and began(int(folder.name)):
            found.append(int(folder.name))
    return sorted(found)


def end_all(chiefs: Sequence[int], left: Callable[[], list[int]], seconds: float, what: str) -> None:
    """Ask the chiefs of a server to end, and kill whoever of `left` has not after so many seconds; raises ServerError where that does not help."""
    for pid in chiefs:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    try:
        wait_for(lambda: not left(), seconds if chiefs else 0, f"{what} to end")
    except ServerError:
        # What is killed may be starting another.
        wait_for(lambda: not _killed(left()), seconds, f"{what} to end, killed")


def _killed(pids: Sequence[int]) -> bool:
    """Kill them; whether there were any."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(pids)


def free_port() -> int:
    """A port on loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_for(is_so: Callable[[], bool], seconds: float, what: str, started: tuple[subprocess.Popen[bytes], Path] | None = None) -> None:
    """Wait until it is so; raises ServerError when it is not in time, or when the process that was `started` (and its log) has ended."""
    until = time.monotonic() + seconds
    while not is_so():
        if started and started[0].poll() is not None:
            process, log = started
            said = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise ServerError(f"{what}: it ended with {process.returncode}; {log} ends:\n{said}")
        if time.monotonic() > until:
            raise ServerError(f"{what}: waited {seconds:.0f} s in vain; {started[1] if started else 'nothing more is known'}")
        time.sleep(0.1)
