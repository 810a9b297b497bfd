"""What a run made of what, as OpenLineage events: one line of JSON each in `<home>/lineage/<run_id>.ndjson`, and by HTTP where a receiver is named.

The names of tables, columns and checks and counts of rows; never a value of a row. A receiver that does not answer is said and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import pyarrow.dataset as ds
from openlineage.client import event_v2 as events
from openlineage.client import facet_v2 as facets
from openlineage.client.client import OpenLineageClient
from openlineage.client.serde import Serde
from openlineage.client.transport.http import HttpConfig, HttpTransport

from gridlake import __version__, quality
from gridlake.catalogue import Catalogue
from gridlake.lineage import Column, Made
from gridlake.runs import Run
from gridlake.tables import write_file

PRODUCER = f"urn:gridlake:{__version__}"
# Ids of runs are UUIDs of the names that they have in the ledger, so that a repeated step names the same run.
_IDS = UUID("6f0f6a58-8a2c-5b1e-9a39-0d9f6f1b7c11")
# What a scheduler says of the task that has started this process: <namespace>/<job>/<run id>.
PARENT = "OPENLINEAGE_PARENT_ID"
# How often and after which seconds a receiver is asked again.
RETRIES: dict[str, Any] = {"total": 2, "connect": 2, "backoff_factor": 0.3}
_STAGES = {"staging": "stage", "resolved": "resolve", "factor": "detect", "finding": "detect", "mart": "mart", "bronze": "land"}


def emit(run: Run, known: Catalogue, tables: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Write the run's events and send them where GRIDLAKE_OPENLINEAGE_URL or OPENLINEAGE_URL says; gives their number, file and how many were sent.

    `tables` are version and rows of each table that the run read or made.
    """
    events.set_producer(PRODUCER)
    made = list(_events(_Writer(run, known, tables)))
    path = run.settings.home.absolute() / "lineage" / f"{run.run_id}.ndjson"
    write_file(path, "".join(f"{Serde.to_json(event)}\n" for event in made).encode())
    return {"events": len(made), "path": str(path), "sent": _sent(run, made)}


def _sent(run: Run, made: Iterable[events.RunEvent]) -> int:
    url = run.settings.openlineage_url
    if url is None and "OPENLINEAGE_URL" not in os.environ:
        return 0
    sent = 0
    try:
        client = OpenLineageClient(transport=HttpTransport(HttpConfig.from_dict({"url": url, "retry": RETRIES}))) if url else OpenLineageClient()
        for event in made:
            client.emit(event)
            sent += 1
    except Exception as error:  # noqa: BLE001 - whatever the receiver or the way to it answers, the lake is as it is
        run.progress.say(f"  OpenLineage: {sent} events sent, then {type(error).__name__}: {error}; they are all in {run.settings.home / 'lineage'}")
    return sent


class _Writer:
    """Makes the events of one run."""

    def __init__(self, run: Run, known: Catalogue, tables: Mapping[str, Mapping[str, int]]) -> None:
        self.run, self.known, self.tables = run, known, tables
        self.namespace = os.environ.get("OPENLINEAGE_NAMESPACE", "gridlake")
        self._ended_at = datetime.now(UTC).isoformat()

    def id_of(self, job: str) -> str:
        return str(uuid5(_IDS, f"{self.run.run_id}/{job}"))

    def event(self, state: events.RunState, job: str, inputs: list[Any] | None = None, outputs: list[Any] | None = None) -> events.RunEvent:
        """One event of a job; `run` is the job that all others belong to."""
        about: dict[str, Any] = {
            "processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet(
                version=__version__, name=f"gridlake/{self.run.settings.engine}"
            )
        }
        if self.run.as_of is not None:
            about["nominalTime"] = facets.nominal_time_run.NominalTimeRunFacet(nominalStartTime=self.run.as_of.isoformat())
        if job != "run":
            about["parent"] = _parent(self.namespace, "run", self.id_of("run"))
        elif started_by := os.environ.get(PARENT):
            about["parent"] = _parent(*started_by.rsplit("/", 2))
        kind = facets.job_type_job.JobTypeJobFacet(processingType="BATCH", integration="GRIDLAKE", jobType="RUN" if job == "run" else "TABLE")
        return events.RunEvent(
            eventType=state,
            eventTime=self.run.received_at.astimezone(UTC).isoformat() if state == events.RunState.START else self._ended_at,
            run=events.Run(runId=self.id_of(job), facets=about),
            job=events.Job(namespace=self.namespace, name=job, facets={"jobType": kind}),
            producer=PRODUCER,
            inputs=inputs or [],
            outputs=outputs or [],
        )

    def input(self, table: str, found: Mapping[str, Any] | None = None) -> events.InputDataset:
        return events.InputDataset(namespace=self.namespace, name=table, facets=self._version(table), inputFacets=dict(found or {}))

    def output(self, table: str, made: Made | None) -> events.OutputDataset:
        schema = self.run.tables.schema(table)
        described = self.known.tables.get(table)
        said = {name: f"{c.label}：{c.description}" for name, c in described.columns.items()} if described else {}
        columns = [
            facets.schema_dataset.SchemaDatasetFacetFields(name=f.name, type=str(f.type), description=said.get(f.name), ordinal_position=n)
            for n, f in enumerate(schema, 1)
        ]
        folder = (self.run.settings.tables / table.replace(".", "/")).as_uri()
        about: dict[str, Any] = {
            "schema": facets.schema_dataset.SchemaDatasetFacet(fields=columns),
            "dataSource": facets.datasource_dataset.DatasourceDatasetFacet(name=self.namespace, uri=folder),
            **self._version(table),
        }
        if described:
            about["documentation"] = facets.documentation_dataset.DocumentationDatasetFacet(description=described.title)
            owner = facets.ownership_dataset.Owner(name=described.owner, type="MAINTAINER")
            about["ownership"] = facets.ownership_dataset.OwnershipDatasetFacet(owners=[owner])
        if made:
            about["columnLineage"] = self._columns(made)
        rows = self.tables[table]["rows"]
        counted = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows)
        return events.OutputDataset(namespace=self.namespace, name=table, facets=about, outputFacets={"outputStatistics": counted})

    def checked(self) -> list[events.InputDataset]:
        """Every table that `check` looked at, with what it found."""
        if not self.run.tables.exists(quality.TABLE):
            return []
        found: dict[str, list[Any]] = {}
        rows = self.run.tables.read(quality.TABLE, where=ds.field("run_id") == self.run.run_id)
        for row in rows.sort_by([(name, "ascending") for name in ("table_name", "suite", "expectation", "column_name")]).to_pylist():
            severity = "error" if row["severity"] == "critical" else "warn"
            said = facets.data_quality_assertions_dataset.Assertion(
                row["expectation"], row["success"], row["column_name"], severity, row["suite"], actual=row["observed"] or None
            )
            found.setdefault(row["table_name"], []).append(said)
        whole = facets.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet
        return [self.input(t, {"dataQualityAssertions": whole(assertions=found[t])}) for t in sorted(found) if "." in t]

    def _columns(self, made: Made) -> Any:
        lineage = facets.column_lineage_dataset
        fields = {
            name: lineage.Fields(inputFields=[self._field(o.column, "DIRECT", [o.kind]) for o in origins])
            for name, origins in made.columns.items()
            if origins
        }
        parts: dict[Column, list[str]] = {}
        for condition in made.conditions:
            parts.setdefault(condition.column, []).append(condition.part)
        whole = [self._field(column, "INDIRECT", found) for column, found in parts.items()]
        return lineage.ColumnLineageDatasetFacet(fields=fields, dataset=whole)

    def _field(self, column: Column, kind: str, subtypes: Iterable[str]) -> Any:
        lineage = facets.column_lineage_dataset
        how = [lineage.Transformation(type=kind, subtype=subtype) for subtype in subtypes]
        return lineage.InputField(namespace=self.namespace, name=column.table, field=column.name, transformations=how)

    def _version(self, table: str) -> dict[str, Any]:
        if table not in self.tables:
            return {}
        version = str(self.tables[table]["version"])
        return {"version": facets.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version)}


def _parent(namespace: str, job: str, run_id: str) -> Any:
    of = facets.parent_run
    return of.ParentRunFacet(run=of.Run(runId=run_id), job=of.Job(namespace=namespace, name=job))


def _events(writer: _Writer) -> Iterator[events.RunEvent]:
    start, complete = events.RunState.START, events.RunState.COMPLETE
    yield writer.event(start, "run")
    for table in sorted(writer.tables):
        made = writer.known.lineage.get(table)
        schema = table.partition(".")[0]
        job = f"{_STAGES.get(schema, 'build')}.{table}"
        yield writer.event(start, job)
        yield writer.event(complete, job, [writer.input(above) for above in (made.tables if made else ())], [writer.output(table, made)])
    yield writer.event(start, "check")
    yield writer.event(complete, "check", writer.checked())
    yield writer.event(complete, "run")
