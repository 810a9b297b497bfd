"""What the public posts about the simulated cities: topics, moods and words, with bursts in which many write about one thing in one county.

Nobody writes it: a post has no author, so that nothing of it can be counted by person. The truth about the bursts is one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from streaming.simulator import deliveries
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import Ground
from streaming.simulator.parcels import Feed
from streaming.simulator.texts import Grammar, Texts, kept
from streaming.simulator.truth import Truth

SENDER, SOURCE, NAME = "zj_opinion", "opinion_platform", "opinion_post"
# assumed: two posts for a hundred events, within what a small feed may hold; a province has thousands a day.
_POSTS_PER_EVENT, _LEAST, _MOST = 0.02, 60, 6000
_TOPIC_SHARE = {
    "environment": 0.09, "noise": 0.14, "property": 0.17, "traffic": 0.12, "education": 0.08, "medical": 0.06, "labour": 0.06, "housing": 0.07,
    "consumer": 0.07, "hazard": 0.05, "fraud": 0.03, "public_order": 0.02, "other": 0.04,
}  # fmt: skip
_CHANNEL_SHARE = {"public_voice": 0.5, "monitoring": 0.35, "safety_app": 0.15}
# assumed: people write when something is wrong; only of other things some write in praise.
_NEGATIVE_SHARE, _NEUTRAL_SHARE, _PRAISE_SHARE = 0.62, 0.33, 0.6
_STATE_SHARE = {"collected": 0.45, "answered": 0.35, "assigned": 0.1, "no_action": 0.1}
# assumed: a burst every thirty days, of three days, in which one county writes as much of one topic as all others write of all in that time, or more.
_DAYS_PER_BURST, _BURST_DAYS, _LEAST_IN_BURST = 30, 3, 8
_BURST_TOPICS = ("environment", "housing", "labour", "hazard", "education", "medical")
# assumed: how exactly a post says where it is, from a county to nowhere.
_PLACED_SHARE = {"county": 0.5, "town": 0.3, "village": 0.1, "nowhere": 0.1}
_BECAME_EVENT_SHARE, _LEAST_BECAME = 0.04, 6
_DAY = 86_400
_COLUMNS = (
    "post_id", "channel_code", "topic_code", "sentiment_code", "title", "content", "region_code", "read_count", "comment_count", "share_count",
    "reported_at", "collected_at", "state_code", "answered_at", "answer_organisation", "answer", "correlation_id", "source_version", "changed_at",
)  # fmt: skip
_BURST = pa.schema(
    [("topic_code", pa.string()), ("region_code", pa.string()), ("first_day", pa.date32()), ("last_day", pa.date32()), ("post_count", pa.int64())]
)
_DIRT = (
    Dirt("wrong_type", "type", "read_count", {"read_count": "十万加"}),
    Dirt("unknown_code", "code_list", "topic_code", {"topic_code": "噪音"}),
    Dirt("missing_required", "required", "content", {"content": None}),
    Dirt("unknown_region", "region_unknown", "region_code", {"region_code": "339900000000"}),
    Dirt("broken_rule", "collected_after_posted", None, {"collected_at": "2020-01-01 08:00:00"}),
    # Whoever sends who wrote it is refused, so that nobody is kept by mistake.
    Dirt("unknown_column", "unknown_column", "author_id", {"author_id": "u_20117"}),
)


@cache
def phrases() -> Mapping[str, Any]:
    """Rules by symbol, titles and complaints by topic."""
    document: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("opinion_phrases.yml").read_text(encoding="utf-8"))
    return document


def feed(random: np.random.Generator, ground: Ground, truth: Truth) -> Feed:
    """Each month a file of JSON lines; a post that was dealt with comes again as its second version.

    Truth gets `opinion_burst`: topic_code, region_code (a county), first_day, last_day and post_count.
    """
    posts = _written(random, ground, truth)
    first = posts.assign(state_code="collected", source_version=1, changed_at=posts.collected_at)
    first = first.assign(answered_at=deliveries.no_times(first))
    first[["answer_organisation", "answer", "correlation_id"]] = None
    later = posts[posts.state_code != "collected"].assign(source_version=2)
    later["changed_at"] = later.dealt_at
    later["answered_at"] = later.dealt_at.where(later.state_code == "answered")
    rows = pd.concat([first, later[later.changed_at < ground.end]], ignore_index=True)
    return deliveries.line_feed(random, SOURCE, NAME, deliveries.placed(rows, SENDER, NAME, "jsonl"), _COLUMNS, _DIRT)


def _written(random: np.random.Generator, ground: Ground, truth: Truth) -> pd.DataFrame:
    count = int(np.clip(len(ground.events) * _POSTS_PER_EVENT, _LEAST, _MOST))
    grids = ground.territory.grids
    place = random.integers(len(grids), size=count)
    second = random.integers(ground.days, size=count) * _DAY + _time_of_day(random, count)
    topic = deliveries.drawn(random, _TOPIC_SHARE, count)
    in_burst = _burst(random, ground, truth, place, second, topic)
    became = random.permutation(np.flatnonzero(~in_burst))[: max(_LEAST_BECAME, round(count * _BECAME_EVENT_SHARE))]
    lasting = np.flatnonzero(~ground.events.is_deleted.to_numpy())
    event = lasting[random.integers(len(lasting), size=len(became))]
    place[became] = ground.events.grid.to_numpy()[event]
    start = ground.first_day.astype("datetime64[s]")
    second[became] = np.maximum((ground.events.reported_at.to_numpy()[event] - start).astype(np.int64) - random.integers(600, 20_000, len(became)), 0)
    correlation = np.full(count, None, object)
    correlation[became] = ground.events.sender_code.to_numpy(object)[event] + "-" + ground.events.event_id.to_numpy(object)[event]
    order = np.lexsort((np.arange(count), second))
    place, second, topic, correlation = place[order], second[order], topic[order], correlation[order]
    level = deliveries.drawn(random, _PLACED_SHARE, count)
    here = grids.iloc[place].reset_index(drop=True)
    columns = {"county": "county_code", "town": "town_code", "village": "region_code"}
    region = np.full(count, None, object)
    for name, code in columns.items():
        region = np.where(level == name, here[code].to_numpy(object), region)
    named = np.where(level == "county", here.county.to_numpy(object), here.town.to_numpy(object))
    heat = np.round(random.lognormal(4.5, 1.4, count) * np.where(in_burst[order], 6, 1)).astype(np.int64)
    posts = pd.DataFrame(
        {
            "channel_code": deliveries.drawn(random, _CHANNEL_SHARE, count),
            "topic_code": topic,
            "sentiment_code": _moods(random, topic),
            "region_code": region,
            "read_count": heat,
            "comment_count": random.binomial(heat, 0.03),
            "share_count": random.binomial(heat, 0.01),
            "reported_at": start + second.astype("timedelta64[s]"),
            "state_code": np.where(pd.notna(correlation), "answered", deliveries.drawn(random, _STATE_SHARE, count)),
            "answer_organisation": here.county.to_numpy(object) + "社会治理中心",
            "correlation_id": correlation,
            **_texts(random, topic, named),
        }
    )
    posts["collected_at"] = posts.reported_at + random.integers(60, 7200, count).astype("timedelta64[s]")
    posts = posts[posts.collected_at < ground.end].reset_index(drop=True)
    posts["dealt_at"] = posts.collected_at + random.integers(3 * 3600, 9 * _DAY, len(posts)).astype("timedelta64[s]")
    answered = (posts.state_code == "answered").to_numpy()
    for column in ("answer_organisation", "answer"):
        posts[column] = kept(posts[column].to_numpy(object), answered)
    posts["post_id"] = deliveries.numbered("YQ", posts.reported_at, pd.Series(SENDER, posts.index, dtype=object))
    return posts


def _burst(
    random: np.random.Generator, ground: Ground, truth: Truth, place: NDArray[np.int64], second: NDArray[np.int64], topic: Texts
) -> NDArray[np.bool_]:
    """Some of the posts move to a topic, a county and a few days; gives which. The posts of a burst come one after the other."""
    grids = ground.territory.grids
    counties = grids.county_code.drop_duplicates().to_numpy(object)
    bursts = max(2, ground.days // _DAYS_PER_BURST)
    size = max(_LEAST_IN_BURST, 2 * _BURST_DAYS * len(place) // ground.days)
    known = []
    for number in range(bursts):
        rows = np.arange(number * size, min((number + 1) * size, len(place) // 2))
        if len(rows) < _LEAST_IN_BURST:
            break
        county = counties[random.integers(len(counties))]
        day = int(random.integers(max(ground.days - _BURST_DAYS, 1)))
        of_county = np.flatnonzero(grids.county_code.to_numpy(object) == county)
        place[rows] = of_county[random.integers(len(of_county), size=len(rows))]
        second[rows] = (day + random.integers(_BURST_DAYS, size=len(rows))) * _DAY + _time_of_day(random, len(rows))
        topic[rows] = _BURST_TOPICS[random.integers(len(_BURST_TOPICS))]
        first = ground.first_day + day
        known.append((topic[rows[0]], county, first.item(), (first + _BURST_DAYS - 1).item(), len(rows)))
    truth.keep("opinion_burst", pa.Table.from_pylist([dict(zip(_BURST.names, burst, strict=True)) for burst in known], _BURST))
    in_burst: NDArray[np.bool_] = np.arange(len(place)) < sum(count for *_, count in known)
    return in_burst


def _time_of_day(random: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Seconds since midnight; most people write in the evening."""
    drawn: NDArray[np.int64] = (np.clip(random.normal(17.5, 4.2, count), 0, 23.99) * 3600).astype(np.int64)
    return drawn


def _moods(random: np.random.Generator, topic: Texts) -> Texts:
    drawn = random.random(len(topic))
    complaint = np.select([drawn < _NEGATIVE_SHARE, drawn < _NEGATIVE_SHARE + _NEUTRAL_SHARE], ["negative", "neutral"], "positive")
    found: Texts = np.where((topic == "other") & (random.random(len(topic)) < _PRAISE_SHARE), "positive", complaint).astype(object)
    return found


def _texts(random: np.random.Generator, topic: Texts, place: Texts) -> dict[str, Texts]:
    words = phrases()
    grammar = Grammar(random, words["rules"])
    given = {"place": place, "what": np.empty(len(topic), object)}
    title = np.empty(len(topic), object)
    for code in _TOPIC_SHARE:
        rows = np.flatnonzero(topic == code)
        given["what"][rows] = grammar.choose(words["what"][code], given, rows)
        title[rows] = grammar.choose(words["titles"][code], given, rows)
    return {"title": title, "content": grammar.write("sentence", given, len(topic)), "answer": grammar.write("answer", given, len(topic))}
