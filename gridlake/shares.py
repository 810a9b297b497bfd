"""The grid-sharing pool: who (level, department) may get which columns of a library table for which purpose. One file a share, the stem is its name.

A share that names a column it must not give is an error where it is read, so nothing downstream has to be careful: class L4 is never shared, and
class L3 only with a grant that is for sensitive columns and says its purposes.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import yaml

from gridlake.contracts import Contracts
from gridlake.contracts.model import ContractError
from gridlake.declared import Declared
from gridlake.settings import Settings

ANY = "*"
# Below the province, which has the library itself.
LEVELS = (2, 3, 4, 5)
ENTITLEMENT = pa.schema(
    [
        ("share", pa.string()),
        ("title", pa.string()),
        ("table_name", pa.string()),
        ("receiver_level", pa.int64()),
        ("receiver_department", pa.string()),
        ("purpose", pa.string()),
        ("column_no", pa.int64()),
        ("column_name", pa.string()),
        ("column_title", pa.string()),
        ("column_class", pa.string()),
        ("is_sensitive", pa.bool_()),
    ]
)


class ShareError(Exception):
    """A share that cannot be understood, or that would give what must not be given."""


class NotEntitled(Exception):
    """A receiver asked for what no grant gives to it for that purpose."""


@dataclass(frozen=True)
class Grant:
    """Receivers by region level and department (a sender's code, or `*`), the purposes, and whether sensitive columns are theirs too."""

    levels: tuple[int, ...]
    departments: tuple[str, ...]
    purposes: tuple[str, ...]
    with_sensitive: bool

    def is_for(self, level: int, department: str, purpose: str) -> bool:
        """Whether it entitles this receiver for this purpose."""
        return level in self.levels and purpose in self.purposes and bool({department, ANY} & {*self.departments})


@dataclass(frozen=True)
class Shared:
    """A column that is shared."""

    name: str
    title: str
    classification: str
    is_sensitive: bool


@dataclass(frozen=True)
class Share:
    """An entity's table of the theme library, the columns of it that are shared, and to whom."""

    name: str
    title: str
    entity: str
    columns: tuple[Shared, ...]
    grants: tuple[Grant, ...]

    @property
    def table(self) -> str:
        """The library table that is read."""
        return f"theme.{self.entity}"

    def columns_for(self, level: int, department: str, purpose: str) -> list[str]:
        """What a receiver may read for a purpose: the columns, in the share's order. Raises NotEntitled where that is nothing."""
        grants = [grant for grant in self.grants if grant.is_for(level, department, purpose)]
        if not grants:
            raise NotEntitled(f"{self.name}: expected a grant to level {level}, department {department}, purpose {purpose}; there is none")
        return [c.name for c in self.columns if not c.is_sensitive or any(grant.with_sensitive for grant in grants)]


def load_all(settings: Settings, contracts: Contracts, purposes: Container[str]) -> Declared[Share]:
    """Every built-in share and those of `--contracts DIR/shares`, checked against contracts and the code list `share_purpose`."""
    folders = [settings.expectations / "shares", *([settings.contracts / "shares"] if settings.contracts else [])]
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yml"))}
    return Declared("share", [load(path, contracts, purposes) for path in files.values()], lambda share: share.name)


def load(path: Path, contracts: Contracts, purposes: Container[str]) -> Share:
    """One share from `<name>.yml`."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {column.name: column for column in contracts.defining(document["entity"]).columns}
        sensitive = set(document.get("sensitive") or [])
        named = [*document["columns"], *(document.get("sensitive") or [])]
        grants = tuple(_grant(entry) for entry in document["grants"])
        title, entity = str(document["title"]), str(document["entity"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ContractError) as error:
        raise ShareError(f"{path}: expected title, entity, columns and grants [{{levels, departments, purposes}}]; problem: {error!r}") from error
    problems = [f"{name}: no column of {entity}" for name in named if name not in known]
    problems += [f"{name}: class L4 is never shared" for name in named if name in known and known[name].is_sealed]
    problems += [
        f"{name}: class L3 belongs under `sensitive`" for name in document["columns"] if name in known and known[name].classification == "L3"
    ]
    problems += [f"{name}: named twice" for name in {n for n in named if named.count(n) > 1}]
    problems += [f"level {level}: expected one of {LEVELS}" for grant in grants for level in grant.levels if level not in LEVELS]
    problems += [f"purpose {p!r}: not in the code list share_purpose" for grant in grants for p in grant.purposes if p not in purposes]
    problems += ["a grant without a purpose, level or department" for g in grants if not (g.purposes and g.levels and g.departments)]
    problems += ["sensitive columns that no grant gives"] if sensitive and not any(grant.with_sensitive for grant in grants) else []
    if problems:
        raise ShareError(f"{path}: {'; '.join(sorted(problems))}; mend the share, or the class in the contract")
    columns = [Shared(name, known[name].title, known[name].classification, name in sensitive) for name in named]
    return Share(path.stem, title, entity, tuple(columns), grants)


def entitlements(shares: Declared[Share]) -> pa.Table:
    """One row per share, receiving level, department, purpose and column."""
    rows = {
        (share.name, level, department, purpose, number): {
            "share": share.name,
            "title": share.title,
            "table_name": share.table,
            "receiver_level": level,
            "receiver_department": department,
            "purpose": purpose,
            "column_no": number,
            "column_name": column.name,
            "column_title": column.title,
            "column_class": column.classification,
            "is_sensitive": column.is_sensitive,
        }
        for share in shares.values()
        for grant in share.grants
        for level in grant.levels
        for department in grant.departments
        for purpose in grant.purposes
        for number, column in enumerate(share.columns, 1)
        if grant.with_sensitive or not column.is_sensitive
    }
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], ENTITLEMENT)


def _grant(entry: dict[str, object]) -> Grant:
    unknown = {*entry} - {"levels", "departments", "purposes", "sensitive"}
    if unknown:
        raise TypeError(f"grants: {', '.join(sorted(unknown))} is nothing that a grant says")
    levels, departments, purposes = (entry[name] for name in ("levels", "departments", "purposes"))
    if not (isinstance(levels, list) and isinstance(departments, list) and isinstance(purposes, list)):
        raise TypeError("grants: levels, departments and purposes are lists")
    return Grant(tuple(int(n) for n in levels), tuple(map(str, departments)), tuple(map(str, purposes)), entry.get("sensitive") is True)
