"""The step `resolve`: who is who across senders. Regions and their closure, codes of grids and micro-grids, persons, addresses, crosswalk.

Everything is a function of the cut. What cannot be resolved is a row of `resolved.problem`, never an endless loop and never silence.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa

from gridlake.runs import Run
from spark_jobs import results
from spark_jobs.resolve import crosswalk, earlier, grid_codes, persons, places, regions

PROBLEM = pa.schema([(name, pa.string()) for name in ("problem", "subject_type", "region_system", "subject_id", "detail")])
# What an earlier run may have made already.
_OF_PERSONS = ("resolved.person_record", "resolved.person_link", "resolved.crosswalk", "resolved.problem")
_OF_PLACES = ("resolved.address_link", "resolved.problem")

__all__ = ["resolve"]


def resolve(run: Run) -> dict[str, Any]:
    """Write the schema `resolved`; gives rows per table and problems by kind."""
    tables: dict[str, int] = {}
    problems: list[pa.Table] = []
    with run.progress.task("归并 resolve", total=7) as task:
        tables["resolved.region"] = results.write(run, "resolved.region", regions.current(run), regions.REGION, regions.REGION_KEY)
        task.advance()
        closure = regions.closure(run)
        tables["resolved.region_closure"] = results.write(run, "resolved.region_closure", closure.rows, regions.CLOSURE, regions.CLOSURE_KEY)
        problems.append(closure.problems)
        task.advance()
        codes = grid_codes.assign(run)
        tables["resolved.grid_code"] = results.write(run, "resolved.grid_code", codes.rows, grid_codes.GRID_CODE, ["grid_id"])
        problems.append(codes.problems)
        task.advance()
        codes = grid_codes.assign_micro_grids(run)
        tables["resolved.micro_grid_code"] = results.write(run, "resolved.micro_grid_code", codes.rows, grid_codes.MICRO_GRID_CODE, ["micro_grid_id"])
        problems.append(codes.problems)
        task.advance()
        of_persons = earlier.Note(run, "persons", persons.inputs(run), _OF_PERSONS, persons.said(run))
        known = persons.known(run) if of_persons.stands() else persons.resolve(run)
        for name, rows, schema, key in (
            ("resolved.person_record", known.records, persons.PERSON_RECORD, persons.PERSON_RECORD_KEY),
            ("resolved.person_link", known.links, persons.PERSON_LINK, persons.PERSON_LINK_KEY),
        ):
            tables[name] = results.write(run, name, rows, schema, key, in_order=True)
        problems.append(known.problems)
        task.advance()
        of_places = earlier.Note(run, "places", dict.fromkeys(places.inputs(run)), _OF_PLACES)
        placed = places.known(run) if of_places.stands() else places.resolve(run)
        tables["resolved.address_link"] = results.write(
            run, "resolved.address_link", placed.rows, places.ADDRESS_LINK, places.ADDRESS_LINK_KEY, in_order=True
        )
        problems.append(placed.problems)
        task.advance()
        found = crosswalk.build(run, known.crosswalk)
        tables["resolved.crosswalk"] = results.write(run, "resolved.crosswalk", found, crosswalk.CROSSWALK, crosswalk.KEY, in_order=True)
        task.advance()
    every = pa.concat_tables([PROBLEM.empty_table(), *(p.select(PROBLEM.names).cast(PROBLEM) for p in problems)])
    tables["resolved.problem"] = results.write(run, "resolved.problem", every, PROBLEM, PROBLEM.names)
    of_persons.write()
    of_places.write()
    counts = Counter(every.column("problem").to_pylist())
    for problem, count in sorted(counts.items()):
        run.progress.say(f"resolve: {count:,} × {problem}; see resolved.problem")
    return {"tables": tables, "problems": dict(counts)}
