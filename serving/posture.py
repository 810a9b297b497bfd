"""What happened in a region between two days: totals, days, classes, regions below. Shared by the interface and the pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from serving.snapshots import Snapshot

Row = dict[str, Any]

# Sums over mart.event_daily under the names every reader uses.
_COUNTS = """
    coalesce(sum(e.event_count), 0)::bigint as event_count,
    coalesce(sum(e.closed_count), 0)::bigint as closed_count,
    round(100.0 * sum(e.closed_count) / nullif(sum(e.event_count), 0), 2) as closed_pct,
    coalesce(sum(e.overdue_count), 0)::bigint as overdue_count,
    coalesce(sum(e.invalid_count), 0)::bigint as invalid_count,
    round(sum(e.handling_minutes_sum) / nullif(sum(e.handling_count), 0), 1)::double as average_handling_minutes
"""
_OF_REGION = """
    from mart.event_daily as e
    where e.region_system = $system
      and e.region_code in (select region_code from mart.region_closure where region_system = $system and ancestor_code = $code)
"""
_WITHIN = f"{_OF_REGION} and e.business_date between $first and $last"
_BEFORE = f"{_OF_REGION} and e.business_date between $before and $until"


@dataclass(frozen=True)
class Period:
    """Days from first to last, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1

    @property
    def previous(self) -> Period:
        """The equally long period directly before."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))


def latest(snapshot: Snapshot, region_system: str, days: int) -> Period:
    """The last so many complete days of a region system's clock."""
    last = snapshot.manifest.region_systems[region_system].open_date - timedelta(days=1)
    return Period(last - timedelta(days=days - 1), last)


def totals(snapshot: Snapshot, region: Row, period: Period) -> Row:
    """One row of counts."""
    row = snapshot.row(f"select {_COUNTS} {_WITHIN}", _bound(region, period))
    assert row is not None
    return row


def by_day(snapshot: Snapshot, region: Row, period: Period) -> list[Row]:
    """One row of counts for each day of the period, days without events included."""
    return snapshot.rows(
        f"""
        with e as (select e.* {_WITHIN})
        select d.business_date::date as business_date, {_COUNTS}
        from generate_series($first::date, $last::date, interval 1 day) as d(business_date)
        left join e on e.business_date = d.business_date::date
        group by d.business_date order by d.business_date
        """,
        _bound(region, period),
    )


def by_class(snapshot: Snapshot, region: Row, period: Period) -> list[Row]:
    """One row of counts for each event class, with the count of the period before; most events first."""
    return snapshot.rows(
        f"""
        with e as (select e.* {_WITHIN}),
        before as (select e.class_code, sum(e.event_count)::bigint as event_count {_BEFORE} group by 1),
        named as (select class_code, any_value(class_name) as class_name from mart.event_class group by 1)
        select e.class_code, coalesce(any_value(n.class_name), e.class_code) as class_name,
               coalesce(any_value(b.event_count), 0)::bigint as previous_event_count, {_COUNTS}
        from e left join before as b using (class_code) left join named as n using (class_code)
        group by e.class_code order by event_count desc, e.class_code
        """,
        _bound(region, period, with_previous=True),
    )


def by_child(snapshot: Snapshot, region: Row, period: Period) -> list[Row]:
    """One row of counts for each region directly below, those without events included, with the count of the period before."""
    return snapshot.rows(
        f"""
        with child as (
            select region_system, region_code, region_name, region_level, parent_code from mart.region
            where region_system = $system and parent_code = $code
        ),
        below as (
            select c.ancestor_code, c.region_code from mart.region_closure as c
            where c.region_system = $system and c.ancestor_code in (select region_code from child)
        ),
        e as (
            select below.ancestor_code, d.* from mart.event_daily as d join below on below.region_code = d.region_code
            where d.region_system = $system and d.business_date between $first and $last
        ),
        before as (
            select below.ancestor_code, sum(d.event_count)::bigint as event_count
            from mart.event_daily as d join below on below.region_code = d.region_code
            where d.region_system = $system and d.business_date between $before and $until group by 1
        )
        select child.region_system, child.region_code, child.region_name, child.region_level, child.parent_code,
               coalesce(any_value(b.event_count), 0)::bigint as previous_event_count, {_COUNTS}
        from child left join e on e.ancestor_code = child.region_code left join before as b on b.ancestor_code = child.region_code
        group by all order by event_count desc, child.region_code
        """,
        _bound(region, period, with_previous=True),
    )


def _bound(region: Row, period: Period, *, with_previous: bool = False) -> dict[str, Any]:
    bound = {"system": region["region_system"], "code": region["region_code"], "first": period.first, "last": period.last}
    before = period.previous
    return bound | ({"before": before.first, "until": before.last} if with_previous else {})
