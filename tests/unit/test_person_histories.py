"""Persons over time, against what links and verdicts say of each single moment."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.resolve.clusters import FOREVER, Verdict, follow

RECORDS, TIMES = 7, 6
Stretch = tuple[int, int, int, int]


@st.composite
def stretches(draw: st.DrawFn, *, may_end: bool) -> list[Stretch]:
    """Pairs of records, smaller first and each once, with since and until."""
    pairs = st.tuples(st.integers(0, RECORDS - 2), st.integers(1, RECORDS - 1)).filter(lambda p: p[0] < p[1])
    found = []
    for left, right in draw(st.lists(pairs, unique=True, max_size=8)):
        since = draw(st.integers(0, TIMES))
        until = draw(st.one_of(st.just(FOREVER), st.integers(since + 1, TIMES + 2))) if may_end else FOREVER
        found.append((left, right, since, until))
    return found


def history(arrived: list[int], links: list[Stretch], verdicts: list[Verdict]) -> pd.DataFrame:
    # Nothing is said of a record before it has come.
    there = [(a, b, max(s, arrived[a], arrived[b]), u) for a, b, s, u in links]
    frame = pd.DataFrame([(*x, 10.0 - n) for n, x in enumerate(there) if x[2] < x[3]], columns=["left", "right", "since", "until", "strength"])
    frame = frame.astype(dict.fromkeys(("left", "right", "since", "until"), np.int64))
    return follow(np.array(arrived, np.int64), frame, verdicts)


def together(links: list[Stretch], arrived: list[int], time: int) -> dict[int, int]:
    """By whom each record that is there is named, link by link."""
    name = {r: r for r in range(RECORDS) if arrived[r] <= time}
    for _ in range(RECORDS):
        for left, right, since, until in links:
            if left in name and right in name and since <= time < until:
                name[left] = name[right] = min(name[left], name[right])
    return name


def at(found: pd.DataFrame, time: int) -> dict[int, int]:
    standing = found[(found.since <= time) & (time < found.until)]
    assert not standing.record.duplicated().any()
    return dict(zip(standing.record, standing.person, strict=True))


ARRIVALS = st.lists(st.integers(0, TIMES), min_size=RECORDS, max_size=RECORDS).map(sorted)


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, stretches(may_end=False))
def test_where_links_only_come_each_moment_is_as_its_links_say_and_every_end_is_a_merge(arrived: list[int], links: list[Stretch]) -> None:
    found = history(arrived, links, [])
    for time in range(TIMES + 3):
        assert at(found, time) == together(links, arrived, time)
    ended = found[found["until"] < FOREVER]
    assert (ended.merged_into >= 0).all()
    assert (ended.merged_into < ended.person).all(), "the later name goes into the earlier one"


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, stretches(may_end=True))
def test_where_links_end_each_moment_is_as_its_links_say(arrived: list[int], links: list[Stretch]) -> None:
    found = history(arrived, links, [])
    for time in range(TIMES + 3):
        assert at(found, time) == together(links, arrived, time)


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, stretches(may_end=False), stretches(may_end=True))
def test_what_people_called_different_is_never_one_while_they_say_so(arrived: list[int], links: list[Stretch], said: list[Stretch]) -> None:
    verdicts = [Verdict(a, b, False, max(s, arrived[a], arrived[b]), u) for a, b, s, u in said if max(s, arrived[a], arrived[b]) < u]
    found = history(arrived, links, verdicts)
    for time in range(TIMES + 3):
        name = at(found, time)
        for verdict in verdicts:
            if verdict.since <= time < verdict.until:
                assert name[verdict.left] != name[verdict.right]
