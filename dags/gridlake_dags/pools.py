"""The pools that tasks name, one slot each; `python -m gridlake_dags.pools` prints them for whoever makes them at a start."""

from __future__ import annotations

import json

from gridlake_dags.declarations import Feed, feeds

# One process writes the tables that a run makes; landers write bronze beside it, one a table.
LAKE_POOL = "lake"


def pool_of(feed: Feed) -> str:
    """The pool of the writer of a feed's bronze table."""
    return f"bronze.{feed.id}"


def pools() -> list[dict[str, str]]:
    """Name and description."""
    found = [{"name": LAKE_POOL, "description": "湖内各库表的写入者，一次一个"}]
    return found + [{"name": pool_of(feed), "description": f"{feed.title}原始表的写入者，一次一个"} for feed in feeds().values()]


if __name__ == "__main__":
    print(json.dumps(pools(), ensure_ascii=False))
