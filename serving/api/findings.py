"""GET /findings …: what the models found, page by page, with reasons."""

from __future__ import annotations

import base64
import binascii
import json
from collections import defaultdict
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from serving.api.answers import EXAMPLE_SNAPSHOT, Answer, Reading, answered, name_snapshot, snapshots_of, stamped
from serving.api.problems import Problem
from serving.api.regions import SystemName, known_region
from serving.snapshots import NoSnapshot, Snapshot, Snapshots

router = APIRouter(tags=["findings"])

DEFAULT_PAGE, LARGEST_PAGE = 50, 500

_REASON: JsonDict = {
    "factor": "instant_close",
    "weight": 0.4,
    "value": 1.0,
    "contribution": 0.4,
    "reason_zh": "上报后 1 分钟内办结",
    "reason_en": "closed within a minute",
}
_FINDING: JsonDict = {
    "finding_id": "5d41402abc4b2a76b9719d911017c592", "model": "invalid_event", "model_version": "1.0.0", "subject_type": "event",
    "subject_id": "hangzhou-E1", "sender_code": "hangzhou", "region_system": "cn", "region_code": "330106001001", "grid_id": "hangzhou-G1",
    "business_date": "2026-03-01", "score": 0.81, "threshold": 0.6, "reason_zh": "上报后 1 分钟内办结", "reason_en": "closed within a minute",
    "reasons": [_REASON],
}  # fmt: skip


class Reason(BaseModel):
    """One part of a score; the contributions of a finding add up to its score."""

    factor: str = Field(description="the factor that spoke")
    weight: float = Field(description="its weight in the model")
    value: float = Field(description="what it measured, 0 to 1")
    contribution: float = Field(description="its part of the score")
    reason_zh: str | None = Field(description="why, in Chinese")
    reason_en: str | None = Field(description="why, in English")


class Finding(BaseModel):
    """Something a model found; the id survives reruns and new model versions."""

    finding_id: str = Field(description="stable id")
    model: str = Field(description="the model")
    model_version: str = Field(description="its version")
    subject_type: str = Field(description="what it is about: event, …")
    subject_id: str = Field(description="id of the subject")
    sender_code: str | None = Field(description="who sent the subject")
    region_system: str = Field(description="region system of the subject")
    region_code: str | None = Field(description="region of the subject")
    grid_id: str | None = Field(description="grid of the subject")
    business_date: date = Field(description="date of the subject in its region's zone")
    score: float = Field(description="0 to 1")
    threshold: float = Field(description="the model's threshold; scores below it are no findings")
    reason_zh: str | None = Field(description="the main reason, in Chinese")
    reason_en: str | None = Field(description="the main reason, in English")
    reasons: list[Reason] = Field(description="every part of the score, largest first")


class FindingPage(Answer):
    """One page of findings, highest score first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "count": 1, "findings": [_FINDING], "next_cursor": None}]})

    count: int = Field(description="findings that meet the conditions, on all pages")
    findings: list[Finding] = Field(description="this page")
    next_cursor: str | None = Field(description="give it as ?cursor= for the next page; null on the last one")


class OneFinding(Answer):
    """One finding."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "finding": _FINDING}]})

    finding: Finding = Field(description="the finding asked for")


class Cursor(BaseModel):
    """Where a page ended: the last finding's place in the order, and the snapshot that is being turned over."""

    snapshot: str
    score: float
    finding_id: str

    def encode(self) -> str:
        """As one word for a URL."""
        return base64.urlsafe_b64encode(self.model_dump_json().encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """What `encode` made; anything else is a problem."""
        try:
            return cls.model_validate(json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
        except (ValueError, binascii.Error):
            raise Problem(422, "cursor: a next_cursor of this interface", text, "begin again without cursor") from None


def read_page(
    request: Request,
    response: Response,
    snapshots: Annotated[Snapshots, Depends(snapshots_of)],
    cursor: Annotated[str | None, Query(description="next_cursor of the page before", max_length=400)] = None,
    snapshot: Annotated[
        str | None, Query(description="read this snapshot instead of the current one", max_length=64, examples=["20260302-0f3a9c1d2b4e"])
    ] = None,
) -> tuple[Snapshot, Cursor | None]:
    """The snapshot of the page before, so that turning pages never crosses a publication."""
    at = Cursor.decode(cursor) if cursor else None
    if at and snapshot and snapshot != at.snapshot:
        raise Problem(422, f"snapshot: {at.snapshot}, as the cursor says", snapshot, "leave one of the two out")
    try:
        return name_snapshot(request, response, snapshots.open(at.snapshot if at else snapshot)), at
    except NoSnapshot:
        if at:
            raise Problem(404, "a cursor into a snapshot that is kept", at.snapshot, "begin again without cursor") from None
        raise


@router.get("/findings", summary="Findings, page by page", responses=answered("One page of findings, highest score first."))
def read_findings(
    reading: Annotated[tuple[Snapshot, Cursor | None], Depends(read_page)],
    region: Annotated[str | None, Query(description="only findings in this region or below", max_length=64, examples=["330100000000"])] = None,
    system: SystemName = None,
    model: Annotated[str | None, Query(description="only findings of this model", max_length=64, examples=["invalid_event"])] = None,
    min_score: Annotated[float, Query(description="only findings with at least this score", ge=0, le=1)] = 0.0,
    first: Annotated[date | None, Query(alias="from", description="only subjects of this day or later")] = None,
    last: Annotated[date | None, Query(alias="to", description="only subjects of this day or earlier")] = None,
    limit: Annotated[int, Query(description="findings on a page", ge=1, le=LARGEST_PAGE)] = DEFAULT_PAGE,
) -> FindingPage:
    """Highest score first, then by id; every page of one listing comes from the snapshot of its first page."""
    snapshot, at = reading
    if first and last and first > last:
        raise Problem(422, f"from: a day no later than to ({last})", first, "let from be no later than to")
    found = known_region(snapshot, region, system) if region else None
    where = """
        where ($code is null or (region_system = $system and region_code in (
                  select region_code from mart.region_closure where region_system = $system and ancestor_code = $code)))
          and ($code is not null or $system is null or region_system = $system)
          and ($model is null or model = $model)
          and score >= $min_score
          and ($first is null or business_date >= $first)
          and ($last is null or business_date <= $last)
    """
    conditions = {
        "code": found["region_code"] if found else None,
        "system": found["region_system"] if found else system,
        "model": model,
        "min_score": min_score,
        "first": first,
        "last": last,
    }
    count = snapshot.row(f"select count(*)::bigint as count from mart.finding {where}", conditions)
    rows = snapshot.rows(
        f"""
        select * from mart.finding {where}
          and ($score is null or score < $score or (score = $score and finding_id > $finding_id))
        order by score desc, finding_id limit $size
        """,
        {**conditions, "score": at.score if at else None, "finding_id": at.finding_id if at else None, "size": limit + 1},
    )
    page, more = rows[:limit], len(rows) > limit
    cursor = Cursor(snapshot=snapshot.id, score=page[-1]["score"], finding_id=page[-1]["finding_id"]).encode() if more else None
    assert count is not None
    answer = {**stamped(snapshot), "count": count["count"], "findings": _with_reasons(snapshot, page), "next_cursor": cursor}
    return FindingPage.model_validate(answer)


@router.get("/findings/{finding_id}", summary="One finding", responses=answered("The finding with every part of its score."))
def read_finding(
    snapshot: Reading,
    finding_id: Annotated[str, Path(description="a finding's id", min_length=1, max_length=64, examples=["5d41402abc4b2a76b9719d911017c592"])],
) -> OneFinding:
    """One finding with its reasons, whose contributions add up to its score."""
    rows = snapshot.rows("select * from mart.finding where finding_id = $id", {"id": finding_id})
    if not rows:
        raise Problem(404, f"a finding of snapshot {snapshot.id}", finding_id, "GET /findings lists them")
    return OneFinding.model_validate({**stamped(snapshot), "finding": _with_reasons(snapshot, rows)[0]})


def _with_reasons(snapshot: Snapshot, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    reasons = defaultdict(list)
    for row in snapshot.rows(
        "select * from mart.finding_reason where finding_id in (select unnest($ids)) order by finding_id, contribution desc, factor",
        {"ids": [f["finding_id"] for f in findings]},
    ):
        reasons[row["finding_id"]].append(row)
    return [{**finding, "reasons": reasons[finding["finding_id"]]} for finding in findings]
