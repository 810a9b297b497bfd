"""Disputes and how they are settled: some grow out of events, most are brought to a mediation centre; with parties, sums, steps and ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import deliveries, dirt, people, profiles
from streaming.simulator.dirt import Dirt
from streaming.simulator.events import phrases as event_phrases
from streaming.simulator.feeds import Ground
from streaming.simulator.parcels import Feed, arranged
from streaming.simulator.plan import day_weights
from streaming.simulator.texts import Grammar, Texts, kept

# official: county centres took in 275,000 disputes in nine months of 2020, 5.7 a year for 1,000 residents. The two cities of the default province
# would so have 109,000 in its 400 days; like its events they are a sample, and --events scales it. assumed: for 100 events 2.5 disputes brought to
# a centre, and one in seven reports of a quarrel ends there.
_BROUGHT_PER_EVENT, _FROM_QUARREL_SHARE = 0.025, 0.15
_QUARRELS = "01"
# official: 99.2 % of them were settled.
SETTLED_SHARE = 0.992
# assumed: the mix follows the second-level classes of quarrels, with what only centres and courts see.
_TYPE_SHARE = {
    "neighbour": 0.20, "family": 0.16, "labour": 0.13, "property": 0.07, "land": 0.03, "relocation": 0.02, "consumer": 0.06, "debt": 0.10,
    "contract": 0.06, "damage": 0.06, "traffic": 0.07, "medical": 0.01, "environment": 0.01, "inheritance": 0.01, "other": 0.01,
}  # fmt: skip
_CHANNEL_SHARE = {"window": 0.45, "grid": 0.18, "online": 0.12, "court": 0.10, "police": 0.08, "petition": 0.04, "hotline": 0.03}
_LEVEL_SHARE = {"1": 0.52, "2": 0.38, "3": 0.085, "4": 0.015}
_OFFICE_CHANNELS = ("window", "court", "petition")
# assumed: with a company or an office on the other side; median sums in yuan.
_AGAINST_ENTERPRISE = {"labour": 0.9, "property": 0.85, "consumer": 0.85, "medical": 0.8, "environment": 0.8, "relocation": 0.6, "contract": 0.5}
_MEDIAN_YUAN = {
    "labour": 18_000, "property": 3_000, "land": 12_000, "relocation": 80_000, "consumer": 2_500, "debt": 45_000, "contract": 60_000, "damage": 8_000,
    "traffic": 9_000, "medical": 25_000, "environment": 15_000, "inheritance": 150_000, "family": 20_000, "neighbour": 2_000, "other": 5_000,
}  # fmt: skip
_NO_SUM_SHARE = {"family": 0.8, "neighbour": 0.7, "other": 0.8}
_WITHDRAWN_SHARE, _NOT_ACCEPTED_SHARE, _RETURNED_SHARE, _TOGETHER_SHARE, _AGAIN_SHARE = 0.02, 0.012, 0.05, 0.08, 0.25
_ON_THE_SPOT_SHARE = {"1": 0.45, "2": 0.15, "3": 0.0, "4": 0.0}
_OVERDUE_SHARE, _NEVER_CLOSED_SHARE, _DELETED_SHARE, _EVERY_VERSION_SHARE = 0.035, 0.004, 0.003, 0.1
_KNOWN_APPLICANT_SHARE, _NAMED_IN_TEXT_SHARE, _PHONE_IN_TEXT_SHARE = 0.08, 0.06, 0.03
_EVIDENCE_SHARE = 0.5
_EACH_KIND_SHARE, _REPEATED_SHARE, _LATE_SHARE = 0.0004, 0.002, 0.002
_CENTRE = "矛盾纠纷调处化解中心"
_DAY = 86400

_DISPUTE_COLUMNS = (
    "dispute_id", "type_code", "level_code", "channel_code", "description", "region_code", "grid_id", "party_count", "applicant_name",
    "applicant_id_number", "applicant_phone", "respondent_name", "respondent_id_number", "respondent_credit_code", "amount_yuan",
    "organisation_name", "occurred_at", "reported_at", "accepted_at", "deadline_at", "closed_at", "state_code", "result_code", "closing_note",
    "origin_type", "origin_id", "correlation_id", "source_version", "changed_at",
)  # fmt: skip
_STEP = pa.schema(
    [
        ("step_id", pa.string()),
        ("dispute_id", pa.string()),
        ("step_no", pa.int64()),
        ("action_code", pa.string()),
        ("from_state", pa.string()),
        ("to_state", pa.string()),
        ("actor_organisation", pa.string()),
        ("happened_at", pa.timestamp("us")),
        ("deadline_at", pa.timestamp("us")),
        ("evidence_digest", pa.string()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
        ("_op", pa.string()),
    ]
)
_DIRT = (
    Dirt("wrong_type", "type", "party_count", {"party_count": "四人"}),
    Dirt("unknown_code", "code_list", "type_code", {"type_code": "邻里"}),
    Dirt("missing_required", "required", "description", {"description": None}),
    Dirt("wrong_pattern", "pattern", "applicant_id_number", {"applicant_id_number": "33990119901301000X"}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": dirt.ELSEWHERE}),
    Dirt(
        "broken_rule", "closed_has_time_and_result", None,
        {"state_code": "closed", "closed_at": None, "result_code": None, "closing_note": None},
    ),
    Dirt("broken_rule", "origin_in_pairs", None, {"origin_type": "event", "origin_id": None}),
    Dirt("unknown_column", "unknown_column", "weather", {"weather": "小雨"}),
    Dirt("broken_encoding", "encoding", None, spoil="gb18030"),
)  # fmt: skip
_STEP_DIRT = (
    Dirt("wrong_type", "type", "step_no", {"step_no": "第二步"}),
    Dirt("unknown_code", "code_list", "action_code", {"action_code": "调处"}),
    Dirt("missing_required", "required", "dispute_id", {"dispute_id": None}),
    Dirt("broken_rule", "mediating_is_mediation", None, {"action_code": "mediate", "from_state": "assigned", "to_state": "assigned"}),
)


@dataclass(frozen=True)
class _Step:
    action: str
    from_state: str | None
    to_state: str
    actor: str  # village, centre or organisation
    clock: str  # which of the dispute's moments it happens at


_REPORT = _Step("report", None, "reported", "village", "report")
_ACCEPT = _Step("accept", "reported", "accepted", "centre", "accept")
_ASSIGN = _Step("assign", "accepted", "assigned", "centre", "assign")
_MEDIATE = _Step("mediate", "assigned", "mediating", "organisation", "mediate")
_AGAIN = _Step("mediate", "mediating", "mediating", "organisation", "again")
_CLOSE = _Step("close", "mediating", "closed", "organisation", "end")
# The ways a dispute can go; the last step's moment is its end.
_WAYS: Mapping[str, tuple[_Step, ...]] = {
    "on_the_spot": (
        _REPORT, _ACCEPT, _Step("mediate", "accepted", "mediating", "centre", "mediate"), _Step("close", "mediating", "closed", "centre", "end"),
    ),
    "plain": (_REPORT, _ACCEPT, _ASSIGN, _MEDIATE, _CLOSE),
    "again": (_REPORT, _ACCEPT, _ASSIGN, _MEDIATE, _AGAIN, _CLOSE),
    "returned": (
        _REPORT, _ACCEPT, _ASSIGN, _Step("return", "assigned", "accepted", "organisation", "return"),
        _Step("assign", "accepted", "assigned", "centre", "reassign"), _MEDIATE, _CLOSE,
    ),
    "together": (
        _REPORT, _ACCEPT, _ASSIGN, _MEDIATE, _Step("collaborate", "mediating", "mediating", "centre", "together"),
        _Step("feedback", "mediating", "mediating", "organisation", "again"), _CLOSE,
    ),
    "not_accepted": (_REPORT, _Step("reject", "reported", "rejected", "centre", "end")),
    "withdrawn": (_REPORT, _ACCEPT, _Step("withdraw", "accepted", "withdrawn", "village", "end")),
}  # fmt: skip


@cache
def phrases() -> Mapping[str, Any]:
    """The words of the disputes, as dispute_phrases.yml has them."""
    document: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("dispute_phrases.yml").read_text(encoding="utf-8"))
    return document


def feeds(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies, cities: Sequence[str]) -> Iterator[Feed]:
    """Disputes each month as JSON lines; their steps as Parquet, from every second city as JSON lines."""
    disputes = arise(random, ground, vocabularies)
    if not len(disputes):
        return
    steps = settle(random, disputes, ground)
    deleted = _deletions(random, disputes, steps, ground)
    yield _dispute_feed(random, disputes, steps, deleted)
    yield from _step_feeds(random, disputes, steps, deleted, cities)


def arise(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies) -> pd.DataFrame:
    """Disputes by sender and time of registration.

    Columns: the feed's own without those of a version, and grid (row of the territory), event (row of events, -1 where brought by a party),
    limit_days, way and result_code as they will be in the end.
    """
    events = ground.events
    types = vocabularies["dispute_type"].rows.to_pandas()
    type_of = dict(zip(types.event_class_code.dropna(), types.code[types.event_class_code.notna()], strict=True))
    class_code = events.class_code.astype(str)
    grown = np.flatnonzero(
        (class_code.str[:2] == _QUARRELS)
        & (events.kind == "")
        & ~events.is_deleted
        & events.state_code.astype(str).isin(["accepted", "dispatched", "handling", "handled", "closed"])
    )
    grown = grown[random.random(len(grown)) < _FROM_QUARREL_SHARE]
    from_event = pd.DataFrame(
        {"event": grown, "grid": events.grid.to_numpy()[grown], "type_code": class_code.iloc[grown].map(type_of).fillna("other").to_numpy(object)}
    )
    from_event["channel_code"] = "event"
    later = random.uniform(1800, 3 * _DAY, len(grown)).astype("timedelta64[s]")
    from_event["reported_at"] = events.reported_at.to_numpy()[grown].astype("datetime64[s]") + later
    disputes: pd.DataFrame = pd.concat([from_event, _brought(random, ground, vocabularies, types)], ignore_index=True)
    end = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[s]")
    disputes = disputes[disputes.reported_at < end]
    for column in ("sender_code", "region_code", "grid_id"):
        disputes[column] = ground.territory.grids[column].to_numpy(object)[disputes.grid]
    disputes = disputes.sort_values(["sender_code", "reported_at", "grid"], kind="stable", ignore_index=True)
    disputes["dispute_id"] = deliveries.numbered("JF", disputes.reported_at, disputes.sender_code)
    disputes["level_code"] = deliveries.drawn(random, _LEVEL_SHARE, len(disputes))
    limits = vocabularies["dispute_level"].rows.to_pandas().set_index("code").limit_days.astype(int)
    disputes["limit_days"] = disputes.level_code.map(limits).astype(int)
    before = np.minimum(random.lognormal(np.log(12 * _DAY), 1.2, len(disputes)), 900 * _DAY).astype("timedelta64[s]")
    occurred = (disputes.reported_at.to_numpy().astype("datetime64[s]") - before).astype("datetime64[D]").astype("datetime64[s]")
    disputes["occurred_at"] = pd.Series(occurred).where(random.random(len(disputes)) < 0.8)
    _say_who(random, disputes, ground)
    disputes["way"], disputes["result_code"] = _outcomes(random, disputes)
    _say_what(random, disputes, ground)
    return disputes


def _brought(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies, types: pd.DataFrame) -> pd.DataFrame:
    """Disputes that a party, a court, the police or a grid member brings to the centre."""
    grids = ground.territory.grids
    count = round(len(ground.events) * _BROUGHT_PER_EVENT)
    weight = grids.resident_count.to_numpy() * random.lognormal(0, 0.4, len(grids))
    found = pd.DataFrame({"event": -1, "grid": random.choice(len(grids), size=count, p=weight / weight.sum())})
    found["type_code"] = deliveries.drawn(random, _TYPE_SHARE, count)
    found["channel_code"] = deliveries.drawn(random, _CHANNEL_SHARE, count)
    weights = day_weights(vocabularies, ground.first_day, ground.days)
    months = (ground.first_day + np.arange(ground.days).astype("timedelta64[D]")).astype("datetime64[M]").astype(int) % 12 + 1
    class_of = types.set_index("code").event_class_code.to_dict()
    day = np.zeros(count, np.int64)
    for code, rows in found.groupby("type_code", sort=True).indices.items():
        season = profiles.SEASONS.get(str(class_of[code]), {})
        of_type = weights * np.array([season.get(int(month), 1.0) for month in months])
        day[rows] = random.choice(ground.days, size=len(rows), p=of_type / of_type.sum())
    hour = random.choice(24, size=count, p=np.array(profiles.HOURS) / sum(profiles.HOURS))
    second = np.where(
        found.channel_code.isin(_OFFICE_CHANNELS), random.integers(9 * 3600, 17 * 3600, count), hour * 3600 + random.integers(0, 3600, count)
    )
    found["reported_at"] = ground.first_day.astype("datetime64[s]") + (day * _DAY + second).astype("timedelta64[s]")
    return found


def _say_who(random: np.random.Generator, disputes: pd.DataFrame, ground: Ground) -> None:
    """The parties: mostly strangers, some applicants residents whom other senders know, respondents often enterprises."""
    count = len(disputes)
    disputes["party_count"] = (
        2 + np.minimum(random.geometric(0.7, count) - 1, 60) + np.where(disputes.level_code == "4", random.integers(3, 40, count), 0)
    )
    disputes["applicant_name"], disputes["applicant_phone"] = people.names(random, count), people.phones(random, count)
    disputes["applicant_id_number"] = kept(people.id_numbers(random, count), random.random(count) < 0.85)
    persons = ground.residents.persons
    for sender, of_sender in disputes.groupby("sender_code", sort=True).indices.items():
        rows = np.asarray(of_sender, np.intp)
        known = persons[persons.id_number.notna() & (ground.territory.grids.sender_code.to_numpy(object)[persons.grid] == sender)]
        chosen = rows[random.random(len(rows)) < _KNOWN_APPLICANT_SHARE]
        if len(known) and len(chosen):
            who = known.iloc[random.integers(len(known), size=len(chosen))]
            for column in ("name", "id_number", "phone"):
                disputes.loc[chosen, f"applicant_{column}"] = who[column].to_numpy(object)
    disputes["applicant_phone"] = kept(disputes.applicant_phone.to_numpy(object), random.random(count) < 0.9)
    against = random.random(count) < disputes.type_code.map(_AGAINST_ENTERPRISE).fillna(0.02).to_numpy(dtype=float)
    enterprises = ground.residents.enterprises
    which = random.integers(len(enterprises), size=count)
    disputes["respondent_name"] = np.where(against, enterprises.enterprise_name.to_numpy(object)[which], people.names(random, count))
    disputes["respondent_credit_code"] = kept(enterprises.uscc.to_numpy(object)[which], against)
    disputes["respondent_id_number"] = kept(people.id_numbers(random, count), ~against & (random.random(count) < 0.5))
    middle = disputes.type_code.map(_MEDIAN_YUAN).to_numpy(dtype=float)
    amount = np.round(middle * random.lognormal(0, 1.0, count), -2)
    none = random.random(count) < disputes.type_code.map(_NO_SUM_SHARE).fillna(0.15).to_numpy(dtype=float)
    disputes["amount_yuan"] = np.where(none, np.nan, amount)


def _outcomes(random: np.random.Generator, disputes: pd.DataFrame) -> tuple[Texts, Texts]:
    """The way that each dispute goes, and its result once it has gone it."""
    count = len(disputes)
    edges = np.cumsum([_WITHDRAWN_SHARE, _NOT_ACCEPTED_SHARE, _RETURNED_SHARE, _TOGETHER_SHARE, _AGAIN_SHARE])
    ways = np.array(["withdrawn", "not_accepted", "returned", "together", "again", "plain"], object)[np.searchsorted(edges, random.random(count))]
    spot = random.random(count) < disputes.level_code.map(_ON_THE_SPOT_SHARE).to_numpy(dtype=float)
    ways[spot & np.isin(ways, ["plain", "again"])] = "on_the_spot"
    settled = random.random(count) < SETTLED_SHARE
    confirmed = random.random(count) < 0.1
    elsewhere = np.where(
        (disputes.type_code == "labour") & (random.random(count) < 0.5),
        "arbitration",
        deliveries.drawn(random, {"court": 0.6, "failed": 0.35, "review": 0.05}, count),
    )
    result = np.where(settled, np.where(confirmed, "confirmed", "mediated"), elsewhere).astype(object)
    # Who settles on the spot has settled; what fails goes the long way.
    ways[~settled & (ways == "on_the_spot")] = "again"
    result[ways == "withdrawn"] = "withdrawn"
    result[ways == "not_accepted"] = None
    return ways, result


def _say_what(random: np.random.Generator, disputes: pd.DataFrame, ground: Ground) -> None:
    grids = ground.territory.grids.iloc[disputes.grid].reset_index(drop=True)
    centre = grids.county.to_numpy(object) + _CENTRE
    own = np.where(disputes.level_code.isin(["3", "4"]), centre, grids.town.to_numpy(object) + "人民调解委员会")
    village = grids.village.to_numpy(object) + "人民调解委员会"
    disputes["organisation_name"] = np.where((disputes.level_code == "1") & (random.random(len(disputes)) < 0.5), village, own)
    words = phrases()
    grammar = Grammar(random, words["rules"])
    surname = disputes.applicant_name.str[:1].to_numpy(object)
    company = disputes.respondent_credit_code.notna().to_numpy()
    roads = np.array(event_phrases()["roads"], object)
    given: dict[str, Texts] = {
        "village": grids.village.to_numpy(object),
        "road": roads[random.integers(len(roads), size=len(disputes))],
        "organisation": disputes.organisation_name.to_numpy(object),
        "applicant": np.where(random.random(len(disputes)) < _NAMED_IN_TEXT_SHARE, disputes.applicant_name.to_numpy(object), surname + "某"),
        "respondent": np.where(company, "某企业", disputes.respondent_name.str[:1].to_numpy(object) + "某"),
        "what": np.full(len(disputes), "", object),
    }
    for code, rows in disputes.groupby("type_code", sort=True).indices.items():
        given["what"][rows] = grammar.choose(words["what"][str(code)], given, np.asarray(rows, np.intp))
    text = grammar.write("sentence", given, len(disputes))
    called = np.flatnonzero(disputes.applicant_phone.notna().to_numpy() & (random.random(len(disputes)) < _PHONE_IN_TEXT_SHARE))
    text[called] = text[called] + "联系电话" + disputes.applicant_phone.to_numpy(object)[called] + "。"
    disputes["description"] = text
    note = grammar.write("closing", given, len(disputes))
    failed = np.flatnonzero(disputes.result_code.isin(["failed", "court", "arbitration", "review"]).to_numpy())
    note[failed] = grammar.write("unsettled", given, failed)
    disputes["closing_note"] = note
    event = disputes.event.to_numpy()
    from_event = event >= 0
    event_id = kept(ground.events.event_id.to_numpy(object)[event.clip(min=0)], from_event)
    disputes["origin_type"], disputes["origin_id"] = kept(np.full(len(disputes), "event", object), from_event), event_id
    disputes["correlation_id"] = "LC" + pd.Series(event_id)


def settle(random: np.random.Generator, disputes: pd.DataFrame, ground: Ground) -> pd.DataFrame:
    """The steps that happened before the simulated days end, by dispute and number.

    Columns: dispute (row of disputes), step_no, action_code, from_state, to_state, actor_organisation, happened_at (local, seconds), deadline_at (of
    the accept and assign steps), evidence_digest.
    """
    moments = _moments(random, disputes)
    place = ground.territory.grids.iloc[disputes.grid]
    actors = {
        "village": place.village.to_numpy(object),
        "centre": place.county.to_numpy(object) + _CENTRE,
        "organisation": disputes.organisation_name.to_numpy(object),
    }
    reported = disputes.reported_at.to_numpy().astype("datetime64[s]").astype(np.int64)
    parts = []
    for name, steps in _WAYS.items():
        rows = np.flatnonzero(disputes.way == name)
        for number, step in enumerate(steps, 1):
            # Clerks keep office hours; two minutes at least lie between two entries.
            at = reported[rows] if number == 1 else np.maximum(_in_office(reported[rows] + moments[step.clock][rows]), reported[rows] + number * 120)
            columns = {
                "dispute": rows,
                "step_no": number,
                "action_code": step.action,
                "from_state": step.from_state,
                "to_state": step.to_state,
                "actor_organisation": actors[step.actor][rows],
                "happened_at": at.astype("datetime64[s]"),
            }
            parts.append(pd.DataFrame(columns))
    found = pd.concat(parts, ignore_index=True).sort_values(["dispute", "step_no"], kind="stable", ignore_index=True)
    accepted = found[found.action_code == "accept"].set_index("dispute").happened_at
    deadline = found.dispute.map(accepted) + pd.to_timedelta(disputes.limit_days.to_numpy()[found.dispute], unit="D")
    found["deadline_at"] = deadline.where(found.action_code.isin(["accept", "assign"]) & (deadline >= found.happened_at))
    with_paper = found.action_code.isin(["mediate", "close"]).to_numpy() & (random.random(len(found)) < _EVIDENCE_SHARE)
    found["evidence_digest"] = deliveries.digests(random, with_paper)
    end = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[s]")
    happened: pd.DataFrame = found[found.happened_at < end].reset_index(drop=True)
    return happened


def _moments(random: np.random.Generator, disputes: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Seconds after registration of each thing that may happen; ends never reached are far in the future."""
    count = len(disputes)
    limit = disputes.limit_days.to_numpy() * float(_DAY)
    total = np.minimum(_DAY + random.lognormal(np.log(5 * _DAY), 0.8, count), 0.93 * limit)
    late = random.random(count) < _OVERDUE_SHARE
    total = np.where(late, limit * (1.15 + random.exponential(0.4, count)), total)
    way = disputes.way.to_numpy(object)
    spot = np.clip(random.lognormal(np.log(3 * 3600), 0.7, count), 3600, 30 * 3600)
    total = np.select([way == "on_the_spot", np.isin(way, ["withdrawn", "not_accepted"])], [spot, random.uniform(3600, 4 * _DAY, count)], total)
    accept = np.minimum(random.lognormal(np.log(3 * 3600), 0.9, count), 0.15 * total)
    assign = accept + np.minimum(random.lognormal(np.log(5 * 3600), 0.9, count), 0.15 * total)
    back = assign + random.uniform(0.04, 0.1, count) * total
    again = back + random.uniform(0.02, 0.08, count) * total
    start = np.where(way == "returned", again, assign)
    mediate = start + random.uniform(0.1, 0.5, count) * (total - start)
    together = mediate + random.uniform(0.1, 0.4, count) * (total - mediate)
    more = together + random.uniform(0.2, 0.8, count) * (total - together)
    end = np.where(random.random(count) < _NEVER_CLOSED_SHARE, 10 * 365 * _DAY, total)
    named = {
        "accept": accept,
        "assign": assign,
        "return": back,
        "reassign": again,
        "mediate": mediate,
        "together": together,
        "again": more,
        "end": end,
    }
    return {name: np.floor(value).astype(np.int64) for name, value in named.items()}


def _in_office(at: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same days, but between 8:30 and 17:30; the order of any two times stays."""
    day, second = at // _DAY * _DAY, at % _DAY
    moved = np.interp(second, [0, 7 * 3600, 20 * 3600, _DAY], [8.5 * 3600, 9 * 3600, 17 * 3600, 17.5 * 3600])
    return np.asarray(day + moved, dtype=np.int64)


def _deletions(random: np.random.Generator, disputes: pd.DataFrame, steps: pd.DataFrame, ground: Ground) -> pd.DataFrame:
    """Which disputes their sender takes back after the last step: dispute (row), source_version and changed_at of the deletion."""
    last = steps.groupby("dispute").agg(step_no=("step_no", "last"), happened_at=("happened_at", "last"), state=("to_state", "last"))
    ended = last[last.state.isin(["closed", "rejected", "withdrawn"])]
    ended = ended[random.random(len(ended)) < _DELETED_SHARE]
    changed_at = ended.happened_at.to_numpy().astype("datetime64[s]") + random.integers(3600, 20 * _DAY, len(ended)).astype("timedelta64[s]")
    found = pd.DataFrame({"dispute": ended.index.to_numpy(), "source_version": ended.step_no.to_numpy() + 1, "changed_at": changed_at})
    end = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[s]")
    taken_back: pd.DataFrame = found[found.changed_at < end].reset_index(drop=True)
    return taken_back


def _dispute_feed(random: np.random.Generator, disputes: pd.DataFrame, steps: pd.DataFrame, deleted: pd.DataFrame) -> Feed:
    every = (random.random(len(disputes)) < _EVERY_VERSION_SHARE)[steps.dispute]
    sent = steps[deliveries.sent_versions(steps.dispute, steps.happened_at, every)].reset_index(drop=True)
    of = disputes.iloc[sent.dispute].reset_index(drop=True)
    accepted = sent.dispute.map(steps[steps.action_code == "accept"].set_index("dispute").happened_at)
    closed = sent.to_state == "closed"
    known = accepted <= sent.happened_at
    rows = of.assign(
        accepted_at=accepted.where(known),
        deadline_at=(accepted + pd.to_timedelta(of.limit_days, unit="D")).where(known),
        closed_at=sent.happened_at.where(closed),
        state_code=sent.to_state,
        result_code=of.result_code.where(sent.to_state.isin(["closed", "withdrawn"])),
        closing_note=of.closing_note.where(closed),
        source_version=sent.step_no,
        changed_at=sent.happened_at,
    )
    rows = deliveries.placed(rows, rows.sender_code, "dispute", "jsonl")
    lines = deliveries.lined(rows, _DISPUTE_COLUMNS)
    lines = dirt.delayed(random, lines, pd.Series(random.random(len(lines)) < 0.5), max(2, round(len(lines) * _LATE_SHARE)))
    good = lines[lines["_kind"].isna()]
    gone = deleted.assign(dispute_id=disputes.dispute_id.to_numpy(object)[deleted.dispute], _op="delete")
    gone = deliveries.placed(gone, disputes.sender_code.to_numpy(object)[deleted.dispute], "dispute", "jsonl")
    parts = [
        lines,
        dirt.spoiled_lines(random, good, _DIRT, max(1, round(len(rows) * _EACH_KIND_SHARE)), "dispute_id"),
        dirt.repeated(random, good, max(2, round(len(rows) * _REPEATED_SHARE))),
        deliveries.lined(gone, ["dispute_id", "_op", "source_version", "changed_at"]),
    ]
    return arranged("dispute", [part for part in parts if len(part)], pa.schema([]))


def _step_feeds(
    random: np.random.Generator, disputes: pd.DataFrame, steps: pd.DataFrame, deleted: pd.DataFrame, cities: Sequence[str]
) -> Iterator[Feed]:
    rows = steps.assign(dispute_id=disputes.dispute_id.to_numpy(object)[steps.dispute], source_version=1, changed_at=steps.happened_at, _op="upsert")
    rows["step_id"] = rows.dispute_id + "-" + rows.step_no.astype(str)
    gone = rows.merge(deleted[["dispute", "changed_at"]], on="dispute", suffixes=("_before", ""))
    no_date = np.full(len(gone), np.datetime64("NaT"), "datetime64[s]")
    gone = gone.assign(source_version=2, _op="delete", dispute_id=None, step_no=None, happened_at=no_date, deadline_at=no_date)
    gone[["action_code", "from_state", "to_state", "actor_organisation", "evidence_digest"]] = None
    each = max(1, round(len(rows) * _EACH_KIND_SHARE / 2))
    for suffix, senders in (("parquet", cities[0::2]), ("jsonl", cities[1::2])):
        parts = []
        for part in (rows, gone):
            sender = disputes.sender_code.to_numpy(object)[part.dispute]
            mine = np.isin(sender, list(senders))
            parts.append(deliveries.placed(part[mine].drop(columns="dispute"), sender[mine], "dispute_step", suffix))
        if not len(parts[0]):
            continue
        # A registering step would break the rules about registration besides.
        later = (parts[0].step_no > 1).to_numpy()
        if suffix == "parquet":
            # A typed file cannot hold text for a number.
            parts.append(dirt.spoiled_cells(random, parts[0][later], _STEP_DIRT[1:], each, "step_id"))
        else:
            columns = [name for name in _STEP.names if name != "_op"]
            parts = [deliveries.lined(parts[0], columns), deliveries.lined(parts[1], ["step_id", "source_version", "changed_at", "_op"])]
            parts.append(dirt.spoiled_lines(random, parts[0][later], _STEP_DIRT, each, "step_id"))
        yield arranged("dispute_step", [part for part in parts if len(part)], _STEP)
