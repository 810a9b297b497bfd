"""What several feeds ask about the same subject: pairs of columns that may be one thing collected twice. The data then say whether they are.

Two feeds of one entity are one collection by several senders, and not compared.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from gridlake.contracts.compile import TOKEN
from gridlake.contracts.model import Column, Contract, Contracts

# What names a subject alike wherever it is collected: a person, a legal person, an address. Local ids count within a sender only.
SUBJECT_KEYS = ("id_number", "uscc", "address_code")
# A reference to a grid leads to where the subject is; it says nothing of the subject.
_REFERENCES = {"grid_code"}


def asked_twice(contracts: Contracts) -> list[dict[str, Any]]:
    """Pairs of entities with a subject key in common, each with the pairs of columns to compare.

    A pair: entity, feed, title, key of `one` and `other`, and `columns`, each a list of the name and title at one, at the other, the two expressions,
    and whether the contracts already say that they are the same (name, title and code list alike).
    """
    shapes = [contracts.defining(entity) for entity in contracts.entities]
    pairs = []
    for key in SUBJECT_KEYS:
        for one, other in combinations([s for s in shapes if any(c.name == key for c in s.columns)], 2):
            columns = [
                [a.name, a.title, b.name, b.title, f"one.{_comparable(a)}", f"other.{_comparable(b)}", (a.name, a.title) == (b.name, b.title)]
                for a in _told_of_the_subject(one)
                for b in _told_of_the_subject(other)
                if _may_be_the_same(a, b)
            ]
            if columns:
                pairs.append({"one": _side(one, key), "other": _side(other, key), "key": key, "columns": columns})
    return pairs


def _side(shape: Contract, key: str) -> dict[str, str]:
    (column,) = (c for c in shape.columns if c.name == key)
    return {"entity": str(shape.defines), "feed": shape.id, "title": shape.title, "key": _comparable(column)}


def _comparable(column: Column) -> str:
    # Of what is sealed the token: it is equal for equal values, whatever feed they came by.
    return column.name + TOKEN if column.is_sealed else column.name


def _told_of_the_subject(shape: Contract) -> list[Column]:
    """Columns that say something of the subject: no keys, clocks, versions, places of the row, references or free text."""
    return [
        c
        for c in shape.columns
        if not (c.key_position or c.version_order or c.is_region or c.position or c.local_id_of or c.redact)
        and c.logical_type != "timestamp"
        and c.name not in {*SUBJECT_KEYS, *_REFERENCES}
    ]


def _may_be_the_same(one: Column, other: Column) -> bool:
    if (one.logical_type, one.code_list, one.is_sealed) != (other.logical_type, other.code_list, other.is_sealed):
        return False
    return one.name == other.name or one.title == other.title or one.is_sealed
