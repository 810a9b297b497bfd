"""Events of lineage are what OpenLineage's own classes (generated from its JSON schema) take, and reach a receiver by HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gridlake import lineage_events
from gridlake.catalogue import EMPTY, Catalogue, Described, Table
from gridlake.lineage import Column, Condition, Lineage, Made, Origin
from gridlake.runs import Run
from tests.openlineage import validated

DAILY, EVENT = "mart.event_daily", "business.event"


class Receiver(ThreadingHTTPServer):
    """What OpenLineage events are posted to; keeps them."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), Posted)


class Posted(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, json.loads(body)))  # type: ignore[attr-defined]
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is said."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def known() -> Catalogue:
    overdue = Described("overdue_count", "超期数", "含已办结的超期", "L1")
    made = Made(
        {"overdue_count": (Origin(Column(EVENT, "is_overdue"), "AGGREGATION"),), "event_count": ()},
        (Condition(Column(EVENT, "business_date"), "GROUP_BY"), Condition(Column(EVENT, "business_date"), "FILTER")),
        (EVENT,),
    )
    return Catalogue(
        {DAILY: Table(DAILY, "事件日统计", "one row per day", "数据组", {"overdue_count": overdue}, (), "")}, Lineage({DAILY: made}), {}, ()
    )


def of(run: Run, folder: Path, **settings: Any) -> Run:
    """The run with its files elsewhere, and other settings; its tables stay where they are."""
    return replace(run, settings=run.settings.model_copy(update=settings), run_id=folder.name)


def test_a_run_is_told_in_events_of_the_official_form(published: Run, known: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = "1f0e3dad-9990-4b2e-8b1c-0d5f6c7a8b9c"
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"gridlake.dags/province.publish/{task}")
    told = lineage_events.emit(of(published, tmp_path), known, {DAILY: {"version": 3, "rows": 150}})
    lines = Path(told["path"]).read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == told["events"] == 6
    for event in found:
        validated(event)
    assert [(e["eventType"], e["job"]["name"]) for e in found] == [
        ("START", "run"), ("START", f"mart.{DAILY}"), ("COMPLETE", f"mart.{DAILY}"), ("START", "check"), ("COMPLETE", "check"), ("COMPLETE", "run")
    ]  # fmt: skip
    done = found[2]
    assert [i["name"] for i in done["inputs"]] == [EVENT]
    (output,) = done["outputs"]
    lineage = output["facets"]["columnLineage"]
    assert lineage["fields"]["overdue_count"]["inputFields"] == [
        {
            "namespace": "gridlake", "name": EVENT, "field": "is_overdue",
            "transformations": [{"type": "DIRECT", "subtype": "AGGREGATION"}],
        }
    ]  # fmt: skip
    assert [t["subtype"] for t in lineage["dataset"][0]["transformations"]] == ["GROUP_BY", "FILTER"]
    columns = {c["name"]: c.get("description") for c in output["facets"]["schema"]["fields"]}
    assert columns["overdue_count"] == "超期数：含已办结的超期"
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 150
    assert len({e["run"]["runId"] for e in found}) == 3
    above = [event["run"]["facets"]["parent"] for event in found]
    assert [(a["job"]["name"], a["run"]["runId"]) for a in above[:2]] == [("province.publish", task), ("run", found[0]["run"]["runId"])]


def test_an_event_of_another_form_is_no_event(published: Run, known: Catalogue, tmp_path: Path) -> None:
    told = lineage_events.emit(of(published, tmp_path), known, {DAILY: {"version": 3, "rows": 150}})
    done = json.loads(Path(told["path"]).read_text(encoding="utf-8").splitlines()[2])
    for spoil in (
        lambda e: e.pop("eventTime"),
        lambda e: e["run"].update(runId="17"),
        lambda e: e["outputs"][0].update(rows=150),
        lambda e: e["outputs"][0]["facets"]["columnLineage"]["fields"]["overdue_count"]["inputFields"][0].pop("field"),
        lambda e: e["outputs"][0]["outputFacets"]["outputStatistics"].update(rowCount="150"),
    ):
        spoilt = json.loads(json.dumps(done))
        spoil(spoilt)
        with pytest.raises((TypeError, ValueError)):
            validated(spoilt)


def test_events_are_posted_where_the_settings_say(published: Run, receiver: Receiver, tmp_path: Path) -> None:
    run = of(published, tmp_path, openlineage_url=f"http://127.0.0.1:{receiver.server_port}")
    told = lineage_events.emit(run, EMPTY, {DAILY: {"version": 3, "rows": 150}})
    assert told["sent"] == told["events"] == len(receiver.received)
    assert {path for path, _ in receiver.received} == {"/api/v1/lineage"}
    written = [json.loads(line) for line in Path(told["path"]).read_text(encoding="utf-8").splitlines()]
    # The client adds its own version to the run's facets.
    parts = ("eventType", "eventTime", "job", "outputs", "inputs")
    assert [[event[part] for part in parts] for _, event in receiver.received] == [[event[part] for part in parts] for event in written]


def test_a_receiver_that_is_not_there_is_said_and_stops_nothing(published: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as gone:
        port = gone.server_port
    # One attempt; by default a receiver is given five.
    monkeypatch.setitem(lineage_events.RETRIES, "total", 0)
    told = lineage_events.emit(of(published, tmp_path, openlineage_url=f"http://127.0.0.1:{port}"), EMPTY, {DAILY: {"version": 3, "rows": 1}})
    assert told["sent"] == 0
    assert Path(told["path"]).exists()
