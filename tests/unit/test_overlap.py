"""Which columns two feeds may be collecting twice, by their contracts."""

from __future__ import annotations

from gridlake import contracts
from gridlake.contracts.overlap import asked_twice
from gridlake.settings import Settings

PAIRS = {(p["one"]["entity"], p["other"]["entity"], p["key"]): p for p in asked_twice(contracts.load_all(Settings()))}


def compared(one: str, other: str, key: str) -> dict[tuple[str, str], bool]:
    """Pairs of columns, and whether the contracts say that they are the same."""
    return {(name, other_name): is_same for name, _, other_name, _, _, _, is_same in PAIRS[one, other, key]["columns"]}


def test_persons_of_two_feeds_are_compared_by_everything_that_both_ask() -> None:
    found = compared("key_person", "person", "id_number")
    assert {pair for pair, is_same in found.items() if is_same} == {(n, n) for n in ("person_name", "phone", "sex_code", "birth_date")}
    assert found["home_address", "registered_address"] is False, "the data say whether a home is where one is registered"


def test_sealed_columns_are_compared_by_their_tokens() -> None:
    expressions = {(column[4], column[5]) for pair in PAIRS.values() for column in pair["columns"]}
    assert ("one.phone_token", "other.phone_token") in expressions
    assert not [e for e in expressions if e[0].endswith("_sealed") or e[1].endswith("_sealed")]


def test_what_every_row_has_is_no_duplicate() -> None:
    named = {name for pair in PAIRS.values() for column in pair["columns"] for name in (column[0], column[2])}
    audit = {"changed_at", "source_version", "region_code", "grid_id", "grid_code", "longitude", "latitude", "status_code"}
    assert not named & audit
    assert not [name for name in named if name.startswith("_") or name.endswith(("_id", "_at"))]


def test_the_same_name_with_another_code_list_is_something_else() -> None:
    assert ("person_type_code", "person_type_code") not in compared("key_person", "person", "id_number")
