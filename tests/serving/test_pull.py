"""A sender takes home what is its own, under its own signature, and nothing is left out between two pulls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fastapi.testclient import TestClient

from gridlake.credentials import Secrets
from gridlake.runs import Run
from gridlake.signatures import CLOCK_SKEW_S, sign
from serving.api import create_app
from serving.publish import publish
from serving.snapshots import Snapshots
from tests.serving import province

HANGZHOU, NINGBO = "330100000000", "330200000000"
URL = "http://testserver/pull/findings"
ARRIVED = datetime(2026, 3, 2, 1, tzinfo=UTC)


_RECEIPT = {
    "feed": "city_platform__event", "batch": 1, "first_row": 1, "last_row": 9, "received": 9, "accepted": 8, "refused": 1, "duplicate": 0,
    "waiting": 0,
    "reasons": '{"required/class_code": 1}', "contract_version": "1.0.0", "state": "landed", "message": "接收 8，拒收 1。",
}  # fmt: skip


def _receipts(*deliveries: tuple[str, str, datetime]) -> pa.Table:
    named = [
        {"_delivery_id": f"files:{sender}/{name}", "sender_code": sender, "file_name": name, "received_at": at, **_RECEIPT}
        for sender, name, at in deliveries
    ]
    schema = pa.Table.from_pylist(named).schema
    return pa.Table.from_pylist(named, schema.set(schema.get_field_index("received_at"), pa.field("received_at", pa.timestamp("us", "UTC"))))


def _codes(*grids: tuple[str, str]) -> dict[str, pa.Table]:
    ids = [f"{sender}-{local}" for sender, local in grids]
    return {
        "resolved.crosswalk": pa.table(
            {
                "sender_code": [sender for sender, _ in grids],
                "entity": ["grid"] * len(grids),
                "local_id": [local for _, local in grids],
                "canonical_id": ids,
                "valid_from": pa.array([ARRIVED] * len(grids), pa.timestamp("us", "UTC")),
            }
        ),
        "resolved.grid_code": pa.table(
            {"grid_id": ids, "grid_code": [f"33{n:014}" for n in range(len(ids))], "region_code": ["330106001001"] * len(ids)}
        ),
    }


def _publish(home: Path, marts: dict[str, pa.Table], others: dict[str, pa.Table]) -> str:
    run = Run.start(province.settings(home), quiet=True)
    for name, table in {**{f"mart.{n}": t for n, t in marts.items()}, **others}.items():
        run.tables.ensure(name, table.schema)
        run.tables.overwrite(name, table)
    run.tables.ensure("bronze.city_platform__event", pa.schema([("event_id", pa.string())]))
    province.checked(run)
    run.cut["ops.receipt"] = run.tables.version("ops.receipt")
    run.steps["resolve"] = {"tables": {name: 0 for name in others if name.startswith("resolved.")}}
    return str(publish(run)["snapshot"]["id"])


@pytest.fixture(scope="module")
def small(marts: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The marts without the days before the last week, which no pull asks for."""
    old = [n for n in ("event_daily", "feed_quality", "region_overview", "overdue", "team_staffing") if n in marts]
    return {name: table.slice(0, 0) if name in old else table for name, table in marts.items()}


@pytest.fixture(scope="module")
def lake(small: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A lake with two snapshots, their ids, and keys of two senders: between the two one finding goes and one comes, a delivery and a grid arrive."""
    home = tmp_path_factory.mktemp("pull") / "lake"
    finding = small["finding"]
    ids = finding.filter(pc.starts_with(finding["subject_id"], HANGZHOU))["finding_id"].to_pylist()
    without_last, without_first = (finding.filter(pc.not_equal(finding["finding_id"], gone)) for gone in (ids[-1], ids[0]))
    deliveries = [(HANGZHOU, "1.csv", ARRIVED), (NINGBO, "1.csv", ARRIVED), (HANGZHOU, "2.csv", ARRIVED + timedelta(days=1))]
    grids = [(HANGZHOU, "G1"), (NINGBO, "G1"), (HANGZHOU, "G2")]
    one = _publish(home, small | {"finding": without_last}, {"ops.receipt": _receipts(*deliveries[:2]), **_codes(*grids[:2])})
    two = _publish(home, small | {"finding": without_first}, {"ops.receipt": _receipts(*deliveries), **_codes(*grids)})
    secrets = Secrets(province.settings(home).secrets, {})
    for sender in (HANGZHOU, NINGBO):
        secrets.put(f"sender_{sender}", f"key of {sender}", datetime.now(UTC))
    return home, one, two


@pytest.fixture(scope="module")
def client(lake: tuple[Path, str, str]) -> Iterator[TestClient]:
    with TestClient(create_app(province.settings(lake[0])), raise_server_exceptions=False) as opened:
        yield opened


def _key(code: str) -> str:
    return f"key of {code}"


def _pull(client: TestClient, sender: str, query: str = "", key: str | None = None, **options: Any) -> httpx.Response:
    return client.get(URL + query, headers=sign("GET", URL + query, key or _key(sender), sender, **options))


def _lines(answer: httpx.Response) -> dict[str, list[dict[str, Any]]]:
    assert answer.status_code == 200, answer.text
    found: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, answer.text.splitlines()):
        found.setdefault(line["kind"], []).append(line)
    return found


def test_a_city_takes_its_findings_receipts_and_codes_and_nobody_elses(client: TestClient, lake: tuple[Path, str, str]) -> None:
    home, _, two = lake
    answer = _pull(client, HANGZHOU)
    lines = _lines(answer)
    wanted = Snapshots(home).open(two).rows("select finding_id from mart.finding where region_code like '3301%' order by 1")
    assert sorted(f["finding_id"] for f in lines["finding"]) == [row["finding_id"] for row in wanted]
    assert len(wanted) > 5
    assert {f["region_code"][:4] for f in lines["finding"]} == {"3301"}
    assert all(f["local_id"] and f["reasons"] for f in lines["finding"])
    assert [r["file_name"] for r in lines["receipt"]] == ["1.csv", "2.csv"]
    assert {r["delivery_id"] for r in lines["receipt"]} == {f"files:{HANGZHOU}/1.csv", f"files:{HANGZHOU}/2.csv"}
    assert [(c["local_id"], c["code"]) for c in lines["code"]] == [("G1", "3300000000000000"), ("G2", "3300000000000002")]
    assert lines["end"] == [{"kind": "end", "finding": len(wanted), "withdrawn": 0, "receipt": 2, "code": 2, "next": two}]
    assert answer.headers["X-Gridlake-Snapshot"] == two
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert {f["region_code"][:4] for f in _lines(_pull(client, NINGBO))["finding"]} == {"3302"}


def test_a_pull_since_a_snapshot_gives_what_came_and_what_went(client: TestClient, lake: tuple[Path, str, str]) -> None:
    home, one, two = lake
    lines = _lines(_pull(client, HANGZHOU, f"?since={one}"))
    asked = "select finding_id from mart.finding where region_code like '3301%'"
    before, after = ({row["finding_id"] for row in Snapshots(home).open(i).rows(asked)} for i in (one, two))
    assert {f["finding_id"] for f in lines["finding"]} == after - before
    assert {f["finding_id"] for f in lines["withdrawn"]} == before - after
    assert len(lines["finding"]) == len(lines["withdrawn"]) == 1
    assert [r["file_name"] for r in lines["receipt"]] == ["2.csv"]
    assert [c["local_id"] for c in lines["code"]] == ["G2"]
    assert _lines(_pull(client, HANGZHOU, f"?since={two}"))["end"][0] | {"next": ""} == {
        "kind": "end", "finding": 0, "withdrawn": 0, "receipt": 0, "code": 0, "next": "",
    }  # fmt: skip


def test_a_pull_since_a_day_gives_what_is_of_that_day_and_later(client: TestClient) -> None:
    lines = _lines(_pull(client, HANGZHOU, "?since=2026-03-03"))
    assert "finding" not in lines
    assert [r["file_name"] for r in lines["receipt"]] == ["2.csv"]
    some = _lines(_pull(client, HANGZHOU, "?since=2026-02-20"))["finding"]
    assert {f["business_date"] >= "2026-02-20" for f in some} == {True}
    assert len(some) < len(_lines(_pull(client, HANGZHOU))["finding"])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"key": "key of another"}, "signature_wrong"),
        ({"created": 1_700_000_000}, "signature_expired"),
        ({"nonce": "short"}, "signature_malformed"),
    ],
)
def test_a_request_that_its_sender_did_not_sign_is_refused(client: TestClient, options: dict[str, Any], code: str) -> None:
    answer = _pull(client, HANGZHOU, **options)
    assert answer.status_code == 401
    assert answer.json()["came"].startswith(code)
    assert "finding_id" not in answer.text


def test_a_signature_is_of_one_sender_one_query_and_one_time(client: TestClient) -> None:
    assert client.get(URL).status_code == 401
    assert _pull(client, "nobody", key=_key(HANGZHOU)).status_code == 401
    headers = sign("GET", URL, _key(HANGZHOU), HANGZHOU)
    assert client.get(f"{URL}?since=2026-03-03", headers=headers).status_code == 401, "the query was not signed"
    assert client.get(URL, headers=headers).status_code == 200
    repeated = client.get(URL, headers=headers)
    assert (repeated.status_code, repeated.json()["came"][:14]) == (401, "nonce_repeated")
    assert CLOCK_SKEW_S == 300


def test_an_unknown_snapshot_is_named_with_what_to_do(client: TestClient) -> None:
    answer = _pull(client, HANGZHOU, "?since=20200101-000000000000")
    assert answer.status_code == 404
    assert "pull without since" in answer.json()["do"]
