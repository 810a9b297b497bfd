"""Who is one person among several senders' records: measured on simulated truth, stable ids, and what people say about a link."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gridlake.runs import Run
from gridlake.settings import Settings
from spark_jobs.resolve import persons
from tests.persons import FIRST_DAY, KEY_PERSONS, MEMBERS, Records, crafted, drawn, land, measured

DAYS = 10
ONE, OTHER, THIRD = "33990119900501001X", "339901199005010028", "339901199005010036"
PHONE = "15400000001"


def started(root: Path) -> Run:
    return Run.start(Settings(home=root / "lake", inbox=root / "inbox"), quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One lake for all tests, each of which lands what it is about."""
    made = started(tmp_path_factory.mktemp("persons"))
    yield made
    made.close()


def resolved(run: Run, records: Records, **landed: Any) -> persons.Persons:
    land(run, records, **landed)
    return persons.resolve(run)


def ids(found: persons.Persons) -> dict[str, str]:
    """The canonical id by local id."""
    return {r["record_id"].rpartition("-")[2]: r["canonical_person_id"] for r in found.records.to_pylist()}


def groups(found: persons.Persons) -> set[frozenset[str]]:
    """Local ids that are one person."""
    by_person: dict[str, set[str]] = {}
    for local_id, person in ids(found).items():
        by_person.setdefault(person, set()).add(local_id)
    return {frozenset(members) for members in by_person.values()}


def spans(found: persons.Persons) -> dict[str, tuple[Any, Any]]:
    """From when until when each record is the person's."""
    return {r["local_id"]: (r["valid_from"], r["valid_to"]) for r in found.crosswalk.to_pylist()}


def label(one: str, other: str, code: str, *, day: int, **more: Any) -> Mapping[str, Any]:
    (entity, record), (other_entity, other_record) = one.split(":"), other.split(":")
    subjects = {"subject_type": entity, "subject_id": record, "other_subject_type": other_entity, "other_subject_id": other_record}
    return {**subjects, "label_code": code, "day": day, **more}


@pytest.fixture(scope="module")
def sample() -> Records:
    return drawn(7, 4000, days=DAYS + 1)


@pytest.fixture(scope="module")
def whole(run: Run, sample: Records) -> persons.Persons:
    return resolved(run, sample)


def test_nearly_every_pair_of_one_person_is_found_and_nearly_no_other(sample: Records, whole: persons.Persons) -> None:
    found = measured(sample, pd.Series(ids(whole)))
    assert found["pairs"] > 3000
    assert found["precision"] >= 0.99
    assert found["recall"] >= 0.95


def test_each_link_says_why(whole: persons.Persons) -> None:
    links = whole.links.to_pandas()
    linked = links[links.state_code == "linked"]
    assert len(linked) > 3000
    assert (linked.score >= linked.threshold).all()
    assert set(",".join(linked.agreed).split(",")) <= {"id_number", "person_name", "birth_date", "sex_code", "phone", "address", "village", "county"}
    assert not links.link_id.duplicated().any()
    open_pairs = links[links.state_code == "to_review"]
    assert 0 < len(open_pairs) < len(linked) / 50
    said = [p for p in whole.problems.to_pylist() if p["problem"] == "person_link_to_review"]
    assert len(said) == len(open_pairs)
    assert all("agrees in" in p["detail"] for p in said)


def test_ids_once_given_stay_through_ten_increments_and_their_history_is_the_same_from_the_whole(run: Run, sample: Records) -> None:
    given, kept, unchanged, known = [], 0, 0, 0
    for day in range(DAYS + 1):
        found = resolved(run, sample, until=day)
        given.append(ids(found))
        merged = {(r["local_id"], r["canonical_id"]): r["merged_into"] for r in found.crosswalk.to_pylist() if r["valid_to"]}
        for local_id, person in given[-2].items() if day else ():
            known += 1
            unchanged += given[-1][local_id] == person
            kept += given[-1][local_id] == person or merged[local_id, person] is not None
    assert known > 35_000
    assert unchanged / known >= 0.999
    assert kept == known, "an id goes only into another one, and the crosswalk says into which"

    history = pd.DataFrame(found.crosswalk.to_pylist())
    for day, then in enumerate(given):
        at = FIRST_DAY + timedelta(days=day)
        standing = history[(history.valid_from <= at) & (history.valid_to.isna() | (history.valid_to > at))]
        assert dict(zip(standing.local_id, standing.canonical_id, strict=True)) == then


def test_a_rebuild_under_other_keys_gives_the_same_ids_and_the_order_of_arrival_the_same_persons(
    tmp_path: Path, sample: Records, whole: persons.Persons
) -> None:
    other = started(tmp_path)
    try:
        again = resolved(other, sample)
        last_first = resolved(other, Records(sample.rows.assign(day=DAYS - sample.rows.day).sample(frac=1, random_state=3)))
    finally:
        other.close()
    assert again.records.equals(whole.records)
    assert again.crosswalk.equals(whole.crosswalk)
    assert groups(last_first) == groups(whole)


def test_the_first_to_arrive_names_the_person_also_after_his_record_is_deleted(run: Run) -> None:
    rows = [
        {"local_id": "A", "id_number": ONE, "phone": PHONE},
        {"local_id": "B", "id_number": ONE, "feed": KEY_PERSONS, "day": 1},
        {"local_id": "A", "name": None, "day": 2, "version": 2, "op": "delete"},
    ]
    before = ids(resolved(run, crafted(*rows), until=1))
    found = resolved(run, crafted(*rows))
    assert before["A"] == before["B"] == ids(found)["B"]
    assert spans(found) == {"A": (FIRST_DAY, FIRST_DAY + timedelta(days=2)), "B": (FIRST_DAY + timedelta(days=1), None)}
    found = resolved(run, crafted(*rows, {"local_id": "A", "id_number": ONE, "day": 3, "version": 3}))
    assert ids(found) == before
    assert spans(found) == {"A": (FIRST_DAY, None), "B": (FIRST_DAY + timedelta(days=1), None)}


def test_a_third_record_that_knows_both_merges_two_and_the_crosswalk_says_so(run: Run) -> None:
    two = [{"local_id": "A", "id_number": ONE}, {"local_id": "B", "phone": PHONE, "feed": MEMBERS, "village": 900}]
    three = {"local_id": "C", "id_number": ONE, "phone": PHONE, "feed": KEY_PERSONS, "day": 3}
    apart = ids(resolved(run, crafted(*two)))
    assert apart["A"] != apart["B"]
    found = resolved(run, crafted(*two, three))
    assert set(ids(found).values()) == {apart["A"]}
    rows = {(r["local_id"], r["canonical_id"]): r for r in found.crosswalk.to_pylist()}
    assert len(rows) == 4
    assert rows["B", apart["B"]]["merged_into"] == apart["A"]
    assert rows["B", apart["B"]]["valid_to"] == rows["B", apart["A"]]["valid_from"] == FIRST_DAY + timedelta(days=3)


def test_a_label_undoes_a_link_and_its_withdrawal_restores_it(run: Run) -> None:
    records = crafted({"local_id": "A", "id_number": ONE}, {"local_id": "B", "id_number": ONE, "feed": KEY_PERSONS, "day": 1})
    said = label("key_person:330100000000-B", "person:zj_public_security-A", "invalid", day=5)
    joined = ids(resolved(run, records))
    assert joined["A"] == joined["B"]
    found = resolved(run, records, labels=[said])
    assert ids(found)["A"] == joined["A"] != ids(found)["B"]
    (link,) = found.links.to_pylist()
    assert (link["state_code"], link["label_id"], link["unlinked_at"]) == ("refused", "zj_province_platform-L0", FIRST_DAY + timedelta(days=5))
    of_b = [(r["canonical_id"], r["valid_to"], r["merged_into"]) for r in found.crosswalk.to_pylist() if r["local_id"] == "B"]
    assert of_b == [(joined["A"], FIRST_DAY + timedelta(days=5), None), (ids(found)["B"], None, None)]

    withdrawn = {"label_id": "L0", "_op": "delete", "day": 8, "model": None}
    again = resolved(run, records, labels=[said, withdrawn])
    assert ids(again) == joined
    assert [r["canonical_id"] for r in again.crosswalk.to_pylist() if r["local_id"] == "B"] == [joined["A"], ids(found)["B"], joined["A"]]


def test_a_label_joins_what_no_field_joins_and_the_latest_word_counts(run: Run) -> None:
    records = crafted({"local_id": "A"}, {"local_id": "B", "name": "王芳", "born": np.datetime64("1971-01-01"), "feed": KEY_PERSONS})
    pair = ("person:zj_public_security-A", "key_person:330100000000-B")
    found = resolved(run, records, labels=[label(*pair, "valid", day=2)])
    assert groups(found) == {frozenset("AB")}
    assert [r["state_code"] for r in found.links.to_pylist()] == ["confirmed"]
    found = resolved(run, records, labels=[label(*pair, "valid", day=2), label(*pair, "invalid", day=4)])
    assert groups(found) == {frozenset("A"), frozenset("B")}
    found = resolved(run, records, labels=[label("person:zj_public_security-A", "key_person:330100000000-X", "valid", day=2)])
    assert [p["problem"] for p in found.problems.to_pylist()] == ["label_of_unknown_record"]


def test_what_people_called_different_is_not_joined_by_a_third(run: Run) -> None:
    records = crafted(
        {"local_id": "A", "id_number": ONE, "phone": PHONE},
        {"local_id": "B", "id_number": ONE, "phone": PHONE, "feed": KEY_PERSONS, "day": 1},
        {"local_id": "C", "phone": PHONE, "feed": MEMBERS, "day": 2},
    )
    found = resolved(run, records, labels=[label("person:zj_public_security-A", "key_person:330100000000-B", "invalid", day=5)])
    assert len({ids(found)["A"], ids(found)["B"]}) == 2
    assert {r["state_code"] for r in found.links.to_pylist()} == {"refused", "linked", "outweighed"}


def test_twins_and_people_who_share_a_phone_or_a_home_stay_apart(run: Run) -> None:
    home = {"phone": PHONE, "address": "某路 1 号 2 幢 301 室"}
    found = resolved(
        run,
        crafted(
            {"local_id": "A", "id_number": ONE, **home},
            {"local_id": "B", "id_number": OTHER, "name": "陈芳", "is_male": False, **home},
            {"local_id": "C", "id_number": THIRD, "name": "陈强", **home},
            {"local_id": "D", "name": "陈勇", "feed": KEY_PERSONS, **home},
            {"local_id": "E", "name": "李军", "born": np.datetime64("1960-01-01"), **home},
            {"local_id": "F", "name": "李军", "phone": PHONE, "feed": MEMBERS},
        ),
    )
    assert groups(found) == {frozenset("A"), frozenset("B"), frozenset("C"), frozenset("D"), frozenset("EF")}


def test_a_new_phone_keeps_a_link_and_a_seat_given_to_somebody_else_ends_it(run: Run) -> None:
    rows = [
        {"local_id": "A", "id_number": ONE, "phone": PHONE},
        {"local_id": "B", "phone": PHONE, "feed": MEMBERS},
        {"local_id": "B", "phone": "15400000009", "feed": MEMBERS, "day": 2, "version": 2},
        {"local_id": "B", "name": "王芳", "id_number": OTHER, "phone": "15400000008", "feed": MEMBERS, "day": 4, "version": 4},
        # What was sent before comes late and was never how things stood.
        {"local_id": "B", "name": "陈伟", "id_number": ONE, "feed": MEMBERS, "day": 5, "version": 3},
    ]
    assert groups(resolved(run, crafted(*rows), until=3)) == {frozenset("AB")}
    found = resolved(run, crafted(*rows))
    assert groups(found) == {frozenset("A"), frozenset("B")}
    (link,) = found.links.to_pylist()
    assert (link["state_code"], link["unlinked_at"]) == ("contradicted", FIRST_DAY + timedelta(days=4))


def test_a_number_that_dozens_have_identifies_nobody(run: Run) -> None:
    rows = [{"local_id": f"P{n}", "name": f"陈{n}", "id_number": ONE, "phone": f"154000000{n:02}"} for n in range(30)]
    found = resolved(run, crafted(*rows))
    assert len(groups(found)) == 30
    assert {(p["problem"], p["subject_type"]) for p in found.problems.to_pylist()} == {("id_number_of_too_many", "person")}


def test_a_record_that_says_only_a_name_is_listed(run: Run) -> None:
    found = resolved(run, crafted({"local_id": "A", "feed": MEMBERS}))
    assert [(p["problem"], p["subject_id"]) for p in found.problems.to_pylist()] == [("person_not_identifiable", "330100000000-A")]
