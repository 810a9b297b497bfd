"""Where a benchmark writes what it measured: bench/results/<name>.json, one shape for all."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
RESULTS = CHECKOUT / "bench" / "results"


def write(name: str, *, rows: int, ours: dict[str, Any], peer: dict[str, Any], **more: Any) -> Path:
    """Write one result; `ratio` is the peer's seconds over ours (above 1: we are faster)."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=False).stdout.strip()
    document = {
        "rows": rows,
        "ours": ours,
        "peer": peer,
        "ratio": round(peer["seconds"] / ours["seconds"], 3) if peer.get("seconds") else None,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "commit": commit,
        **more,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    return path
