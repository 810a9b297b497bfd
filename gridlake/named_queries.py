"""Files of several queries: each begins with a line `-- name: <name>`, which may say in brackets how many rows it gives.

-- name: numbers (one)
-- one row per …
select …
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HEAD = re.compile(r"^-- name:[ \t]*(?P<name>[a-z][a-z0-9_]*)[ \t]*(?:\((?P<rows>[a-z]+)\))?[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"\s*(?:--[^\n]*(?:\n\s*|\Z))*")


class NamedQuery(NamedTuple):
    """One query of a file; `rows` is what stands in brackets, empty where nothing does."""

    name: str
    rows: str
    sql: str


def split(text: str) -> list[NamedQuery]:
    """The queries in order; raises ValueError where a query has no name of its own, or a name no query."""
    heads = list(_HEAD.finditer(text))
    if not heads or not _COMMENT.fullmatch(text[: heads[0].start()]):
        raise ValueError("expected every query below a line `-- name: <name>` of its own, in small letters; put one above the first query")
    ends = [*(head.start() for head in heads[1:]), len(text)]
    found = [NamedQuery(h["name"], h["rows"] or "", text[h.end() : end].strip().rstrip(";")) for h, end in zip(heads, ends, strict=True)]
    names = [query.name for query in found]
    for query in found:
        if names.count(query.name) > 1 or _COMMENT.fullmatch(query.sql):
            raise ValueError(f"-- name: {query.name}: expected one query of that name, found {'several' if query.sql else 'none'}; name each once")
    return found
