"""The FastAPI application: its routes, its documentation, and what every answer has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI

from gridlake import __version__
from gridlake.settings import Settings
from serving.api import feeds, findings, health, metrics, pages, posture, problems, pull, regions, snapshots
from serving.api.answers import Answer
from serving.api.pull import PullDesk
from serving.snapshots import Snapshots

DESCRIPTION = """\
Counts, findings, feeds and code lists of one lake, read from published snapshots.

Every answer names the snapshot it was read from (`snapshot`, also the header `X-Gridlake-Snapshot`) and the moment the numbers
hold for (`as_of`). Without `?snapshot=` the current one is read; with it, that one, for as long as it is kept. Errors say what was
expected, what came and what to do. No answer holds a value of class L4 (ID number, phone number, person's name, exact home).
"""
TAGS = [
    {"name": "regions", "description": "Regions of every region system, from province to village, with their numbers: drill down and up."},
    {"name": "posture", "description": "What happened in a region in a period, against the period before."},
    {"name": "findings", "description": "What the models found, with score and reasons."},
    {"name": "feeds", "description": "What is sent by whom, as which contract, and how well; code lists."},
    {"name": "pull", "description": "What a sender takes home under its own signature: findings of its regions, receipts, assigned codes."},
    {"name": "snapshots", "description": "What was published when, from which input and code."},
    {"name": "health", "description": "Whether there is something to read."},
]


def create_app(settings: Settings) -> FastAPI:
    """The application over the lake of these settings; usable before anything is published."""
    app = FastAPI(
        title="gridlake",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        # Swagger UI loads its scripts from elsewhere; /docs is a page of ours.
        docs_url=None,
        redoc_url=None,
        responses=problems.RESPONSES,
    )
    app.state.home = settings.home.absolute()
    app.state.desk = PullDesk(settings)
    app.state.snapshots = Snapshots(settings.home)
    problems.install(app)
    for module in (regions, posture, findings, feeds, pull, snapshots, health):
        app.include_router(module.router)
    app.include_router(metrics.router, include_in_schema=False)
    app.include_router(pages.router, include_in_schema=False)
    app.openapi = _with_whole_examples(app.openapi)  # type: ignore[method-assign]
    return app


def _with_whole_examples(described: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """FastAPI leaves nulls out of examples, which then lack required fields: put the examples back as the models have them."""

    def openapi() -> dict[str, Any]:
        document = described()
        whole = {model.__name__: model.model_json_schema()["examples"] for model in _answers(Answer)}
        for name, schema in document["components"]["schemas"].items():
            if "examples" in schema:
                schema["examples"] = whole.get(name, schema["examples"])
        return document

    return openapi


def _answers(kind: type[Answer]) -> Iterator[type[Answer]]:
    for model in kind.__subclasses__():
        yield model
        yield from _answers(model)
