"""Date patterns and time zones: what is understood, what is refused, and which of two instants is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming import clocks

ZONES = ["Asia/Shanghai", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Africa/Casablanca", "UTC", "Asia/Kathmandu"]


def read(text: str, *patterns: str) -> datetime | None:
    micros, _, understood = clocks.parse(pa.array([text]), clocks.layouts(patterns))
    return datetime(1970, 1, 1) + timedelta(microseconds=int(micros[0])) if understood[0] else None


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("yyyy-MM-dd HH:mm:ss", "2026-05-01 09:00:07", datetime(2026, 5, 1, 9, 0, 7)),
        ("yyyy-MM-dd HH:mm:ss", "2026-5-1 9:00:07", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-05-01 24:00:00", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-05-01 09:60:00", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-05-01 09:00:60", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-05-01T09:00:00", None),
        ("yyyy-MM-dd HH:mm:ss", "2026-05-01 09:00:0０", None),
        ("yyyy-MM-dd HH:mm:ss", " 2026-05-01 09:00:0", None),
        ("yyyy-MM-dd", "2024-02-29", datetime(2024, 2, 29)),
        ("yyyy-MM-dd", "2100-02-29", None),
        ("yyyy-MM-dd", "0000-01-01", None),
        ("yyyy-MM-dd", "9999-12-31", datetime(9999, 12, 31)),
        ("yyyy/M/d H:mm", "2026/1/12 9:05", datetime(2026, 1, 12, 9, 5)),
        ("yyyy/M/d H:mm", "2026/11/2 9:05", datetime(2026, 11, 2, 9, 5)),
        ("yyyy/M/d H:mm", "2026/13/2 9:05", None),
        ("yyyy年M月d日", "2026年5月1日", datetime(2026, 5, 1)),
        ("yyyyMMddHHmmss", "20260501090007", datetime(2026, 5, 1, 9, 0, 7)),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "2026-05-01T09:00:00.250+08:00", datetime(2026, 5, 1, 1, 0, 0, 250000)),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-05-01T09:00:00Z", datetime(2026, 5, 1, 9)),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-05-01T09:00:00-0330", datetime(2026, 5, 1, 12, 30)),
        ("yyyy-MM-dd'T'HH:mm:ssX", "2026-05-01T09:00:00+19:00", None),
        ("yyyy-MM-dd HH:mm[:ss]", "2026-05-01 09:00", datetime(2026, 5, 1, 9)),
        ("dd.MM.yyyy 'um' HH 'Uhr'", "01.05.2026 um 09 Uhr", datetime(2026, 5, 1, 9)),
    ],
)
def test_a_text_is_read_by_its_pattern_or_not_at_all(pattern: str, text: str, expected: datetime | None) -> None:
    assert read(text, pattern) == expected


@pytest.mark.parametrize(
    "text", ["2026-05-01 09:00", "2026-05-01T09:00:00", "2026-05-01 09:00:00.000", "2026-05-01T17:00:00+08:00", "2026-05-01T09:00Z"]
)
def test_without_a_pattern_iso_8601_is_read(text: str) -> None:
    assert read(text, *clocks.ISO_TIMESTAMP) == datetime(2026, 5, 1, 9)


def test_digits_beyond_microseconds_are_refused_unless_they_are_zero() -> None:
    assert read("2026-05-01 09:00:00.1234560", *clocks.ISO_TIMESTAMP) == datetime(2026, 5, 1, 9, 0, 0, 123456)
    assert read("2026-05-01 09:00:00.1234567", *clocks.ISO_TIMESTAMP) is None


@pytest.mark.parametrize("pattern", ["dd MMM yyyy", "hh:mm a", "yyyy-MM-dd 'T", "yyyy[-MM", "yy-MM-dd"])
def test_a_pattern_that_has_no_fixed_digits_is_an_error(pattern: str) -> None:
    with pytest.raises(clocks.PatternError):
        clocks.layouts((pattern,))


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), st.text(max_size=20)), max_size=30), st.integers(0, 5))
def test_exactly_the_texts_that_python_writes_are_read_and_to_the_same_time(values: list[datetime | str | None], skipped: int) -> None:
    texts = [v.isoformat(sep=" ", timespec="microseconds") if isinstance(v, datetime) else v for v in values]
    micros, written, understood = clocks.parse(pa.array(texts, pa.string()).slice(skipped), clocks.layouts(("yyyy-MM-dd HH:mm:ss.SSSSSS",)))
    for value, found, fits in zip(values[skipped:], micros.tolist(), understood.tolist(), strict=True):
        assert fits == isinstance(value, datetime)
        assert not fits or datetime(1970, 1, 1) + timedelta(microseconds=found) == value
    assert not written.any()


@pytest.mark.parametrize("name", ZONES)
@settings(deadline=None)
@given(local=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
def test_local_times_become_the_instants_that_the_time_zone_database_says(name: str, local: datetime) -> None:
    zone = ZoneInfo(name)
    earlier, later, never = clocks.zone(name).to_utc(np.array([(local - datetime(1970, 1, 1)) // timedelta(microseconds=1)]))
    epoch = datetime(1970, 1, 1)
    instants = [(local.replace(tzinfo=zone, fold=fold).astimezone(UTC).replace(tzinfo=None) - epoch) // timedelta(microseconds=1) for fold in (0, 1)]
    round_trip = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instants[0])).astimezone(zone).replace(tzinfo=None) == local
    assert bool(never[0]) == (not round_trip)
    if round_trip:
        assert [int(earlier[0]), int(later[0])] == instants


@pytest.mark.parametrize(("hour", "instants"), [("01:30", ("05:30", "06:30")), ("00:59", ("04:59", "04:59")), ("02:00", ("07:00", "07:00"))])
def test_the_hour_that_new_york_showed_twice_has_two_instants(hour: str, instants: tuple[str, str]) -> None:
    local = read(f"2011-11-06 {hour}", "yyyy-MM-dd HH:mm")
    assert local is not None
    earlier, later, _ = clocks.zone("America/New_York").to_utc(np.array([(local - datetime(1970, 1, 1)) // timedelta(microseconds=1)]))
    assert tuple((datetime(1970, 1, 1) + timedelta(microseconds=int(v[0]))).strftime("%H:%M") for v in (earlier, later)) == instants
