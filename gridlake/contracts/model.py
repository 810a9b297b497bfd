"""What a contract says, as plain values; `load` reads them, `compile` derives schemas from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packaging.version import Version

from gridlake.declared import Declared

if TYPE_CHECKING:
    from gridlake.contracts.pulls import Pull

LogicalType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]
Classification = Literal["L1", "L2", "L3", "L4"]
AmbiguousTime = Literal["earlier", "later", "refuse"]


@dataclass(frozen=True)
class Column:
    """One column as the sender writes it."""

    name: str
    title: str
    logical_type: LogicalType
    description: str = ""
    required: bool = False
    key_position: int | None = None
    classification: Classification = "L1"
    pattern: str | None = None  # matched against the whole value
    min_length: int | None = None
    max_length: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    format: str | None = None  # Java date pattern, as ODCS has it
    values: tuple[Any, ...] = ()  # allowed values; empty = any
    code_list: str | None = None
    local_id_of: str | None = None
    is_gate: bool = False  # a row waits until what this column names has arrived
    is_region: bool = False
    redact: bool = False
    position: Literal["longitude", "latitude"] | None = None
    version_order: int | None = None
    examples: tuple[Any, ...] = ()

    @property
    def is_sealed(self) -> bool:
        """Class L4: bronze holds only ciphertext and join token."""
        return self.classification == "L4"


@dataclass(frozen=True)
class Rule:
    """A predicate over one row, in the SQL that DuckDB and Spark agree on; false refuses (error) or is counted (warning)."""

    name: str
    predicate: str
    description: str = ""
    dimension: str = "consistency"
    severity: Literal["error", "warning"] = "error"


@dataclass(frozen=True)
class Volume:
    """Rows expected in one delivery, and where the numbers come from. Below `min` stops the load, above `max` warns."""

    min: int | None = None
    max: int | None = None
    origin: str = ""


@dataclass(frozen=True)
class Rejected:
    """An example row that must be refused by this rule at this field."""

    row: Mapping[str, Any]
    rule: str
    field: str | None


@dataclass(frozen=True)
class Release:
    """A version of a contract: its date, what changed in it and what the sender does about it."""

    version: str
    date: date
    what: str
    sender: str = ""


@dataclass(frozen=True)
class Contract:
    """One feed: who sends what, how, when, how sensitive, within which limits.

    A further major version of a feed stands beside the first as a feed of its own, `<family>_v<major>`, until the first retires.
    """

    source: str
    feed: str
    title: str
    version: str
    columns: tuple[Column, ...]
    path: Path
    status: str = "active"
    domain: str = ""
    owner: str = ""
    purpose: str = ""
    usage: str = ""
    limitations: str = ""
    rules: tuple[Rule, ...] = ()
    defines: str | None = None
    conforms_to: str | None = None
    mapping: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sql: str | None = None  # text of <feed>.sql beside the contract: a staging map that `map` cannot say
    time_zone: str = "Asia/Shanghai"
    ambiguous_time: AmbiguousTime = "refuse"
    coordinate_system: Literal["CGCS2000", "WGS84", "GCJ-02"] = "CGCS2000"
    region_system: str = "cn"
    repeat_window: timedelta = timedelta(days=3)
    # How long rows are kept after they were received, by `bronze` and `quarantine`; for ever where it does not say.
    retention: Mapping[str, timedelta] = field(default_factory=dict)
    volume: Volume = Volume()
    ignored_columns: tuple[str, ...] = ()
    accept: tuple[Mapping[str, Any], ...] = ()
    reject: tuple[Rejected, ...] = ()
    sla: tuple[Mapping[str, Any], ...] = ()
    family: str = ""  # the feed whose major version it is; the feed itself where there is one
    releases: tuple[Release, ...] = ()  # newest first
    pulls: tuple[Pull, ...] = ()

    @property
    def id(self) -> str:
        """`<source>__<feed>`: the name of the bronze and quarantine tables."""
        return f"{self.source}__{self.feed}"

    @property
    def is_retired(self) -> bool:
        """Nothing of it is taken in any more; what was stays."""
        return self.status == "retired"

    @property
    def sql_path(self) -> Path:
        """Where the staging map lies that YAML cannot say, if there is one."""
        return self.path.with_name(f"{self.path.name.removesuffix('.odcs.yaml')}.sql")

    @property
    def entity(self) -> str | None:
        """The entity whose staging union this feed belongs to."""
        return self.defines or self.conforms_to

    @property
    def key(self) -> tuple[Column, ...]:
        """The primary key, in order."""
        return tuple(sorted((c for c in self.columns if c.key_position), key=lambda c: c.key_position or 0))

    @property
    def version_order(self) -> tuple[Column, ...]:
        """The columns that say which version of a key is newer, most significant first."""
        return tuple(sorted((c for c in self.columns if c.version_order), key=lambda c: c.version_order or 0))

    @property
    def gates(self) -> tuple[Column, ...]:
        """The columns that hold a row back until what they name has arrived."""
        return tuple(c for c in self.columns if c.is_gate)

    @property
    def sealed_columns(self) -> tuple[Column, ...]:
        """The columns of class L4."""
        return tuple(c for c in self.columns if c.is_sealed)

    def column(self, name: str) -> Column:
        """The column of that name; KeyError lists the names there are."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.id} has no column {name!r}; it has {', '.join(c.name for c in self.columns)}")


class ContractError(Exception):
    """A contract file that says something impossible; the message names file, place and remedy."""


class Contracts(Declared[Contract]):
    """All contracts of a run, by id."""

    def __init__(self, contracts: list[Contract]) -> None:
        super().__init__("contract", contracts, lambda contract: contract.id)

    def defining(self, entity: str) -> Contract:
        """The contract whose columns are the entity's canonical columns."""
        for contract in self.values():
            if contract.defines == entity:
                return contract
        raise ContractError(f"no contract defines {entity!r}; one must say gridlake.defines: {entity}")

    def conforming(self, entity: str) -> list[Contract]:
        """Every contract that feeds the entity, the defining one included."""
        return [c for c in self.values() if c.entity == entity]

    def superseding(self, contract: Contract) -> list[Contract]:
        """The newer major versions of a feed that are here too, and feed the same entity."""
        beside = [c for c in self.values() if (c.source, c.family) == (contract.source, contract.family) and c.entity == contract.entity]
        return [c for c in beside if Version(c.version) > Version(contract.version)]

    @property
    def entities(self) -> list[str]:
        """Every entity that a contract defines."""
        return sorted(c.defines for c in self.values() if c.defines)
