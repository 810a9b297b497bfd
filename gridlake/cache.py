"""What takes seconds to make and is the same for the same input, in any lake: kept by a digest of that input under GRIDLAKE_CACHE.

Nothing depends on it: a folder that is missing, emptied or not writable costs the seconds again.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path

from gridlake.settings import Settings

# What nobody has asked for so long is deleted when something new is kept.
_FORGOTTEN_AFTER_S = 30 * 24 * 3600


def kept(settings: Settings, name: str) -> bytes | None:
    """What was kept under that name, which is a digest of all that it was made of; None where nothing is."""
    path = settings.cache / name
    try:
        content = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    return content


def keep(settings: Settings, name: str, content: bytes) -> None:
    """Keep it for every lake of this user; many may keep the same at once."""
    part = settings.cache / f".{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):
        settings.cache.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(settings.cache / name)
        finally:
            part.unlink(missing_ok=True)
        _forget(settings.cache)


def _forget(folder: Path) -> None:
    for path in folder.iterdir():
        if path.stat().st_mtime < time.time() - _FORGOTTEN_AFTER_S:
            path.unlink(missing_ok=True)
