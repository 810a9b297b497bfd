"""What grid members find wrong with the standard addresses of their grids, and what the province's library answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from streaming.simulator import deliveries
from streaming.simulator.dirt import ELSEWHERE, Dirt
from streaming.simulator.feeds import Ground
from streaming.simulator.parcels import CITY_PLATFORM, Feed
from streaming.simulator.texts import kept

NAME = "address_correction"
# assumed: a grid finds two wrong doors in a year; of the listed addresses, which are a sample, so many, within what a small feed may hold.
_WRONG_SHARE, _LEAST, _MOST = 0.08, 30, 1500
_KIND_SHARE = {"wrong_text": 0.4, "missing": 0.25, "wrong_position": 0.2, "abolished": 0.1, "duplicate": 0.05}
_ADOPTED_SHARE, _ANSWERED_SHARE = 0.75, 0.85
_ANSWERS = {"adopted": "已赋码入库", "declined": "与现场核查不符，不予变更"}
_DAY = 86_400
_TEXT, _TIME = pa.string(), pa.timestamp("us")
_COLUMNS = pa.schema(
    [
        *(
            (name, _TEXT)
            for name in ("correction_id", "correction_kind_code", "address_code", "region_code", "grid_id", "current_text", "proposed_text")
        ),
        ("longitude", pa.float64()),
        ("latitude", pa.float64()),
        ("note", _TEXT),
        ("reported_at", _TIME),
        ("answered_at", _TIME),
        ("state_code", _TEXT),
        ("answer_note", _TEXT),
        ("source_version", pa.int64()),
        ("changed_at", _TIME),
    ]
)
_DIRT = (
    Dirt("wrong_type", "type", "reported_at", {"reported_at": "上周"}),
    Dirt("unknown_code", "code_list", "state_code", {"state_code": "已采纳"}),
    Dirt("missing_required", "required", "correction_kind_code", {"correction_kind_code": None}),
    Dirt("wrong_pattern", "pattern", "address_code", {"address_code": "3301060020510000"}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("broken_rule", "answer_has_time", None, {"state_code": "adopted", "answered_at": None}),
)


def feed(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Feed:
    """Each quarter a CSV file from each city, every second city's in GB18030; a correction comes again once it is answered."""
    listed = ground.residents.addresses
    wanted = min(len(listed), int(np.clip(len(listed) * _WRONG_SHARE, _LEAST, _MOST)))
    wrong = listed.iloc[np.sort(random.permutation(len(listed))[:wanted])].reset_index(drop=True)
    count = len(wrong)
    kind = deliveries.drawn(random, _KIND_SHARE, count)
    missing = kind == "missing"
    second = np.sort(random.integers(max(ground.days - 1, 1), size=count)) * _DAY + random.integers(8 * 3600, 18 * 3600, count)
    moved = random.uniform(-0.002, 0.002, (2, count))
    seen = np.isin(kind, ["missing", "wrong_position"])
    rows = pd.DataFrame(
        {
            "sender_code": wrong.region_code.str[:4] + "00000000",
            "correction_kind_code": kind,
            "address_code": kept(wrong.address_code.to_numpy(object), ~missing),
            "region_code": wrong.region_code.to_numpy(object),
            "grid_id": ground.territory.grids.grid_id.to_numpy(object)[wrong.grid],
            "current_text": kept(wrong.address_text.to_numpy(object), ~missing),
            "proposed_text": kept(
                (wrong.address_text + np.where(missing, "后幢", "（更正）")).to_numpy(object), np.isin(kind, ["missing", "wrong_text"])
            ),
            "longitude": np.where(seen, (wrong.longitude + moved[0]).round(6), np.nan),
            "latitude": np.where(seen, (wrong.latitude + moved[1]).round(6), np.nan),
            "note": kept(np.full(count, "走访时发现", object), random.random(count) < 0.4),
            "reported_at": ground.first_day.astype("datetime64[s]") + second.astype("timedelta64[s]"),
        }
    ).sort_values(["sender_code", "reported_at"], kind="stable", ignore_index=True)
    rows["correction_id"] = deliveries.numbered("DF", rows.reported_at, rows.sender_code)
    never = pd.Series(pd.NaT, rows.index, rows.reported_at.dtype)
    first = rows.assign(answered_at=never, state_code="submitted", answer_note=None, source_version=1, changed_at=rows.reported_at)
    later = first[random.random(count) < _ANSWERED_SHARE].assign(source_version=2)
    later["answered_at"] = later.reported_at + random.integers(_DAY, 20 * _DAY, len(later)).astype("timedelta64[s]")
    later["state_code"] = np.where(random.random(len(later)) < _ADOPTED_SHARE, "adopted", "declined")
    later["answer_note"], later["changed_at"] = later.state_code.map(_ANSWERS), later.answered_at
    every = pd.concat([first, later[later.changed_at < ground.end]], ignore_index=True)
    placed = deliveries.quarterly(every, every.sender_code, NAME, "csv")
    return deliveries.typed_feed(random, CITY_PLATFORM, NAME, placed, _COLUMNS, _DIRT, gb18030_senders=cities[1::2])
