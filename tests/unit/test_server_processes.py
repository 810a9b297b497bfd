"""What the servers under infra share: their processes are found by a mark that children inherit, and none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

INFRA = Path(__file__).parents[2] / "infra"
MARK = "GRIDLAKE_TEST_SERVER"
# Two that do not end when asked: a process and, in a session of its own, its child.
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True); {STUBBORN}"


def test_a_server_that_does_not_end_is_killed_with_what_it_has_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(INFRA))
    from processes import end_all, marked  # type: ignore[import-not-found]

    given = {MARK: str(tmp_path)}
    server = subprocess.Popen([sys.executable, "-c", PARENT], env=os.environ | given, stdout=subprocess.PIPE, text=True)
    stranger = subprocess.Popen([sys.executable, "-c", STUBBORN], env=os.environ | {MARK: f"{tmp_path}/other"}, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert stranger.stdout is not None
        assert [server.stdout.readline(), server.stdout.readline(), stranger.stdout.readline()] == ["up\n"] * 3
        assert len(marked(MARK, str(tmp_path))) == 2
        end_all([server.pid], lambda: marked(MARK, str(tmp_path)), 0.3, "the server")
        assert marked(MARK, str(tmp_path)) == []
        assert stranger.poll() is None
    finally:
        for process in (server, stranger):
            process.kill()
            process.wait()
