"""Which two records are one person: blocking and scored comparison of their versions, in DuckDB, on join tokens and clear columns.

Nothing is opened: a name, number or address is compared by its token, which is equal or not. `person_link.yml` says what each agreement weighs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import yaml
from pydantic import BaseModel

FIELDS = ("id_number", "person_name", "birth_date", "sex_code", "phone")
LEVELS = ("address", "village", "county", "elsewhere")
# Every pair above the threshold agrees on one of these; the last finds only what a person should look at.
BLOCKS = (("id_number",), ("person_name", "birth_date"), ("person_name", "phone"), ("person_name", "address"), ("phone", "birth_date"))
_DECLARED = Path(__file__).with_name("person_link.yml")


class Weight(BaseModel, extra="forbid"):
    """Bits for a field that agrees or differs; one that is missing on either side says nothing."""

    agree: float
    differ: float


class Weights(BaseModel, extra="forbid"):
    """How a pair of one person stands out from a pair of strangers."""

    prior: float
    id_number: Weight
    person_name: Weight
    birth_date: Weight
    sex_code: Weight
    phone: Weight
    place: Mapping[str, float]


class Model(BaseModel, extra="forbid"):
    """`person_link.yml`; its comments say where the figures come from."""

    version: str
    threshold: float
    possible_from: float
    records_per_id_number: int
    anybody: Weights
    household: Weights

    @classmethod
    def load(cls, path: Path = _DECLARED) -> Model:
        """The declared model."""
        return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def link(database: duckdb.DuckDBPyConnection, model: Model) -> None:
    """Make the tables `shared_id_number(record)` and `link` of the table `version`.

    `version`: one row per record and state of what identifies it: record (number by first arrival), since (timestamp), is_current, person_name,
    id_number, phone, address (tokens), birth_date, sex_code, region_code (of the village); null is unknown. A record has one current row.
    `link`: left_record < right_record, score (bits), agreed, differed (names of fields, with commas), since (when both sides had first said so
    much), until (since when they contradict each other; null: never), is_linked (else it is to be looked at). What two records once said counts
    on: a new phone takes nothing from them; only two other ID numbers with two other names do.
    """
    database.execute(f"""
        create or replace table placeholder as
        select id_number from version where id_number is not null group by id_number having count(distinct record) > {model.records_per_id_number};
        create or replace table shared_id_number as select distinct record from version semi join placeholder using (id_number);
    """)
    if database.execute("select count(*) from placeholder").fetchall() != [(0,)]:
        unknown = "case when id_number in (select id_number from placeholder) then null else id_number end"
        database.execute(f"create or replace table version as select * replace ({unknown} as id_number) from version")
    database.execute(f"create or replace table pair as {' union all '.join(_block(number) for number in range(len(BLOCKS)))}")
    database.execute(f"create or replace table scored as {_scored(model)}")
    database.execute(f"""
        create or replace table link as
        with best as (
            select
                left_record,
                right_record,
                max(score) as score,
                min_by(agreed, (-score, since, agreed)) as agreed,
                min_by(differed, (-score, since, agreed)) as differed,
                coalesce(min(since) filter (score >= {_points(model.threshold)}), min(since)) as since
            from scored group by left_record, right_record
        )
        select
            best.left_record,
            best.right_record,
            best.score / 100.0::double as score,
            best.agreed,
            best.differed,
            best.since,
            case when now_left.id_number <> now_right.id_number and now_left.person_name <> now_right.person_name
                then greatest(now_left.since, now_right.since) end as until,
            best.score >= {_points(model.threshold)} as is_linked
        from best
        join version as now_left on now_left.record = best.left_record and now_left.is_current
        join version as now_right on now_right.record = best.right_record and now_right.is_current
        where is_linked or until is null
    """)
    database.execute("drop table pair; drop table scored; drop table placeholder")


def _block(number: int) -> str:
    """Pairs of versions that agree on a block's columns and on none of the blocks before it."""
    same = " and ".join(f"l.{c} = r.{c}" for c in BLOCKS[number])
    seen = "".join(f" and not coalesce({' and '.join(f'l.{c} = r.{c}' for c in block)}, false)" for block in BLOCKS[:number])
    return f"select l.rowid as l, r.rowid as r from version as l join version as r on {same} and l.record < r.record{seen}"


def _scored(model: Model) -> str:
    """Each pair with its score in hundredths of a bit, integers so that no sum depends on its order."""
    states = ", ".join(f"case when l.{f} = r.{f} then 1 when l.{f} <> r.{f} then -1 else 0 end as {f}" for f in FIELDS)
    agreed = ", ".join([*(f"case {f} when 1 then '{f}' end" for f in FIELDS), "case when place <> 'elsewhere' then place end"])
    differed = ", ".join([*(f"case {f} when -1 then '{f}' end" for f in FIELDS), "case when place = 'elsewhere' then 'place' end"])
    return f"""
        with compared as (
            select
                l.record as left_record,
                r.record as right_record,
                greatest(l.since, r.since) as since,
                {states},
                case
                    when l.address = r.address then 'address'
                    when l.region_code = r.region_code then 'village'
                    when left(l.region_code, 6) = left(r.region_code, 6) then 'county'
                    when l.region_code <> r.region_code then 'elsewhere'
                end as place
            from pair join version as l on l.rowid = pair.l join version as r on r.rowid = pair.r
        ),
        weighed as (
            select
                left_record, right_record, since, concat_ws(',', {agreed}) as agreed, concat_ws(',', {differed}) as differed,
                least({_total(model.anybody)}, case when place = 'address' or phone = 1 then {_total(model.household)} end) as score
            from compared
        )
        select * from weighed where score >= {_points(model.possible_from)}
    """


def _total(weights: Weights) -> str:
    parts = [str(_points(weights.prior))]
    for field in FIELDS:
        weight: Weight = getattr(weights, field)
        parts.append(f"case {field} when 1 then {_points(weight.agree)} when -1 then {_points(weight.differ)} else 0 end")
    cases = " ".join(f"when '{level}' then {_points(weights.place[level])}" for level in LEVELS)
    return " + ".join([*parts, f"case place {cases} else 0 end"])


def _points(bits: float) -> int:
    return round(bits * 100)
