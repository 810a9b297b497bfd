"""The main job on real texts of the province: what residents wrote to Hangzhou's leaders, counted again from the two lists by DuckDB alone."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from gridlake.contracts import load
from tests.e2e.conftest import succeed
from tests.lakes import rows_of

CHECKOUT = Path(__file__).parents[2]
CONTRACTS = Path(__file__).parent / "contracts"
REALDATA = Path(os.environ.get("GRIDLAKE_REALDATA", CHECKOUT.parent / "shared" / "realdata"))
FILES = [REALDATA / "hangzhou_messages" / f"hangzhou_liuyan_{name}.csv" for name in ("pending", "recent")]
FEED = "hangzhou_liuyan__post"
DISTRICTS = {
    "上城区": "330102000000",
    "拱墅区": "330105000000",
    "西湖区": "330106000000",
    "滨江区": "330108000000",
    "萧山区": "330109000000",
    "余杭区": "330110000000",
    "临平区": "330113000000",
    "钱塘区": "330114000000",
}
# The day after the last post, 2026-06-12, as the tests' own clock.
AS_OF = "2026-06-12T16:00:00Z"

pytestmark = [
    # Boston's and tipdm's messages run in CI; a third whole run costs it two minutes.
    pytest.mark.deep,
    pytest.mark.realdata,
    pytest.mark.skipif(not all(f.exists() for f in FILES), reason=f"{FILES[0].parent} is not here; name its folder's parent in GRIDLAKE_REALDATA"),
]


@dataclass(frozen=True)
class Hangzhou:
    """A finished run over the two lists, and the lists themselves as the table `post`: a post once, as the list read last has it."""

    home: Path
    document: dict[str, Any]
    truth: duckdb.DuckDBPyConnection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the lake, as `rows_of` gives them."""
        return rows_of(self.home, sql)

    def counted(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the lists."""
        return self.truth.execute(sql).fetchall()


def lay(inbox: Path) -> Path:
    """The two lists in an inbox."""
    for file in FILES:
        delivery = inbox / "hangzhou_liuyan" / "post" / "hangzhou_liuyan" / file.name
        delivery.parent.mkdir(parents=True, exist_ok=True)
        delivery.symlink_to(file.resolve())
    return inbox


@pytest.fixture(scope="module")
def hangzhou(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hangzhou]:
    folder = tmp_path_factory.mktemp("hangzhou")
    document = succeed("run", "--input", lay(folder / "inbox"), "--contracts", CONTRACTS, "--home", folder / "lake", "--as-of", AS_OF)
    columns = "tid, date, district, title, content, domain, status"
    with duckdb.connect() as truth:
        for name, file in zip(("pending", "recent"), FILES, strict=True):
            truth.execute(
                f"create table {name} as select {columns} from read_csv('{file}', all_varchar = true, header = true, nullstr = 'no such text')"
            )
        truth.execute("create table post as select * from recent union all select * from pending where tid not in (select tid from recent)")
        # One title ends in four zero bytes; no database takes those, so landing refuses the row.
        truth.execute("create table torn as select tid from post where contains(title || content, chr(0))")
        truth.execute("delete from post where tid in (select tid from torn)")
        yield Hangzhou(folder / "lake", document, truth)


def classes() -> dict[str, str]:
    """The contract's class of each domain."""
    document = yaml.safe_load((CONTRACTS / "hangzhou_liuyan" / "post.odcs.yaml").read_text(encoding="utf-8"))
    (mapping,) = (p["value"] for p in document["customProperties"] if p["property"] == "gridlake.map")
    codes: dict[str, str] = mapping["class_code"]["codes"]
    return codes


def test_every_column_of_both_lists_is_in_the_contract_or_ignored_by_name() -> None:
    contract = load(CONTRACTS / "hangzhou_liuyan" / "post.odcs.yaml")
    headers = set()
    for file in FILES:
        with file.open(encoding="utf-8", newline="") as lines:
            headers |= set(next(csv.reader(lines)))
    assert {*(c.name for c in contract.columns), *contract.ignored_columns} == headers


def test_every_row_of_both_lists_is_accounted_for(hangzhou: Hangzhou) -> None:
    counts = hangzhou.document["feeds"][FEED]
    ((rows, posts, torn),) = hangzhou.counted(
        "select (select count(*) from recent) + (select count(*) from pending), (select count(*) from post), (select count(*) from torn)"
    )
    assert counts["received"] == rows == 1168
    assert counts["accepted"] + counts["refused"] + counts["duplicate"] + counts["waiting"] == rows
    assert counts["refused"] == torn == 1
    assert hangzhou.document["refusals"][FEED] == {"encoding/title": 1}
    assert hangzhou.rows("select count(*), count(distinct event_id) from {business.event}") == [(posts, posts)]


def test_events_of_each_day_region_class_and_state_are_those_of_the_lists(hangzhou: Hangzhou) -> None:
    states = {"待回复": "reported", "办理中": "handling", "已办理": "closed"}
    counted: dict[tuple[str, ...], int] = {}
    for day, district, domain, status, number in hangzhou.counted("select date, district, domain, status, count(*) from post group by all"):
        key = day, DISTRICTS.get(district, "330100000000"), classes()[domain], states[status]
        counted[key] = counted.get(key, 0) + number
    found = hangzhou.rows(
        "select strftime(business_date, '%Y-%m-%d'), region_code, class_code, state_code, count(*) from {business.event} group by all"
    )
    assert {row[:4]: row[4] for row in found} == counted
    daily = hangzhou.rows(
        "select strftime(business_date, '%Y-%m-%d'), region_code, class_code, sum(event_count)::bigint from {mart.event_daily} group by all"
    )
    by_class: dict[tuple[str, ...], int] = {}
    for (day, region, code, _), number in counted.items():
        by_class[day, region, code] = by_class.get((day, region, code), 0) + number
    assert {row[:3]: row[3] for row in daily} == by_class


def test_the_overview_counts_city_and_districts_as_the_lists_do(hangzhou: Hangzhou) -> None:
    counted = {
        DISTRICTS[name]: (n, waiting)
        for name, n, waiting in hangzhou.counted("""
        select district, count(*), count_if(status <> '已办理') from post where district <> '' group by district
    """)
    }
    counted["330100000000"] = hangzhou.counted("select count(*), count_if(status <> '已办理') from post")[0]  # type: ignore[assignment]
    shown = hangzhou.rows("select region_code, event_count, open_count from {mart.region_overview} where event_count > 0 and region_level > 1")
    assert {code: (n, waiting) for code, n, waiting in shown} == counted


def test_texts_arrive_whole_but_for_what_is_personal(hangzhou: Hangzhou) -> None:
    written = dict(hangzhou.counted("select tid, title || '。' || content from post"))
    found = dict(hangzhou.rows("select local_id, description from {business.event}"))
    changed = {tid for tid, text in written.items() if found[tid] != text}
    phone = re.compile(r"(?<![0-9])1[3-9][0-9]{9}(?![0-9])")
    assert {tid for tid, text in written.items() if phone.search(text)} <= changed
    assert [tid for tid, text in found.items() if phone.search(text)] == []
    assert len(changed) < 0.02 * len(written), "redaction takes numbers, not texts"
