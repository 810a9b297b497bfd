"""Answers to charts, kept by snapshot: a newly published one is asked at once, and what was told of an older one is told of no other."""

from __future__ import annotations

import os
from pathlib import Path

from flask_caching.backends import FileSystemCache


class SnapshotCache(FileSystemCache):
    """Files whose names hold the snapshot that is current when they are asked for."""

    def _get_filename(self, key: str) -> str:
        return str(super()._get_filename(f"{Path(os.environ['GRIDLAKE_SUPERSET_SNAPSHOT']).resolve().name}:{key}"))
