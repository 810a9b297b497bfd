"""The step `check`: holds the run's tables against their suites with Great Expectations, and keeps the results.

The only module that imports Great Expectations, and only when a suite is run: the import takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from gridlake import check_page, freshness, suites
from gridlake.contracts.compile import bronze_schema
from gridlake.contracts.staging import MONTH
from gridlake.privacy import looks_sensitive
from gridlake.runs import Run, ledger
from gridlake.suites import Expected, Reference, Severity, Suite, SuiteError
from gridlake.transform import DBT_STEPS

TABLE = "ops.check_result"
SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("suite", pa.string()),
        ("table_name", pa.string()),
        ("expectation", pa.string()),
        ("column_name", pa.string()),
        ("severity", pa.string()),
        ("success", pa.bool_()),
        ("observed", pa.string()),
        ("unexpected_count", pa.int64()),
        ("checked_at", pa.timestamp("us", "UTC")),
    ]
)
_ABOUT_THE_SCHEMA = "ExpectNoColumnToMatch"
_OVER_ROWS = frozenset(
    {
        "ExpectColumnValuesToNotBeNull",
        "ExpectColumnValuesToBeInSet",
        "ExpectColumnValuesToBeBetween",
        "ExpectColumnValuesToMatchRegex",
        "ExpectColumnValuesToNotMatchRegex",
        "ExpectColumnValueLengthsToBeBetween",
    }
)
_UNIQUENESS = frozenset({"ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique"})
_NONE = "false"
_OF_ROWS = "{unexpected:,} of {rows:,} rows"


class PublicationStopped(Exception):
    """A critical expectation is broken, or nobody has looked: nothing is published."""


@dataclass(frozen=True)
class Result:
    """How one expectation came out. `observed` is a count or a kind, never a value of a row."""

    suite: str
    suite_title: str
    table: str
    expectation: str
    title: str
    column: str | None
    severity: Severity
    success: bool
    observed: str
    unexpected_count: int | None
    row_count: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The result as `check` returns it."""
        return {
            "suite": self.suite,
            "table": self.table,
            "expectation": self.expectation,
            "title": self.title,
            "column": self.column,
            "severity": self.severity,
            "observed": self.observed,
            "unexpected_count": self.unexpected_count,
        }


def check(run: Run) -> dict[str, Any]:
    """Every suite over the run's tables; results go to `ops.check_result` and `<home>/docs/checks/index.html`.

    Gives `{"checks": {passed, failed, critical_failed}, "failures": [{suite, table, expectation, title, column, severity, observed,
    unexpected_count}], "page": path}`. Does not raise on a broken expectation: `require_publishable` does.
    """
    results = [*_from_dbt(run.steps), *_fresh(run), *_as_contracted(run), *_validated(run, _suites(run))]
    from_dbt = sum(run.steps.get(step, {}).get("tests", {}).get("passed", 0) for step in DBT_STEPS)
    # dbt's passed tests come as one line per step; each of them counts.
    passed = sum(r.success for r in results if r.expectation != "dbt_tests") + from_dbt
    checked_at = datetime.now(UTC)
    _keep(run, results, checked_at)
    page = run.settings.home.absolute() / "docs" / "checks" / "index.html"
    check_page.write(page, run.run_id, checked_at, results, passed)
    failures = sorted((r for r in results if not r.success), key=lambda r: (r.severity, r.table, r.expectation, r.column or ""))
    critical = sum(r.severity == "critical" for r in failures)
    return {
        "checks": {"passed": passed, "failed": len(failures), "critical_failed": critical},
        "failures": [r.as_json() for r in failures],
        "page": str(page),
    }


def require_publishable(run: Run) -> None:
    """Raise PublicationStopped unless `check` has found no broken critical expectation in this run."""
    found = run.steps.get("check")
    if found is None:
        raise PublicationStopped(
            f"run {run.run_id}: expected the step check before publish, it has not run; do: gridlake check --run-id {run.run_id}"
        )
    broken = [f for f in found["failures"] if f["severity"] == "critical"]
    if not broken:
        return
    lines = [
        f"  {f['table']}{'.' + f['column'] if f['column'] else ''}: expected {f['title']} ({f['expectation']}), came {f['observed']}" for f in broken
    ]
    raise PublicationStopped(
        f"run {run.run_id}: {len(broken)} critical expectations are broken, the last snapshot stays current:\n"
        + "\n".join(lines)
        + f"\nSee {found['page']}; follow a record with `gridlake explain <entity> <key>`, correct the feed, model or contract, then run again."
    )


def _suites(run: Run) -> list[Suite]:
    named = suites.checks(run.settings)
    # A feed that has never landed has no table to guard; who is missing is said by the suites over the marts.
    landed = [c for c in run.contracts.values() if f"bronze.{c.id}" in run.cut]
    bronze = [s for c in landed for s in suites.of_contract(c, run.vocabularies, run.senders, named)]
    manifest = run.settings.home.absolute() / "dbt" / "target" / "manifest.json"
    library = suites.of_project(manifest, run.contracts, run.vocabularies, named)
    return [*bronze, *library, *suites.by_hand(run.settings, named, run.tables.names(), run.as_of or run.received_at)]


@dataclass(frozen=True)
class _Before:
    """What is known of rows that are as they were when an earlier run checked them. Empty where this run's tables are no increments of that one's."""

    # By suite the rows that have come or changed since.
    conditions: Mapping[str, str] = field(default_factory=dict)
    # What was broken, by (suite, expectation, title, column): how many rows, None where it was not counted.
    broken: Mapping[tuple[str, ...], int | None] = field(default_factory=dict)
    # By table the version that was checked, and the months that have changed since.
    versions: Mapping[str, int] = field(default_factory=dict)
    months: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> _Before:
        """As the ledger has it."""
        steps = {run.steps.get(step, {}).get("after_run") for step in DBT_STEPS}
        path = ledger(run.settings) / f"{steps.pop()}.json" if len(steps) == 1 else None
        if path is None or not path.exists():
            return cls()
        checked = json.loads(path.read_text(encoding="utf-8"))["steps"].get("check")
        if checked is None:
            return cls()
        conditions: dict[str, str] = {}
        for feed, since in run.steps["stage"]["since"].items():
            arrived = f"_received_at >= timestamp '{since}'" if since else _NONE
            conditions |= {f"bronze.{feed}": arrived, f"arrival.{feed}": arrived}
        months = {table: found for step in DBT_STEPS for table, found in run.steps[step]["months"].items()}
        conditions |= {table: in_months(found) for table, found in months.items()}
        versions = {table: version for step in DBT_STEPS for table, version in run.steps[step]["was"].items()}
        there = {t: v for t, v in versions.items() if all(Path(file).exists() for file in run.tables.files(t, v))}
        broken: dict[tuple[str, ...], int | None] = {
            (f["suite"], f["expectation"], f["title"], f["column"] or ""): f["unexpected_count"] for f in checked["failures"]
        }
        return cls(conditions, broken, there, months)


def in_months(months: Sequence[str]) -> str:
    """Which rows lie in these months, as SQL."""
    return f"{MONTH} in ({', '.join(repr(month) for month in months)})" if months else _NONE


def _from_dbt(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Result]:
    for step in DBT_STEPS:
        tests = steps.get(step, {}).get("tests")
        if tests is None:
            continue
        suite, title = f"dbt.{step}", f"dbt 测试（{step}）"
        yield Result(suite, title, step, "dbt_tests", "dbt 测试通过", None, "critical", True, f"{tests['passed']} passed", 0)
        for kind in ("failures", "warnings"):
            for test in tests.get(kind, ()):
                rows = test.get("rows")
                observed = "not evaluated" if rows is None else f"{rows:,} rows"
                name, model = str(test["name"]), str(test["model"])
                severity: Severity = "critical" if kind == "failures" else "warning"
                yield Result(suite, title, model, name, "dbt 测试", None, severity, False, observed, rows)


def _fresh(run: Run) -> Iterator[Result]:
    """Whether each feed came when its contract promises; not a matter of rows, so Great Expectations is not asked."""
    for feed in freshness.measure(run):
        observed = f"{feed.silent_for / timedelta(days=1):.1f} days since the last delivery of {feed.sender_code}, {feed.promised.days} promised"
        if feed.days_late > 0:
            observed += f", {feed.days_late:.1f} late; {feed.late_count} of {feed.sender_count} senders"
        yield Result(
            f"freshness.{feed.feed}", f"{run.contracts[feed.feed].title}按时送达", f"bronze.{feed.feed}", "delivered_as_promised", "送达不晚于约定",
            None, "warning", feed.days_late <= 0, observed, feed.late_count, feed.sender_count,
        )  # fmt: skip


def _as_contracted(run: Run) -> Iterator[Result]:
    """Whether each landed table has the columns of its contract, in their types; the table's schema says it, so no row is asked."""
    for contract in run.contracts.values():
        table = f"bronze.{contract.id}"
        if table not in run.cut:
            continue
        wanted, present = bronze_schema(contract), run.tables.schema(table)
        found = {field.name: present.field(field.name).type if field.name in present.names else "missing" for field in wanted}
        other = [f"{field.name} is {found[field.name]}, {field.type} expected" for field in wanted if found[field.name] != field.type]
        yield Result(
            table, f"{contract.title}的列", table, "columns_as_contract", "列及类型与合约一致", None, "warning", not other,
            "; ".join(other) or f"{len(wanted)} columns", len(other), len(wanted),
        )  # fmt: skip


def _validated(run: Run, wanted: list[Suite]) -> Iterator[Result]:
    built = {table: rows for step in DBT_STEPS for table, rows in run.steps.get(step, {}).get("tables", {}).items()}
    landed = {table: run.tables.row_count(table, version) for table, version in run.cut.items() if table.startswith("bronze.")}
    validation = _Validation(run.spark, {table for table, rows in (built | landed).items() if not rows})
    increment = _Increment(run, validation)
    with run.progress.task("Great Expectations", total=len(wanted)) as task:
        for suite in wanted:
            yield from increment.results(suite)
            task.advance()


class _Increment:
    """Suites over tables of which an earlier run checked most rows: only what has changed since is asked, and what was broken then of all rows again.

    References are looked up by the keys that rows name more or less often than before, and by those that came or went in the table that they name:
    so the count of rows whose reference was broken goes on, and a reference that was whole is found broken where nothing but the other table changed.
    """

    def __init__(self, run: Run, validation: _Validation) -> None:
        self._run, self._validation, self._before = run, validation, _Before.of(run)
        self._counted: dict[str, int] = {}
        self._version = cache(run.tables.version)

    def results(self, suite: Suite) -> Iterator[Result]:
        """One result per expectation, of a table without changed rows only for those that are broken."""
        condition = self._before.conditions.get(suite.name)
        if condition is not None:
            try:
                yield from list(self._of_changes(suite, condition))
            except Exception:  # noqa: BLE001 - whatever the engine raises: what cannot be told of changes is asked of everything
                condition = None
        if condition is None:
            yield from (result for _, result in self._validation.results(suite))

    def _of_changes(self, suite: Suite, condition: str) -> Iterator[Result]:
        broken = self._before.broken
        known = [(e, (suite.name, e.type, e.title, e.column_name or "")) for e in suite.expected]
        going_on = [(e, count) for e, key in known if (count := broken.get(key)) is not None and self._can_go_on(suite, e)]
        again = tuple(e for e, key in known if key in broken and (broken[key] is None or not self._can_go_on(suite, e)))
        held = tuple(e for e, key in known if key not in broken)
        if again:
            yield from (result for _, result in self._validation.results(replace(suite, expected=again)))
        for expected, result in self._changed(suite, condition, held):
            lost = self._moved_rows(suite, expected, f"not ({condition})", only_lost=True)
            if lost:
                yield _with_counts(suite, expected, (result.unexpected_count or 0) + lost, self._rows(suite, expected))
            elif condition != _NONE:
                yield result
        for expected, count in going_on:
            more = self._more_dangling(suite, condition, expected) + self._moved_rows(suite, expected, "true", only_lost=False)
            yield _with_counts(suite, expected, count + more, self._rows(suite, expected))

    def _changed(self, suite: Suite, condition: str, expected: tuple[Expected, ...]) -> list[tuple[Expected, Result]]:
        """The expectations asked of the changed rows alone."""
        if not expected or condition == _NONE:
            return [(e, _held(suite, e)) for e in expected]
        return list(self._validation.results(replace(suite.of_rows(condition), expected=expected)))

    def _can_go_on(self, suite: Suite, expected: Expected) -> bool:
        """Whether it is a reference between two tables with versions before."""
        return expected.reference is not None and {suite.table, expected.reference.table} <= self._before.versions.keys()

    def _rows(self, suite: Suite, expected: Expected) -> int:
        return self._count(f"select count(*) from {suite.table} where {expected.where or 'true'}")

    def _more_dangling(self, suite: Suite, condition: str, expected: Expected) -> int:
        """How many rows more than before name something that is not there, of the changed ones."""
        reference = expected.reference
        assert reference is not None
        if condition == _NONE:
            return 0
        self._run.tables.reach(suite.table)
        columns = ", ".join(reference.columns)
        given = " and ".join((f"({condition})", f"({expected.where or 'true'})", *(f"{c} is not null" for c in reference.columns)))
        now, then = suite.table, f"{suite.table} version as of {self._before.versions[suite.table]}"
        rows = " union all ".join(f"select {columns}, {sign} as sign from {table} where {given}" for table, sign in ((now, 1), (then, -1)))
        # Few keys are named more or less often than before; these first, as the embedded engine holds them in memory.
        keys = f"select {columns}, sum(sign) as n from ({rows}) group by {columns} having sum(sign) <> 0"
        alike = " and ".join(f"named.{column} = there.{key}" for key, column in zip(reference.keys, reference.columns, strict=True))
        there = f"select {', '.join(reference.keys)} from {reference.table}"
        return self._count(f"select coalesce(sum(named.n), 0) from ({keys}) as named left anti join ({there}) as there on {alike}")

    def _moved_rows(self, suite: Suite, expected: Expected, condition: str, *, only_lost: bool) -> int:
        """Of the rows that meet a condition how many name something that is no longer there, less those that name what has come.

        Of the table as it was, as far as the count of before goes on; of lost keys alone as it is.
        """
        reference = expected.reference
        if reference is None or self._before.versions.get(reference.table) in (None, self._version(reference.table)):
            return 0
        lost, come = self._moved_keys(reference)
        moved = f"select *, 1 as sign from ({lost})"
        if not only_lost:
            moved += f" union all select *, -1 as sign from ({come})"
        if not self._count(f"select count(*) from ({moved})"):
            return 0
        table = suite.table if only_lost else f"{suite.table} version as of {self._before.versions[suite.table]}"
        rows = f"select {', '.join(reference.columns)} from {table} where {condition} and ({expected.where or 'true'})"
        alike = " and ".join(f"moved.{key} = named.{column}" for key, column in zip(reference.keys, reference.columns, strict=True))
        # The few keys first: the embedded engine holds them in memory.
        return self._count(f"select coalesce(sum(moved.sign), 0) from ({moved}) as moved inner join ({rows}) as named on {alike}")

    def _moved_keys(self, reference: Reference) -> tuple[str, str]:
        """The keys that the table no longer has and those that have come, as SQL."""
        table, keys = reference.table, ", ".join(reference.keys)
        there = in_months(self._before.months[table]) if table in self._before.months else "true"
        self._run.tables.reach(table)
        was = f"{table} version as of {self._before.versions[table]}"
        lost, come = (
            f"select {keys} from {one} where {there} except select {keys} from {other} where {there} except select {keys} from {other}"
            for one, other in ((was, table), (table, was))
        )
        return lost, come

    def _count(self, query: str) -> int:
        if query not in self._counted:
            self._counted[query] = int(self._run.spark.sql(query).toArrow().column(0)[0].as_py())
        return self._counted[query]


class _Validation:
    """An ephemeral context of Great Expectations over the run's Spark session; of the `empty` tables no row is asked for."""

    def __init__(self, spark: Any, empty: Collection[str] = ()) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "False"
        # What it finds comes back as results; what it logs (one of its loggers insists on INFO) is for its developers.
        logger = logging.getLogger("great_expectations")
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        self._gx, self._spark, self._empty = gx, spark, empty
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_spark("lake", persist=False).add_dataframe_asset("table")
        self._batches = asset.add_batch_definition_whole_dataframe("rows")

    def results(self, suite: Suite) -> Iterator[tuple[Expected, Result]]:
        """One result per expectation, all metrics of a suite in as few queries as its row conditions allow."""
        # What holds of each row holds where there is none.
        is_empty = suite.table in self._empty and not suite.asks_more
        answered_here = _OVER_ROWS | _UNIQUENESS if is_empty else _UNIQUENESS
        every = [(_expectation(e, number), e) for number, e in enumerate(suite.expected)]
        for _, expected in every:
            if expected.type in answered_here:
                yield expected, _held(suite, expected) if is_empty else self._repeated(suite, expected)
        made = [(m, e) for m, e in every if e.type not in answered_here]
        if not made:
            return
        try:
            batch = self._batches.get_batch({"dataframe": self._spark.sql(suite.query)})
            asked = self._gx.ExpectationSuite(suite.name, expectations=[m for m, _ in made])
            found = batch.validate(asked, result_format="BASIC")
        except Exception as error:  # noqa: BLE001 - whatever the engine raises, a suite that cannot be read is a broken one
            yield from ((e, _unevaluated(suite, e, error)) for _, e in made)
            return
        by_number = {r.expectation_config.meta["number"]: r for r in found.results}
        for expectation, expected in made:
            yield expected, _result(suite, expected, by_number[expectation.meta["number"]])

    def _repeated(self, suite: Suite, expected: Expected) -> Result:
        """Uniqueness, counted by groups, which the engine can do on disk: Great Expectations' window over all rows took 18 GB for 38 million of them.

        As there, a row whose columns are all null repeats nothing.
        """
        columns = list(expected.kwargs["column_list"] if "column_list" in expected.kwargs else [expected.kwargs["column"]])
        is_empty = " and ".join(f"{c} is null" for c in columns)
        groups = (
            f"select count(*) as n, min(case when {is_empty} then 1 else 0 end) = 1 as is_empty "
            f"from ({suite.query}) where {expected.where or 'true'} group by {', '.join(columns)}"
        )
        asked = f"select coalesce(sum(n), 0) as n, coalesce(sum(case when n > 1 and not is_empty then n end), 0) as repeated from ({groups})"
        try:
            rows, repeated = (int(value) for value in self._spark.sql(asked).toArrow().to_pylist()[0].values())
        except Exception as error:  # noqa: BLE001 - as above
            return _unevaluated(suite, expected, error)
        return _with_counts(suite, expected, repeated, rows)


@cache
def _class(name: str) -> Any:
    """An expectation class of that name, ours or a subclass of Great Expectations'; None where there is neither."""
    import great_expectations.expectations as gxe
    from great_expectations.compatibility import pydantic
    from great_expectations.expectations.expectation import BatchExpectation

    class Remembering:
        """Puts its configuration together once: its base class does so anew for each argument that it looks up."""

        _configuration: Any

        @property
        def configuration(self) -> Any:
            if self._configuration is None:
                self._configuration = super().configuration  # type: ignore[misc]
            return self._configuration

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name != "_configuration":
                self._configuration = None

    class Counting(Remembering):
        """Counts rows only: fetching the values that break it costs a query and shows them."""

        def get_validation_dependencies(self, *arguments: Any, **named: Any) -> Any:
            wanted = super().get_validation_dependencies(*arguments, **named)  # type: ignore[misc]
            wanted.remove_metric_configuration(f"{self.map_metric}.unexpected_values")  # type: ignore[attr-defined]
            return wanted

    class ExpectNoColumnToMatch(BatchExpectation):  # type: ignore[misc]
        """No column of the table has a name that the pattern finds."""

        regex: str
        metric_dependencies = ("table.columns",)
        success_keys = ("regex",)
        args_keys = ("regex",)

        def _validate(self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None) -> Any:
            found = [c for c in metrics["table.columns"] if re.search(self._get_success_kwargs()["regex"], c)]
            return {"success": not found, "result": {"observed_value": ", ".join(found)}}

    if name == ExpectNoColumnToMatch.__name__:
        return ExpectNoColumnToMatch
    theirs = getattr(gxe, name, None)
    if theirs is None:
        return None
    ours = Counting if name in _OVER_ROWS else Remembering
    return type(f"{ours.__name__}{name}", (ours, theirs), {"__module__": __name__, "_configuration": pydantic.PrivateAttr(None)})


def _expectation(expected: Expected, number: int) -> Any:
    made = _class(expected.type)
    if made is None:
        raise SuiteError(f"{expected.type}: expected a class of great_expectations.expectations, there is none of that name; correct the suite")
    condition: dict[str, Any] = {"row_condition": expected.where, "condition_parser": "spark"} if expected.where else {}
    try:
        return made(**expected.kwargs, **condition, meta={"number": number})
    except (TypeError, ValueError) as error:  # its models are pydantic's, whose errors are ValueErrors
        raise SuiteError(
            f"{expected.type} ({expected.title}): expected its own arguments, came {dict(expected.kwargs)}: {error}; correct the suite"
        ) from error


def _result(suite: Suite, expected: Expected, found: Any) -> Result:
    raised = _raised(found.exception_info)
    if raised:
        return _unevaluated(suite, expected, raised)
    counts = found.result or {}
    unexpected = counts.get("unexpected_count")
    if unexpected is not None:
        return replace(_with_counts(suite, expected, int(unexpected), int(counts.get("element_count") or 0)), success=bool(found.success))
    value = counts.get("observed_value")
    # A text may be a value of the data, unless it is what the table itself is like.
    told = isinstance(value, (int, float)) or expected.type == _ABOUT_THE_SCHEMA
    return _finished(suite, expected, bool(found.success), str(value) if told and value is not None else "", None)


def _unevaluated(suite: Suite, expected: Expected, error: Exception | str) -> Result:
    said = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    return _finished(suite, expected, False, "not evaluated" if looks_sensitive(said) else f"not evaluated: {said}", None)


def _finished(suite: Suite, expected: Expected, success: bool, observed: str, unexpected: int | None, rows: int | None = None) -> Result:
    where = (suite.name, suite.title, suite.table)
    return Result(*where, expected.type, expected.title, expected.column_name, expected.severity, success, observed, unexpected, rows)


def _with_counts(suite: Suite, expected: Expected, unexpected: int, rows: int | None) -> Result:
    observed = _OF_ROWS.format(unexpected=unexpected, rows=rows or 0)
    return _finished(suite, expected, not unexpected, observed, unexpected, rows)


def _held(suite: Suite, expected: Expected) -> Result:
    return _with_counts(suite, expected, 0, 0)


def _raised(information: Any) -> str | None:
    # One dict for the expectation, or one per metric id.
    entries = [information] if "raised_exception" in (information or {}) else (information or {}).values()
    messages = [str(e["exception_message"]) for e in entries if isinstance(e, dict) and e.get("raised_exception")]
    return messages[0] if messages else None


def _keep(run: Run, results: Iterable[Result], checked_at: datetime) -> None:
    """Replace this run's rows in `ops.check_result`."""
    rows = [
        {
            "run_id": run.run_id,
            "suite": r.suite,
            "table_name": r.table,
            "expectation": r.expectation,
            "column_name": r.column,
            "severity": r.severity,
            "success": r.success,
            "observed": r.observed,
            "unexpected_count": r.unexpected_count,
            "checked_at": checked_at,
        }
        for r in results
    ]
    found = pa.Table.from_pylist(rows, SCHEMA)
    run.tables.ensure(TABLE, SCHEMA)
    if run.tables.read(TABLE, columns=["run_id"], where=ds.field("run_id") == run.run_id).num_rows:
        others = run.tables.read(TABLE, where=ds.field("run_id") != run.run_id)
        run.tables.overwrite(TABLE, pa.concat_tables([others.select(SCHEMA.names).cast(SCHEMA), found]))
    else:
        run.tables.append(TABLE, found)
