"""What a contract says of being pulled: the property `gridlake.pull` of a server of type api, custom or postgres."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from open_data_contract_standard.model import Server
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gridlake.contracts.model import ContractError

_PROPERTY = "gridlake.pull"
_DURATION = re.compile(r"(\d+) (second|minute|hour|day)s?")


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cursor(_Said):
    """The next page is asked for with what this one says at `path`."""

    path: str
    parameter: str


class PageNumber(_Said):
    """Pages are numbered."""

    parameter: str
    first: int = 1


class PageSize(_Said):
    """How many rows a page has at most, and the parameter that says so."""

    parameter: str | None = None
    rows: int = Field(500, ge=1, le=10_000)


class RestPull(_Said):
    """Pages of rows by GET. `rows` is the path to the rows within the answer, names parted by dots; empty: the answer is the rows."""

    server: str
    sender: str
    url: str
    rows: str = ""
    cursor: Cursor | None = None
    page: PageNumber | None = None
    size: PageSize = PageSize()
    parameters: dict[str, str] = {}
    secret: str | None = None
    header: str = "Authorization"
    scheme: str = "Bearer"

    @model_validator(mode="after")
    def _one_way_to_go_on(self) -> RestPull:
        if (self.cursor is None) == (self.page is None):
            raise ValueError("expected one of cursor: {path, parameter} and page: {parameter, first}")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError("expected location: http(s)://… on the server")
        return self


class PostgresPull(_Said):
    """Rows of one table or view in the order of a watermark column that grows with every change.

    `overlap`: how long before the newest watermark seen the next pull begins, longer than a transaction of the source takes; a number where
    the watermark is one.
    """

    server: str
    sender: str
    host: str
    port: int = 5432
    database: str
    table: str
    schema_name: str = "public"
    watermark: str
    key: tuple[str, ...]
    overlap: timedelta | int = timedelta(minutes=10)
    size: int = Field(1000, ge=1, le=10_000)
    user: str
    secret: str | None = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"

    @field_validator("overlap", mode="before")
    @classmethod
    def _duration(cls, given: Any) -> Any:
        match = _DURATION.fullmatch(given) if isinstance(given, str) else None
        return timedelta(**{match[2] + "s": int(match[1])}) if match else given


Pull = RestPull | PostgresPull


def pulls(path: Path, servers: Iterable[Server]) -> tuple[Pull, ...]:
    """The pulls that a contract's servers declare; raises ContractError, naming file, server and what was expected."""
    found: list[Pull] = []
    for server in servers:
        for said in server.customProperties or ():
            if said.property == _PROPERTY:
                found.append(_pull(path, server, said.value))
            elif (said.property or "").startswith("gridlake."):
                raise ContractError(f"{path}: server {server.server}: customProperty {said.property!r} is not known; expected {_PROPERTY}")
    return tuple(found)


def _pull(path: Path, server: Server, said: Any) -> Pull:
    place = f"{path}: server {server.server}: {_PROPERTY}"
    if not isinstance(said, dict):
        raise ContractError(f"{place}: expected a mapping with sender and what the server's type asks for")
    try:
        if server.type in {"api", "custom"}:
            return RestPull(server=server.server, url=server.location or "", **said)
        if server.type in {"postgres", "postgresql"}:
            known = {"host": server.host, "port": server.port, "database": server.database, "schema_name": server.schema_}
            return PostgresPull(server=server.server, **{name: value for name, value in known.items() if value is not None}, **said)
    except (ValidationError, TypeError) as error:
        said_wrong = (
            [f"{'.'.join(map(str, e['loc'])) or 'pull'}: {e['msg']}" for e in error.errors()] if isinstance(error, ValidationError) else [str(error)]
        )
        raise ContractError(f"{place}: {'; '.join(said_wrong)}") from error
    raise ContractError(f"{place}: the server's type is {server.type!r}; expected api, custom or postgres")
