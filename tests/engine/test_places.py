"""At which standard address a record lies: by its code, by its text in the forms in which people write it, or not at all, and then it says why."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from gridlake.runs import Run
from gridlake.settings import Settings
from spark_jobs.resolve import places
from spark_jobs.resolve.regions import Resolved

NAMES = {"330000000000": "浙江省", "330100000000": "杭州市", "330106000000": "西湖区", "330106002000": "北山街道", "330106002051": "上保社区"}
VILLAGE, OTHER = "330106002051", "330106002052"
ABOVE = "浙江省杭州市西湖区北山街道上保社区"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("places")
    made = Run.start(Settings(home=root / "lake", inbox=root / "inbox"), quiet=True)
    levels = {code: level for level, code in enumerate(NAMES, 1)}
    regions = [{"region_system": "cn", "region_code": code, "region_name": name, "region_level": levels[code]} for code, name in NAMES.items()]
    made.tables.overwrite("resolved.region", pa.Table.from_pylist(regions))
    above = [
        {"region_system": "cn", "ancestor_code": code, "region_code": VILLAGE, "region_level": 5, "distance": 5 - level}
        for code, level in levels.items()
    ]
    made.tables.overwrite("resolved.region_closure", pa.Table.from_pylist(above))
    # The engine shows what is there when it starts, before the cut names feeds that have not landed here.
    assert made.spark is not None
    yield made
    made.close()


def resolved(run: Run, addresses: dict[str, str], records: list[tuple[str, str, str | None, str | None]]) -> Resolved:
    """Standard addresses (code → text, in the village) and records (entity, id, code, text)."""
    rows = [{"address_code": code, "region_code": VILLAGE, "address_text": text} for code, text in addresses.items()]
    run.tables.overwrite("staging.stg_address", pa.Table.from_pylist(rows))
    for entity, kind in places.KINDS.items():
        own = [r for r in records if r[0] == entity]
        texts = pa.array([text for *_, text in own], pa.string())
        columns = {
            kind.key: [name for _, name, *_ in own],
            "region_system": ["cn"] * len(own),
            "region_code": [OTHER if name.startswith("elsewhere") else VILLAGE for _, name, *_ in own],
            **({kind.code: [code for _, _, code, _ in own]} if kind.code else {}),
            kind.text: run.keys.token(texts) if kind.text.endswith("_token") else texts,
        }
        run.tables.overwrite(f"staging.stg_{entity}", pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))
        run.cut |= {f"bronze.{c.id}": 0 for c in run.contracts.conforming(entity)}
    run.cut |= {f"bronze.{c.id}": 0 for c in run.contracts.conforming("address")}
    for name in run.tables.names():
        run.engine.register_table(name)
    return places.resolve(run)


def test_an_address_is_found_by_its_code_and_by_every_form_in_which_people_write_it(run: Run) -> None:
    found = resolved(
        run,
        {"1": f"{ABOVE}某路1号2幢301室", "2": f"{ABOVE}某路2号"},
        [
            ("house", "coded", "1", "不明"),
            ("house", "whole", None, f"{ABOVE}某路1号2幢301室"),
            ("house", "without_province", None, f"{ABOVE.removeprefix('浙江省')}某路1号2幢301室"),
            ("house", "from_township", None, "北山街道上保社区某路1号2幢301室"),
            ("house", "from_village", None, "上保社区某路1号2幢301室"),
            ("house", "elsewhere", None, "上保社区某路1号2幢301室"),
            ("key_person", "home", None, f"{ABOVE}某路1号2幢301室"),
            ("enterprise", "shop", None, "北山街道上保社区某路2号"),
            ("key_place", "wrong_code", "9", f"{ABOVE}某路2号"),
            ("key_place", "silent", None, None),
        ],
    )
    links = {r["record_id"]: (r["address_code"], r["method_code"]) for r in found.rows.to_pylist()}
    assert links == {
        "coded": ("1", "code"),
        "whole": ("1", "text"),
        "without_province": ("1", "shortened_text"),
        "from_township": ("1", "shortened_text"),
        "from_village": ("1", "shortened_text"),
        "home": ("1", "text"),
        "shop": ("2", "shortened_text"),
        "wrong_code": ("2", "text"),
    }
    problems = {(p["problem"], p["subject_id"]) for p in found.problems.to_pylist()}
    assert problems == {("address_not_found", "elsewhere"), ("address_code_unknown", "wrong_code")}


def test_what_several_addresses_are_written_like_stays_open_and_a_code_goes_before_the_text(run: Run) -> None:
    found = resolved(
        run,
        {"1": f"{ABOVE}某路1号", "2": f"{ABOVE}某路1号", "3": f"{ABOVE}某路3号"},
        [("enterprise", "either", None, f"{ABOVE}某路1号"), ("enterprise", "coded", "1", f"{ABOVE}某路3号")],
    )
    assert [(r["record_id"], r["address_code"]) for r in found.rows.to_pylist()] == [("coded", "1")]
    problems = {(p["problem"], p["subject_id"]) for p in found.problems.to_pylist()}
    assert problems == {("address_ambiguous", "either"), ("address_code_and_text_differ", "coded")}
