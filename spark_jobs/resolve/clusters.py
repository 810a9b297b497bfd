"""Which records are one person at each time: links made, withdrawn and judged by people, followed in the order in which they came.

A person is named by the earliest record of his. Records are numbers in the order of their first arrival, so the smallest number names. Everything
is a function of links with their times; how often it was computed in between changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Microseconds since 1970 after every real time.
FOREVER = np.iinfo(np.int64).max
HISTORY = ("record", "person", "since", "until", "merged_into")


class Link(NamedTuple):
    """A link in a component that people or contradictions have divided: times in microseconds, `strength` the greater the surer."""

    left: int
    right: int
    since: int
    until: int
    strength: float


class Verdict(NamedTuple):
    """What a person said of two records, and from when until when it stood."""

    left: int
    right: int
    is_same: bool
    since: int
    until: int


def follow(arrived: NDArray[np.int64], links: pd.DataFrame, verdicts: Iterable[Verdict] = ()) -> pd.DataFrame:
    """Each record's persons over time: record, person (the record that names him), since, until (FOREVER: still), merged_into (-1: not merged).

    `arrived`: microseconds at which each record first came, ascending with its number. `links`: left, right, since, until (FOREVER: stands),
    strength. A row ends by a merge, which says into whom its person went, or by a split, which does not.
    """
    judged = list(verdicts)
    left, right = links.left.to_numpy(), links.right.to_numpy()
    ends = np.concatenate([left, np.array([v.left for v in judged], int)]), np.concatenate([right, np.array([v.right for v in judged], int)])
    component = _components(len(arrived), *ends)
    divided = np.zeros(len(arrived), bool)
    divided[component[left[(links["until"] < FOREVER).to_numpy()]]] = True
    divided[component[np.array([v.left for v in judged], int)]] = True
    is_divided = divided[component]
    plain = links[~is_divided[left]]
    grown = _grown(arrived, plain)
    parts = [grown[~is_divided[grown.record.to_numpy()]]]
    own = links[is_divided[left]]
    by_component = dict(iter(own.groupby(component[own.left.to_numpy()])))
    said = pd.Series(judged, dtype=object).groupby([component[v.left] for v in judged]).agg(list) if judged else {}
    members = pd.Series(np.flatnonzero(is_divided)).groupby(component[is_divided]).agg(list) if is_divided.any() else {}
    for number in np.unique(component[is_divided]):
        rows = by_component.get(number, own.iloc[:0])
        found = [Link(*row) for row in rows[list(Link._fields)].itertuples(index=False)]
        parts.append(pd.DataFrame(_divided(arrived, members[number], found, said.get(number, [])), columns=list(HISTORY), dtype=np.int64))
    return pd.concat(parts, ignore_index=True).sort_values(["record", "since"], ignore_index=True)


def _components(count: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each record the number of its component."""
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    found: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


def _grown(arrived: NDArray[np.int64], links: pd.DataFrame) -> pd.DataFrame:
    """Histories where links only ever come: each name goes into another one at most once."""
    into = np.full(len(arrived), -1, np.int64)
    at = np.full(len(arrived), FOREVER)
    ordered = links.sort_values("since", kind="stable")
    left, right, since = (ordered[c].to_numpy() for c in ("left", "right", "since"))
    starts = np.flatnonzero(np.diff(since, prepend=-FOREVER))
    for start, end in pairwise([*starts, len(since)]):
        a, b = _named(into, left[start:end]), _named(into, right[start:end])
        names, ends = np.unique(np.concatenate([a, b]), return_inverse=True)
        component = _components(len(names), ends[: len(a)], ends[len(a) :])
        # Names ascend, so the first of a component is its smallest.
        first = names[np.unique(component, return_index=True)[1]][component]
        gone = names != first
        into[names[gone]], at[names[gone]] = first[gone], since[start]
    return _along(arrived, into, at)


def _named(into: NDArray[np.int64], records: NDArray[np.int64]) -> NDArray[np.int64]:
    """By whom each record's person is named now."""
    while (further := into[records] >= 0).any():
        records = np.where(further, into[records], records)
    return records


def _along(arrived: NDArray[np.int64], into: NDArray[np.int64], at: NDArray[np.int64]) -> pd.DataFrame:
    """The rows of every record, along the merges of the names that it had."""
    record = np.arange(len(arrived))
    person, since, parts = record, arrived, []
    while len(record):
        until = at[person]
        # What is merged at the moment at which it comes was never a person of its own.
        shown = until > since
        parts.append(np.stack([record, person, since, until, into[person]])[:, shown])
        further = until < FOREVER
        record, person, since = record[further], into[person[further]], np.maximum(until[further], since[further])
    rows = np.concatenate(parts, axis=1) if parts else np.empty((len(HISTORY), 0), np.int64)
    return pd.DataFrame(dict(zip(HISTORY, rows, strict=True)))


def _divided(arrived: NDArray[np.int64], members: list[int], links: list[Link], verdicts: list[Verdict]) -> Iterator[tuple[int, ...]]:
    """Histories of a component in which links end or people have judged: what holds at each time at which something changes."""
    times = {int(arrived[m]) for m in members} | {t for x in (*links, *verdicts) for t in (x.since, x.until) if t < FOREVER}
    current: dict[int, tuple[int, int]] = {}
    for time in sorted(times):
        names = _named_at(time, [m for m in members if arrived[m] <= time], links, verdicts)
        for record, person in names.items():
            if record in current and current[record][0] != person:
                before, since = current.pop(record)
                yield record, before, since, time, names[before] if names[before] != before else -1
            current.setdefault(record, (person, time))
    for record, (person, since) in current.items():
        yield record, person, since, FOREVER, -1


def _named_at(time: int, members: list[int], links: list[Link], verdicts: list[Verdict]) -> dict[int, int]:
    """By whom each record is named at a time.

    What people called the same is joined first, then the surer link; nothing that would join what they called different.
    """
    standing = sorted((v for v in verdicts if v.since <= time < v.until), key=lambda v: (-v.since, v.left, v.right))
    apart = {(v.left, v.right) for v in standing if not v.is_same}
    name = {m: m for m in members}
    joins = [(v.left, v.right) for v in standing if v.is_same]
    linked = sorted((x for x in links if x.since <= time < x.until), key=lambda x: (-x.strength, x.left, x.right))
    for left, right in (*joins, *((x.left, x.right) for x in linked)):
        one, other = sorted((name[left], name[right]))
        if one != other and not any({name[a], name[b]} == {one, other} for a, b in apart if a in name and b in name):
            name = {m: one if n == other else n for m, n in name.items()}
    return name
