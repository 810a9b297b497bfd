"""GET /feeds …, /code-lists …: what is sent by whom, as which contract, and how well."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from serving.api.answers import EXAMPLE_SNAPSHOT, Answer, Reading, answered, stamped
from serving.api.problems import Problem
from serving.snapshots import Snapshot

router = APIRouter(tags=["feeds"])

_QUALITY: JsonDict = {
    "sender_code": "hangzhou", "sender_name": "杭州市", "received": 100, "accepted": 97, "refused": 2, "duplicate": 1, "waiting": 0,
    "refused_pct": 2.0, "last_received_at": "2026-03-02T03:00:00Z",
}  # fmt: skip
_FEED: JsonDict = {
    "id": "city_platform__event", "source": "city_platform", "feed": "event", "title": "事件", "entity": "event", "version": "1.0.0",
    "status": "active", "purpose": "网格员、群众和部门上报的基层治理事件。", "region_system": "cn",
    "dictionary": "/dictionary/city_platform__event.html",
    "senders": [_QUALITY],
}  # fmt: skip
_COLUMN: JsonDict = {
    "name": "event_id", "title": "事件编号", "description": "上报单位内唯一", "type": "string", "required": True, "key_position": 1,
    "classification": "L1", "limits": ["至多 64 字"], "code_list": None, "lands_as": ["event_id"],
}  # fmt: skip
_RULE: JsonDict = {
    "name": "closed_after_reported",
    "description": "办结不早于上报",
    "predicate": "closed_at >= reported_at",
    "dimension": "consistency",
    "severity": "error",
}


class SenderQuality(BaseModel):
    """How well one sender's deliveries of one feed were; received = accepted + refused + duplicate + waiting."""

    sender_code: str = Field(description="the sender")
    sender_name: str = Field(description="its name; the code where it has none")
    received: int = Field(description="rows received")
    accepted: int = Field(description="of these, accepted")
    refused: int = Field(description="of these, refused with reasons")
    duplicate: int = Field(description="of these, repeats")
    waiting: int = Field(description="of these, held until what they refer to arrives")
    refused_pct: float | None = Field(description="refused of received, percent; null where nothing was received")
    last_received_at: datetime | None = Field(description="when the newest delivery came, UTC")


class Feed(BaseModel):
    """A feed: its contract in short, and its senders' quality."""

    id: str = Field(description="<source>__<feed>")
    source: str = Field(description="where it comes from")
    feed: str = Field(description="its name within the source")
    title: str = Field(description="its Chinese name")
    entity: str | None = Field(description="the entity whose library it feeds")
    version: str = Field(description="contract version")
    status: str = Field(description="contract status")
    purpose: str = Field(description="what it is for")
    region_system: str = Field(description="the region system of its rows")
    dictionary: str = Field(description="path of its dictionary page")
    senders: list[SenderQuality] = Field(description="who sends it, and how well")


class ColumnDescription(BaseModel):
    """One column as the sender writes it."""

    name: str = Field(description="the column's name")
    title: str = Field(description="its Chinese name")
    description: str = Field(description="what it holds")
    type: str = Field(description="string, integer, number, boolean, date or timestamp")
    required: bool = Field(description="whether a row without it is refused")
    key_position: int | None = Field(description="its place in the primary key")
    classification: Literal["L1", "L2", "L3", "L4"] = Field(description="L1 public … L4 highly sensitive, kept as ciphertext only")
    limits: list[str] = Field(description="its limits in words")
    code_list: str | None = Field(description="the code list its values come from; GET /code-lists/{name}")
    lands_as: list[str] = Field(description="the columns it becomes in bronze")


class RuleDescription(BaseModel):
    """A rule over one row."""

    name: str = Field(description="the rule's name, as receipts and refusals give it")
    description: str = Field(description="in words")
    predicate: str = Field(description="in SQL")
    dimension: str = Field(description="what kind of quality it guards")
    severity: Literal["error", "warning"] = Field(description="error refuses the row, warning counts it")


class Refusal(BaseModel):
    """Rows refused for one reason."""

    sender_code: str = Field(description="whose rows")
    rule: str = Field(description="the rule")
    field: str | None = Field(description="the field, where the rule has one")
    row_count: int = Field(description="rows refused for it")


class ExampleRefused(BaseModel):
    """A row the contract gives as an example to refuse; values of class L4 are replaced."""

    rule: str = Field(description="the rule that refuses it")
    field: str | None = Field(description="at this field")
    row: dict[str, Any] = Field(description="the row")


class FeedList(Answer):
    """Every feed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "feeds": [_FEED]}]})

    feeds: list[Feed] = Field(description="by id")


class FeedDetail(Answer, Feed):
    """One feed: the whole contract, its senders' quality and what was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_SNAPSHOT, **_FEED, "owner": "事件组", "usage": "事件库", "limitations": "", "time_zone": "Asia/Shanghai",
                    "coordinate_system": "GCJ-02", "key": ["event_id"], "version_order": ["source_version"], "repeat_window_seconds": 259200,
                    "volume": {"min": 1, "max": 2000000, "origin": "0.05 events a grid and day"}, "columns": [_COLUMN], "rules": [_RULE],
                    "accept": [{"event_id": "E1"}], "reject": [{"rule": "required", "field": "class_code", "row": {"event_id": "E2"}}],
                    "mapping": {}, "refusals": [{"sender_code": "hangzhou", "rule": "required", "field": "class_code", "row_count": 2}],
                }
            ]
        }
    )  # fmt: skip

    owner: str = Field(description="who answers for it")
    usage: str = Field(description="what it is used for")
    limitations: str = Field(description="what it must not be used for")
    time_zone: str = Field(description="the zone of its local times")
    coordinate_system: str = Field(description="the system its positions come in")
    key: list[str] = Field(description="primary key, in order")
    version_order: list[str] = Field(description="columns that say which version is newer")
    repeat_window_seconds: int = Field(description="within this the same row again is a duplicate")
    volume: dict[str, int | str | None] = Field(description="rows expected in one delivery, with the origin of the numbers")
    columns: list[ColumnDescription] = Field(description="the columns, in contract order")
    rules: list[RuleDescription] = Field(description="rules over one row")
    accept: list[dict[str, Any]] = Field(description="examples to accept; values of class L4 are replaced")
    reject: list[ExampleRefused] = Field(description="examples to refuse")
    mapping: dict[str, str] = Field(description="canonical column → what it is taken from; empty for a feed that defines its entity")
    refusals: list[Refusal] = Field(description="refused rows by sender and reason, most rows first")


class CodeListNames(Answer):
    """The code lists there are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "code_lists": ["event_class", "event_level"]}]})

    code_lists: list[str] = Field(description="names, for GET /code-lists/{name}")


class CodeList(Answer):
    """One code list."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**EXAMPLE_SNAPSHOT, "name": "event_level", "codes": [{"code": "1", "name_zh": "一般", "name_en": "Ordinary"}]}]
        }
    )

    name: str = Field(description="the list's name")
    codes: list[dict[str, str | None]] = Field(description="code, name_zh, name_en and whatever else the list has, in its order")


@router.get("/feeds", summary="Every feed and its quality", responses=answered("The feeds with their senders."))
def read_feeds(snapshot: Reading) -> FeedList:
    """Every contract of the snapshot with the quality of each sender's deliveries."""
    senders = _senders(snapshot)
    feeds = [_short(document, senders) for document in snapshot.dictionary["feeds"].values()]
    return FeedList.model_validate({**stamped(snapshot), "feeds": feeds})


@router.get("/feeds/{feed_id}", summary="One feed's contract and quality", responses=answered("The contract, the senders, the refusals."))
def read_feed(
    snapshot: Reading,
    feed_id: Annotated[str, Path(description="<source>__<feed>", min_length=1, max_length=200, examples=["city_platform__event"])],
) -> FeedDetail:
    """The whole contract as it stood at publication, each sender's quality, and what was refused for which reason."""
    document = snapshot.dictionary["feeds"].get(feed_id)
    if document is None:
        raise Problem(404, f"a feed of snapshot {snapshot.id}", feed_id, "GET /feeds lists them")
    refusals = snapshot.rows(
        "select sender_code, rule, field, row_count from mart.refusal where feed = $feed order by row_count desc, sender_code, rule, field",
        {"feed": feed_id},
    )
    return FeedDetail.model_validate({**stamped(snapshot), **document, **_short(document, _senders(snapshot)), "refusals": refusals})


@router.get("/code-lists", summary="The code lists there are", responses=answered("Their names."))
def read_code_lists(snapshot: Reading) -> CodeListNames:
    """Every code list of the snapshot, by name."""
    return CodeListNames.model_validate({**stamped(snapshot), "code_lists": sorted(snapshot.dictionary["code_lists"])})


@router.get("/code-lists/{name}", summary="One code list", responses=answered("The codes with their names."))
def read_code_list(
    snapshot: Reading,
    name: Annotated[str, Path(description="a code list's name", min_length=1, max_length=100, examples=["event_level"])],
) -> CodeList:
    """The codes of one list with their Chinese and English names."""
    codes = snapshot.dictionary["code_lists"].get(name)
    if codes is None:
        raise Problem(404, f"a code list of snapshot {snapshot.id}", name, "GET /code-lists lists them")
    return CodeList.model_validate({**stamped(snapshot), "name": name, "codes": codes})


def _short(document: dict[str, Any], senders: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    short = {name: document[name] for name in Feed.model_fields if name in document}
    return {**short, "dictionary": f"/dictionary/{document['id']}.html", "senders": senders.get(document["id"], [])}


def _senders(snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
    by_feed = defaultdict(list)
    for row in snapshot.rows(
        """
        with named as (select sender_code, any_value(sender_name) as sender_name from mart.sender group by 1)
        select q.feed, q.sender_code, coalesce(any_value(n.sender_name), q.sender_code) as sender_name,
               sum(received)::bigint as received, sum(accepted)::bigint as accepted, sum(refused)::bigint as refused,
               sum(duplicate)::bigint as duplicate, sum(waiting)::bigint as waiting,
               round(100.0 * sum(refused) / nullif(sum(received), 0), 2) as refused_pct, max(last_received_at) as last_received_at
        from mart.feed_quality as q left join named as n using (sender_code)
        group by q.feed, q.sender_code order by q.feed, q.sender_code
        """
    ):
        by_feed[row["feed"]].append(row)
    return by_feed
