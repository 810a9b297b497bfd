"""Who is one person among a million records of three kinds of senders; the peer is splink on DuckDB, on the same records.

Ours begins with the landed tables and ends with ids, links, crosswalk and problems. splink begins with one table in memory and ends with clusters; it
learns its weights from the records first, as its documentation has it. Both get one process on two cores, and are measured against the truth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from tests import persons as sample
from tests.bench import bench_landing, result

ROWS = int(os.environ.get("GRIDLAKE_BENCH_ROWS", "1000000"))
INCREMENTS = 10
_CORES = 2


def main() -> None:
    """Measure once and write bench/results/identity.json."""
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as name:
        folder = Path(name)
        rows = _draw(folder, ROWS)
        ours, peer = _measured("ours", folder), _measured("peer", folder)
        _draw(folder, ROWS // 10)
        stable = _measured("increments", folder)
    print(result.write("identity", rows=rows, ours=ours, peer={"name": "splink"} | peer, cores=_CORES, increments=stable).read_text("utf-8"))


def _draw(folder: Path, rows: int) -> int:
    """Nine in ten records are there from the start; each of ten further days brings a hundredth."""
    records = sample.drawn(20261126, rows, days=INCREMENTS + 1)
    records.rows.to_parquet(folder / "records.parquet")
    return len(records.rows)


def _measured(side: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tests.bench.bench_identity", side, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _ours(folder: Path) -> dict[str, Any]:
    from spark_jobs.resolve import persons

    records, run = _started(folder, folder / "ours")
    sample.land(run, records)
    # The table itself is spared a second copy in memory while the work is measured.
    del records
    found, cost = bench_landing.timed(lambda: persons.resolve(run))
    links, problems = found.links.num_rows, found.problems.num_rows
    ids = _ids(found)
    run.close()
    return cost | sample.measured(_records(folder), ids) | {"links": links, "problems": problems}


def _increments(folder: Path) -> dict[str, Any]:
    """How many ids are as they were when the next day has come."""
    from spark_jobs.resolve import persons

    records, run = _started(folder, folder / "increments")
    known = unchanged = 0
    before: pd.Series | None = None
    for day in range(INCREMENTS + 1):
        sample.land(run, records, until=day)
        ids = _ids(persons.resolve(run))
        if before is not None:
            known += len(before)
            unchanged += int((ids.reindex(before.index) == before).sum())
        before = ids
    run.close()
    return {"count": INCREMENTS, "rows": len(records.rows), "ids_compared": known, "unchanged": round(unchanged / known, 6)}


def _started(folder: Path, home: Path) -> tuple[sample.Records, Any]:
    from gridlake.runs import Run
    from gridlake.settings import Settings

    run = Run.start(Settings(home=home / "lake", inbox=home / "inbox"), quiet=True)
    return _records(folder), run


def _records(folder: Path) -> sample.Records:
    return sample.Records(pd.read_parquet(folder / "records.parquet"))


def _ids(found: Any) -> pd.Series:
    table = found.records.select(["record_id", "canonical_person_id"]).to_pandas()
    return pd.Series(table.canonical_person_id.to_numpy(), table.record_id.str.rpartition("-")[2])


def _peer(folder: Path) -> dict[str, Any]:
    import duckdb
    import splink.comparison_level_library as levels
    import splink.comparison_library as comparisons
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    from gridlake.privacy import Keys

    rows = _records(folder).rows
    keys = Keys.load(folder / "peer.keys.json")
    given = pd.DataFrame({"unique_id": rows.local_id, "sex_code": rows.is_male.map({True: "1", False: "2"}), "birth_date": rows.born.astype(str)})
    given["birth_date"] = given.birth_date.where(rows.born.notna(), None)
    given["region_code"] = rows.village.map({v: sample.village_code(v) for v in rows.village.unique()})
    given.loc[rows.feed == sample.MEMBERS, "sex_code"] = None
    for name, column in {"name": "person_name", "id_number": "id_number", "phone": "phone", "address": "address"}.items():
        given[column] = sample.tokens(keys, rows[name]).to_pandas()
    del rows
    place = comparisons.CustomComparison(
        output_column_name="place",
        comparison_levels=[
            levels.CustomLevel("region_code_l is null or region_code_r is null").configure(is_null_level=True),
            levels.CustomLevel("address_l = address_r"),
            levels.CustomLevel("region_code_l = region_code_r"),
            levels.CustomLevel("left(region_code_l, 6) = left(region_code_r, 6)"),
            levels.ElseLevel(),
        ],
    )
    blocks = [
        block_on("id_number"),
        block_on("person_name", "birth_date"),
        block_on("person_name", "phone"),
        block_on("person_name", "address"),
        block_on("phone", "birth_date"),
    ]
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=[
            comparisons.ExactMatch("id_number"),
            comparisons.ExactMatch("person_name").configure(term_frequency_adjustments=True),
            comparisons.ExactMatch("birth_date"),
            comparisons.ExactMatch("sex_code"),
            comparisons.ExactMatch("phone").configure(term_frequency_adjustments=True),
            place,
        ],
        blocking_rules_to_generate_predictions=blocks,
    )

    def work() -> pd.Series:
        database = DuckDBAPI(duckdb.connect(":memory:", config={"threads": _CORES}))
        linker = Linker(database.register(given, dataset_display_name="records"), settings)
        linker.training.estimate_probability_two_random_records_match([block_on("id_number"), block_on("person_name", "phone")], recall=0.9)
        linker.training.estimate_u_using_random_sampling(max_pairs=5e6, seed=1)
        linker.training.estimate_parameters_using_expectation_maximisation(block_on("person_name", "birth_date"))
        linker.training.estimate_parameters_using_expectation_maximisation(block_on("id_number"))
        pairs = linker.inference.predict(threshold_match_probability=0.9)
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(pairs, threshold_match_probability=0.99)
        found = clusters.as_duckdbpyrelation().select("unique_id, cluster_id").df()
        return pd.Series(found.cluster_id.to_numpy(), found.unique_id.to_numpy())

    ids, cost = bench_landing.timed(work)
    return cost | sample.measured(_records(folder), ids)


if __name__ == "__main__":
    bench_landing.ROWS = ROWS
    if len(sys.argv) == 1:
        main()
    else:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])
        print(json.dumps({"ours": _ours, "peer": _peer, "increments": _increments}[sys.argv[1]](Path(sys.argv[2]))))
