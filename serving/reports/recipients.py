"""Who gets which report by mail: `<home>.recipients.yml`, a list of who has which role in which region, with their addresses.

The region of an entry bounds what it may get: the report of that region, and, where `levels` says so, those of regions below. No entry can ask for a
region beside or above its own. Addresses are personal: the file is not read when others may read it; errors, logs and the ledger show them masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gridlake.credentials import refuse_others
from gridlake.runs import RunError
from serving import regions
from serving.reports.declaration import Report
from serving.snapshots import Snapshot

_EXAMPLE = "- {region: 330100000000, role: 政法委, addresses: [name@example.gov.cn]}"
# YAML reads a region's code as a number.
_Code = Annotated[str, BeforeValidator(lambda given: str(given) if isinstance(given, int) else given)]


class RecipientError(RunError):
    """A file of recipients that cannot be followed; the message names the entry and holds no address in the clear."""


@dataclass(frozen=True)
class Recipient:
    """One address, and the role by which it gets a report."""

    address: str
    role: str

    @property
    def masked(self) -> str:
        """As logs and tables show it: z***@example.gov.cn."""
        return masked(self.address)


class _Entry(BaseModel):
    # The input of a validation error is an address.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    role: str
    addresses: Annotated[tuple[str, ...], Field(min_length=1)]
    region: _Code | None = None
    sender: _Code | None = None
    reports: tuple[str, ...] | None = None
    levels: tuple[int, ...] | None = None


class Recipients:
    """The recipients of a lake's reports, each for the regions or the sender that its entry names."""

    def __init__(self, found: Mapping[tuple[str, str, str], list[tuple[Recipient, frozenset[str]]]]) -> None:
        self._found = found

    @classmethod
    def load(cls, path: Path, declared: Mapping[str, Report], snapshot: Snapshot) -> Recipients:
        """Read and check the file against the reports and the snapshot's regions and senders; raises RecipientError, CredentialError."""
        try:
            refuse_others(path, path.stat())
            document = yaml.safe_load(path.read_text(encoding="utf-8")) or []
            entries = pydantic.TypeAdapter(list[_Entry]).validate_python(document)
        except FileNotFoundError:
            raise RecipientError(f"{path}: expected a list of who gets which report, there is none; write one, as {_EXAMPLE}") from None
        except pydantic.ValidationError as error:
            wrong = "; ".join(f"entry {_place(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False, include_url=False))
            raise RecipientError(f"{path}: expected a list of entries as {_EXAMPLE}; {wrong}; correct it") from None
        except (yaml.MarkedYAMLError, UnicodeDecodeError) as error:
            where = f"line {error.problem_mark.line + 1}" if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else "not UTF-8"
            raise RecipientError(f"{path}: expected YAML, came something else: {where}; correct it") from None
        found: dict[tuple[str, str, str], list[tuple[Recipient, frozenset[str]]]] = {}
        for number, entry in enumerate(entries, 1):
            try:
                subjects, asked = list(_subjects(entry, snapshot)), _reports(entry, declared)
                addresses = [_address(place, given) for place, given in enumerate(entry.addresses, 1)]
                for subject in subjects:
                    found.setdefault(subject, []).extend((Recipient(address, entry.role), asked) for address in addresses)
            except RecipientError as error:
                raise RecipientError(f"{path}: entry {number}: {error}") from None
        return cls(found)

    def of(self, report: Report, subject: Mapping[str, Any]) -> list[Recipient]:
        """Who gets that report of a subject as its archive names it; whoever stands there twice gets it once."""
        system = subject["system"] if subject["kind"] == "region" else ""
        chosen: dict[str, Recipient] = {}
        for one, asked in self._found.get((subject["kind"], system, subject["code"]), []):
            if report.name in asked:
                chosen.setdefault(one.address.casefold(), one)
        return list(chosen.values())


def masked(address: str) -> str:
    """An address of which its first letter and its domain are left."""
    local, sign, domain = address.rpartition("@")
    return f"{(local or domain)[:1]}***{sign}{domain if sign else ''}"


def _place(location: tuple[int | str, ...]) -> str:
    first, *rest = location or (0,)
    return " ".join([str(first + 1) if isinstance(first, int) else first, *(str(part) for part in rest)])


def _reports(entry: _Entry, declared: Mapping[str, Report]) -> frozenset[str]:
    """The reports that the entry asks for: those named, else all that go to its role."""
    kind = "sender" if entry.sender else "region"
    those = {name: report for name, report in declared.items() if report.per == kind}
    roles = sorted({role for report in those.values() for role in report.recipients})
    if entry.role not in roles:
        raise RecipientError(
            f"role: expected {'、'.join(roles) or 'one that a report names'}, came {entry.role}; correct it, or add it to a report.yml"
        )
    for name in entry.reports or ():
        if name not in those:
            raise RecipientError(f"reports: expected reports of a {kind}, {', '.join(those)}, came {name}; correct it")
        if entry.role not in those[name].recipients:
            raise RecipientError(f"reports: expected those that go to {entry.role}, came {name}; correct it, or add the role to its report.yml")
    return frozenset(entry.reports or (name for name, report in those.items() if entry.role in report.recipients))


def _subjects(entry: _Entry, snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
    """(kind, region system, code) of what the entry may get."""
    if (entry.region is None) == (entry.sender is None) or (entry.sender and entry.levels):
        raise RecipientError("expected `region`, with `levels` or without, or `sender`; give one of them")
    if entry.sender:
        if not snapshot.rows("select 1 from mart.sender where sender_code = $code limit 1", {"code": entry.sender}):
            raise RecipientError(f"sender: expected one of snapshot {snapshot.id}, came {entry.sender}; `gridlake sender list` names them")
        yield "sender", "", entry.sender
        return
    try:
        own = regions.find(snapshot, str(entry.region))
    except regions.UnknownRegion as error:
        raise RecipientError(f"region: expected one of snapshot {snapshot.id}: {error}; correct its code") from None
    system, code, level = own["region_system"], own["region_code"], own["region_level"]
    above = [wanted for wanted in entry.levels or () if wanted < level]
    if above:
        raise RecipientError(
            f"levels: expected {level} or a higher number, the regions below {code}, came {above[0]}; a region gets no other's report"
        )
    if entry.levels is None:
        yield "region", system, code
        return
    below = snapshot.rows(
        """
        select region_code from mart.region_closure
        where region_system = $system and ancestor_code = $code and list_contains($levels, region_level)
        """,
        {"system": system, "code": code, "levels": list(entry.levels)},
    )
    for row in below:
        yield "region", system, row["region_code"]


def _address(place: int, given: str) -> str:
    try:
        found = Address(addr_spec=given)
        if found.username and "." in found.domain and given.isascii():
            return found.addr_spec
    except (MessageError, ValueError, IndexError):
        pass
    raise RecipientError(f"addresses {place}: expected an address as name@example.gov.cn in ASCII, came {masked(given)}; correct it") from None
