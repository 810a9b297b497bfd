"""Rows a second from file to bronze, on one core, fsync included; the peer is DuckDB, JSON to Parquet, with no contract and no checks.

Both read the same files: 22 columns, three of class L4, two of free text, 2 % of the rows bad in six ways whose number is known.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from gridlake.runs import Run
from gridlake.settings import Settings
from streaming.landing import land
from tests.bench import result

ROWS = int(os.environ.get("GRIDLAKE_BENCH_ROWS", "1000000"))
FILES = 40
SENDER = "330100000000"
# Bad rows: one in fifty, in turn of six kinds. What the lander must refuse them for:
BAD = [
    "type/source_version",
    "code_list/class_code",
    "region_scope/region_code",
    "reported_after_occurred",
    "pattern/event_id",
    "required/state_code",
]


def main() -> None:
    """Measure once and write bench/results/landing_files.json."""
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as name:
        folder = Path(name)
        generate(folder / "inbox", ROWS)
        size = sum(p.stat().st_size for p in (folder / "inbox").rglob("*.jsonl"))
        ours, peer = _measured("ours", folder), _measured("peer", folder)
        expected = {BAD[n]: len(range(n * 50, ROWS, 300)) for n in range(len(BAD))}
        if ours["refusals"] != expected:
            raise SystemExit(f"refusals are {ours['refusals']}, {expected} were planted")
        path = result.write(
            "landing_files",
            rows=ROWS,
            ours=ours,
            peer={"name": "DuckDB read_json to Parquet, no checks, no seals, no fsync"} | peer,
            cores=1,
            input_mb=round(size / 1e6),
        )
        print(path.read_text(encoding="utf-8"))


def generate(inbox: Path, rows: int) -> None:
    """Files of one sender and feed; the same rows every time."""
    folder = inbox / "city_platform" / "event" / SENDER
    folder.mkdir(parents=True)
    vocabularies = result.CHECKOUT / "expectations" / "vocabularies"
    with duckdb.connect() as connection:
        for name, column, condition in (("regions_cn", "region_code", "region_code like '3301%'"), ("event_class", "code", "length(code) = 4")):
            query = f"select list({column} order by {column}) from read_csv('{vocabularies}/{name}.csv', all_varchar = true) where {condition}"
            connection.execute(f"set variable {name} = ({query})")
        per_file = rows // FILES
        for number in range(FILES):
            start = number * per_file
            path = folder / f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}.jsonl"
            connection.execute(f"copy ({_EVENTS.format(start=start, end=start + per_file)}) to '{path}' (format json)")


_TIME = "'%Y-%m-%d %H:%M:%S'"
_EVENTS = f"""
    select case when bad = 4 then 'E#' else 'E' end || printf('%09d', i) as event_id,
      case when bad = 1 then '9999' else getvariable('event_class')[1 + i % len(getvariable('event_class'))] end as class_code,
      (1 + i % 4)::varchar as level_code,
      '巡查时发现' || ['楼道堆放杂物', '井盖松动', '沿街占道经营', '电动车违规充电', '邻里噪声纠纷'][1 + i % 5]
        || '，已现场劝导并登记，编号' || chance % 100000
        || case when i % 10 = 0 then '，联系人' || name || '，电话' || phone else '' end as description,
      case when bad = 2 then '330203001001' else getvariable('regions_cn')[1 + chance % len(getvariable('regions_cn'))] end as region_code,
      'G' || chance % 5000 as grid_id,
      '文三路' || i % 2000 || '号' || chance % 30 || '幢' || chance % 2003 || '室' as address,
      round(119.9 + (chance % 100000) / 250000, 6) as longitude,
      round(30.1 + (chance % 99991) / 250000, 6) as latitude,
      strftime(moment, {_TIME}) as occurred_at,
      strftime(case when bad = 3 then moment - interval 1 hour else moment + interval 5 minute end, {_TIME}) as reported_at,
      strftime(moment + interval 2 day, {_TIME}) as deadline_at,
      case when i % 3 > 0 then strftime(moment + interval 5 hour, {_TIME}) end as closed_at,
      case when bad = 5 then null when i % 3 > 0 then 'closed' else 'reported' end as state_code,
      'grid' as channel_code,
      '西湖区北山街道综合信息指挥室' as organisation_name,
      case when i % 3 > 0 then '已现场清理，当事人' || case when i % 20 = 1 then name else '' end || '表示配合' end as closing_note,
      'M' || member as reporter_member_id,
      name as reporter_name,
      phone as reporter_phone,
      case when bad = 0 then to_json('1') else to_json(1) end as source_version,
      strftime(moment + interval 6 hour, {_TIME}) as changed_at
    from (
      select *, '138' || printf('%08d', member * 7919) as phone,
        '王李张刘陈'[1 + member % 5] || '晓明文华建'[1 + member // 5 % 5] || '军英伟芳敏'[1 + member // 25 % 5] as name
      from (
        select i, case when i % 50 = 0 then i // 50 % 6 end as bad, timestamp '2026-01-01' + to_seconds(i * 5) as moment,
          (hash(i) % 1000000007)::bigint as chance, (hash(i * 13) % 9000)::bigint as member
        from range({{start}}, {{end}}) t(i)
      )
    ) order by i
"""


def _measured(side: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tests.bench.bench_landing", side, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _ours(folder: Path) -> dict[str, object]:
    run = Run.start(Settings(home=folder / "lake", inbox=folder / "inbox"), quiet=True)
    landed, cost = timed(lambda: land(run))
    return cost | {"counts": landed["feeds"]["city_platform__event"], "refusals": landed["refusals"]["city_platform__event"]}


def _peer(folder: Path) -> dict[str, object]:
    source = f"read_json('{folder}/inbox/*/*/*/*.jsonl', format = 'newline_delimited')"
    with duckdb.connect() as connection:
        return timed(lambda: connection.execute(f"copy (select * from {source}) to '{folder}/peer.parquet'"))[1]


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, object]]:
    """(what the work gave, what it cost); processor seconds too, for a machine that others use as well."""
    started, before = time.monotonic(), time.process_time()
    given = work()
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - before
    return given, {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "rows_per_second": round(ROWS / seconds),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps({"ours": _ours, "peer": _peer}[sys.argv[1]](Path(sys.argv[2]))))
