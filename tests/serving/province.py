"""A published-looking lake without an engine: marts of a made-up province (and of a town abroad) with the columns of the real ones.

Events fall on every day of the last nine weeks in nine of the eleven cities; every derived mart is computed from
`mart.event_daily` by SQL of this file's own, so that answers can be checked against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from gridlake import vocabularies
from gridlake.runs import Run
from gridlake.settings import CHECKOUT, Settings

CONTRACTS = Path(__file__).parent / "contracts"
# Midnight of Tuesday 3 March 2026 in Shanghai: the last complete ISO week is 2026-W09, 23 February to 1 March.
AS_OF = datetime(2026, 3, 2, 16, tzinfo=UTC)
SILENT_CITIES = ("331000000000", "331100000000")
# What a run that is published may have found.
WARNING = {
    "suite": "set.refusals_are_few",
    "table": "mart.feed_quality",
    "expectation": "ExpectColumnValuesToBeBetween",
    "title": "拒收率不超过百分之十",
    "column": "refused_pct",
    "severity": "warning",
    "observed": "1 of 12 rows",
    "unexpected_count": 1,
}
DAYS = 63
EVENTS_A_DAY = 260

_TOWN = [
    ("town", "T", "Town", 1, None),
    ("town", "T/N 1", "North", 2, "T"),
    ("town", "T/S 2", "South", 2, "T"),
]

# Two grids in every village of one county: events may lie in them, as in the real marts.
_GRIDS = """
insert into region
select 'cn', '330100000000-' || region_code || '-' || n, region_name || '第' || n || '网格', 6, region_code
from region, range(1, 3) as g(n) where region_level = 5 and region_code like '330106%'
"""

_EVENT_DAILY = """
create table event_daily as
with place as (
    select region_code, region_system, row_number() over (order by region_code) - 1 as n
    from region where region_system = 'cn' and region_level >= 5 and left(region_code, 4) || '00000000' not in (select unnest($silent))
),
class as (select code, row_number() over (order by code) - 1 as n from event_class where length(code) = 4),
made as (
    select i, hash(i) as h, h % (select count(*) from place) as place, (h // 5) % (select count(*) from class) as class,
           date '2026-03-02' - (i // $a_day)::int as business_date
    from range($days * $a_day) as r(i)
)
select m.business_date, p.region_system, p.region_code, left(p.region_code, 4) || '00000000' as sender_code, c.code as class_code,
       (1 + m.h // 7 % 4)::varchar as level_code, (1 + m.h // 11 % 3)::bigint as event_count,
       least(1 + m.h // 11 % 3, m.h // 13 % 4)::bigint as closed_count, (m.h // 17 % 9 = 0)::bigint as overdue_count,
       (m.h // 19 % 20 = 0)::bigint as invalid_count, (least(1 + m.h // 11 % 3, m.h // 13 % 4) * (m.h // 23 % 3000))::bigint as handling_minutes_sum,
       least(1 + m.h // 11 % 3, m.h // 13 % 4)::bigint as handling_count
from made as m join place as p on p.n = m.place join class as c on c.n = m.class
union all
select date '2026-03-01' - (i % 30)::int, 'town', case i % 2 when 0 then 'T/N 1' else 'T/S 2' end, 'town_hall', '0101', '1', 2, 1, 1, 0, 240, 1
from range(60) as r(i)
"""

_DERIVED = {
    "region_closure": """
        with recursive up as (
            select region_system, region_code as ancestor_code, region_level as ancestor_level, region_code, region_level, 0::bigint as distance
            from region
            union all
            select up.region_system, p.parent_code, a.region_level, up.region_code, up.region_level, up.distance + 1
            from up join region as p on p.region_system = up.region_system and p.region_code = up.ancestor_code
            join region as a on a.region_system = p.region_system and a.region_code = p.parent_code
        )
        select * from up
    """,
    "region_overview": """
        with counted as (
            select c.region_system, c.ancestor_code as region_code, sum(event_count)::bigint as event_count,
                   sum(event_count) filter (business_date between date '2026-02-24' and date '2026-03-02')::bigint as event_count_7d,
                   sum(event_count) filter (business_date between date '2026-02-17' and date '2026-02-23')::bigint as event_count_previous_7d,
                   (sum(event_count) - sum(closed_count))::bigint as open_count, sum(overdue_count)::bigint as overdue_count,
                   sum(invalid_count)::bigint as invalid_count, round(100.0 * sum(closed_count) / sum(event_count), 2)::double as closed_pct
            from event_daily as e join region_closure as c using (region_system, region_code) group by all
        )
        select r.*, coalesce(event_count, 0) as event_count, coalesce(event_count_7d, 0) as event_count_7d,
               coalesce(event_count_previous_7d, 0) as event_count_previous_7d, coalesce(open_count, 0) as open_count,
               coalesce(overdue_count, 0) as overdue_count, coalesce(invalid_count, 0) as invalid_count, closed_pct,
               (6 - region_level)::bigint * 10 as grid_count, (6 - region_level)::bigint * 54 as member_count
        from region as r left join counted using (region_system, region_code) where region_level <= 3 or event_count is not null
    """,
    "overdue": """
        select business_date, region_system, region_code, sender_code, if(level_code = '1', '', '综合行政执法队') as organisation_name, class_code,
               sum(overdue_count)::bigint as overdue_count, count(*) filter (closed_count = 0) as open_overdue_count
        from event_daily where overdue_count > 0 group by all
    """,
    "team_staffing": """
        select date '2026-03-01' as month_date, region_system, region_code, grid_count, grid_count as leader_count,
               2 * grid_count as dedicated_count, grid_count as part_time_count, 0::bigint as adviser_count, 0::bigint as other_count, member_count,
               0::bigint as leader_short_count, 0::bigint as dedicated_short_count, 0::bigint as part_time_short_count,
               grid_count as adviser_short_count, grid_count as short_grid_count, 0::bigint as grid_without_leader_count from region_overview
    """,
    "feed_quality": """
        select 'city_platform__event' as feed, sender_code, business_date,
               sum(event_count)::bigint + 3 as received, sum(event_count)::bigint as accepted,
               2::bigint as refused, 1::bigint as duplicate, 0::bigint as waiting, round(200.0 / (sum(event_count) + 3), 2)::double as refused_pct,
               max(business_date)::timestamptz + interval 20 hours as last_received_at
        from event_daily where region_system = 'cn' group by all
        union all
        select 'town_hall__request', sender_code, business_date, sum(event_count)::bigint, sum(event_count)::bigint, 0, 0, 0, 0.0,
               max(business_date)::timestamptz + interval 20 hours
        from event_daily where region_system = 'town' group by all
    """,
    "refusal": """
        select feed, sender_code, 'required' as rule, 'class_code' as field, sum(refused)::bigint as row_count from feed_quality
        where refused > 0 group by all
    """,
    "finding": """
        select left(sha256('invalid_event|' || i), 32) as finding_id, 'invalid_event' as model, '1.0.0' as model_version, 'event' as subject_type,
               e.sender_code || '-E' || i as subject_id, e.sender_code, e.region_system, e.region_code, null::varchar as grid_id, e.business_date,
               round(0.6 + (i % 5) * 0.05, 6)::double as score, 0.6::double as threshold, '描述只说没有发现问题' as reason_zh,
               'only says that nothing was found' as reason_en
        from (select *, row_number() over (order by business_date, region_code, class_code, level_code, event_count) as i
              from event_daily where invalid_count > 0 and region_system = 'cn') as e
    """,
    "finding_reason": """
        select finding_id, model, unnest(['nil_report', 'burst']) as factor, unnest([0.7, 0.15])::double as weight,
               unnest([0.75, 0.5])::double as value,
               unnest([score - 0.075, 0.075])::double as contribution,
               unnest(['描述只说没有发现问题（说法 ' || (1 + length(subject_id) % 3) || ' 处）', '同一人 10 分钟内上报至少 5 件']) as reason_zh,
               unnest(['only says that nothing was found', 'a burst of reports']) as reason_en
        from finding
    """,
    "loop_closure": """
        select business_date, region_system, region_code, sender_code, model, count(*)::bigint as finding_count,
               count(*) filter (length(subject_id) % 2 = 0)::bigint as dispatched_count, 0::bigint as tasked_count,
               count(*) filter (length(subject_id) % 2 = 0)::bigint as signed_count, 0::bigint as answered_count, 0::bigint as disputed_count,
               count(*) filter (length(subject_id) % 4 = 0)::bigint as handled_count,
               count(*) filter (length(subject_id) % 4 = 0)::bigint as closed_count, 0::bigint as overdue_count
        from finding group by all
    """,
    "key_person_current": """
        select region_system, region_code, 'A' as person_type_code, (40 + hash(region_code) % 20)::bigint as person_count
        from region where region_system = 'cn' and region_level = 2 and region_code = '330100000000'
    """,
    "event_class": """
        select c.code as class_code, c.name_zh as class_name, c.parent_code, p.name_zh as parent_name
        from event_class as c left join event_class as p on p.code = c.parent_code
    """,
    "sender": """
        select region_code as sender_code, region_name || '基层治理平台' as sender_name, region_code from region
        where region_system = 'cn' and region_level = 2
        union all select 'town_hall', 'Town Hall', '*'
    """,
}  # fmt: skip


def settings(home: Path) -> Settings:
    """Settings of a lake with the contract of the town abroad."""
    return Settings(home=home, inbox=home.parent / "inbox", contracts=CONTRACTS)


def marts(regions: pa.Table | None = None, *, a_day: int = EVENTS_A_DAY, silent: Sequence[str] = SILENT_CITIES) -> dict[str, pa.Table]:
    """Every mart by name, without its schema; so many rows of `event_daily` a day, none in the silent cities."""
    declared = vocabularies.load_all(Settings(project=CHECKOUT))
    database = duckdb.connect()
    database.execute("set TimeZone = 'UTC'")
    database.register("given", declared.regions if regions is None else regions)
    columns = "region_system, region_code, region_name, region_level::bigint as region_level, parent_code"
    database.execute(f"create table region as select {columns} from given")
    database.execute(_GRIDS)
    database.executemany("insert into region values (?, ?, ?, ?, ?)", _TOWN)
    database.register("event_class_list", declared["event_class"].rows)
    database.execute("create table event_class as select * from event_class_list")
    database.execute(_EVENT_DAILY, {"silent": list(silent), "days": DAYS, "a_day": a_day})
    made = {}
    for name, sql in _DERIVED.items():
        # event_class names both the code list and the mart made of it.
        made[name] = database.sql(sql).to_arrow_table()
        if name != "event_class":
            database.execute(f"create table {name} as {sql}")
    made |= {name: database.table(name).to_arrow_table() for name in ("event_daily", "region")}
    return made


def run_over(home: Path, tables: dict[str, pa.Table]) -> Run:
    """A checked run whose marts are these; publishing and reporting are still to come."""
    run = Run.start(settings(home), quiet=True)
    for name, table in tables.items():
        run.tables.ensure(f"mart.{name}", table.schema)
        run.tables.overwrite(f"mart.{name}", table)
    run.tables.ensure("bronze.city_platform__event", pa.schema([("event_id", pa.string())]))
    return checked(run)


def checked(run: Run) -> Run:
    """The run as it stands after the step `check`, over whatever marts its lake has."""
    run.as_of, run.cut = AS_OF, {"bronze.city_platform__event": 0}
    run.steps = {
        "mart": {"tables": {name: run.tables.row_count(name) for name in run.tables.names() if name.startswith("mart.")}},
        "check": {"checks": {"passed": 12, "failed": 1, "critical_failed": 0}, "failures": [WARNING], "page": "index.html"},
        "detect": {"findings": {"invalid_event": {"count": run.tables.row_count("mart.finding"), "version": "1.0.0"}}},
    }
    return run
