"""The OpenAPI document is complete: a client can be written from it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient

from serving.api.problems import SNAPSHOT_HEADER


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _as_json(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The operations whose answer is one JSON document; a pull's is one a line."""
    yield from ((name, o) for name, o in _operations(document) if "application/json" in o["responses"]["200"]["content"])


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_every_endpoint_of_the_interface_is_there(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        "/health", "/snapshots", "/snapshots/{snapshot_id}", "/regions", "/regions/{code}", "/regions/{code}/children", "/posture",
        "/findings", "/findings/{finding_id}", "/feeds", "/feeds/{feed_id}", "/pull/findings", "/code-lists", "/code-lists/{name}",
    }  # fmt: skip


def test_every_operation_is_described_with_its_parameters_header_and_errors(document: dict[str, Any]) -> None:
    tags = {t["name"]: t["description"] for t in document["tags"]}
    for name, operation in _operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert all(tags[t] for t in operation["tags"]), name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
        assert {"200", "404", "422", "503"} <= set(operation["responses"]), name
        assert SNAPSHOT_HEADER in operation["responses"]["200"]["headers"], name
        for status in ("404", "422", "503"):
            schema = _resolve(document, operation["responses"][status]["content"]["application/json"]["schema"])
            assert {"expected", "came", "do"} <= set(schema["properties"]), (name, status)


def test_every_field_of_every_answer_is_described(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), (name, field)


def test_every_answer_has_an_example_that_fits_its_schema(document: dict[str, Any]) -> None:
    for name, operation in _as_json(document):
        schema = _resolve(document, operation["responses"]["200"]["content"]["application/json"]["schema"])
        assert schema["examples"], name
        for example in schema["examples"]:
            jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(example)


def test_answers_fit_their_schemas(document: dict[str, Any], client: TestClient) -> None:
    finding = client.get("/findings?limit=1").json()["findings"][0]["finding_id"]
    snapshot = client.get("/health").json()["snapshot"]
    filled = {"code": "330100000000", "finding_id": finding, "feed_id": "town_hall__request", "name": "event_level", "snapshot_id": snapshot}
    for path in (name.removeprefix("GET ") for name, _ in _as_json(document)):
        url = path.format(**filled) + ("?region=330100000000" if path == "/posture" else "")
        schema = _resolve(document, document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"])
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(client.get(url).json())
