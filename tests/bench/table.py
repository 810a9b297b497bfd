"""Every benchmark result in one Markdown table."""

from __future__ import annotations

import json

from tests.bench.result import RESULTS


def main() -> None:
    """Print the table."""
    print("| benchmark | rows | ours | peer | ratio |")
    print("|---|---:|---|---|---:|")
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        ours, peer = (", ".join(f"{k} {v}" for k, v in result[side].items() if not isinstance(v, dict)) for side in ("ours", "peer"))
        print(f"| {path.stem} | {result['rows']:,} | {ours} | {peer} | {result['ratio']} |")


if __name__ == "__main__":
    main()
