"""Vocabulary files: strings that stay strings, folders that add and replace, files that cannot be read."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies, VocabularyError, load, load_all

REGIONS = "region_system,region_code,region_name,region_level,parent_code\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "code,name_zh,order\n0101,邻里纠纷,1\n",
        "\ufeffcode,name_zh,order\r\n0101,邻里纠纷,1\r\n",
        '"code","name_zh","order"\n"0101","邻里纠纷","1"\n',
        "code,name_zh,order\n0101,邻里纠纷,1",
    ],
    ids=["plain", "as Excel saves it", "quoted", "no last newline"],
)
def test_codes_keep_their_leading_zeros_however_the_file_was_saved(tmp_path: Path, content: str) -> None:
    vocabulary = load(write(tmp_path, "event_class", content))
    assert vocabulary.rows.to_pylist() == [{"code": "0101", "name_zh": "邻里纠纷", "order": "1"}]
    assert vocabulary.codes == {"0101"}
    assert vocabulary.name == "event_class"


def test_empty_is_null_and_a_comma_in_quotes_is_text(tmp_path: Path) -> None:
    vocabulary = load(write(tmp_path, "list", 'code,name_zh,parent_code\n1,"甲，乙,丙",\n'))
    assert vocabulary.rows.to_pylist() == [{"code": "1", "name_zh": "甲，乙,丙", "parent_code": None}]


def test_names_that_look_like_nothing_stay_names(tmp_path: Path) -> None:
    assert load(write(tmp_path, "list", "code,name_zh\nNA,null\ntrue,nan\n")).rows.to_pylist() == [
        {"code": "NA", "name_zh": "null"},
        {"code": "true", "name_zh": "nan"},
    ]


@pytest.mark.parametrize("content", [b"", "code,name_zh\n0101,纠纷\n".encode("gb18030"), "code,name_zh\n1\n"])
def test_a_file_that_is_no_csv_in_utf8_is_named(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(VocabularyError, match=r"list\.csv: expected UTF-8 CSV with a header line"):
        load(write(tmp_path, "list", content))


def test_a_region_file_without_parents_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="lacks parent_code"):
        load(write(tmp_path, "regions_x", "region_system,region_code,region_name,region_level\n"))


def test_a_region_level_that_is_no_number_is_refused_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"regions_x\.csv: region_level"):
        load(write(tmp_path, "regions_x", REGIONS + "x,1,One,county,\n"))


def test_a_code_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"list\.csv: code 0101 stands twice"):
        load(write(tmp_path, "list", "code,name_zh\n0101,甲\n0102,乙\n0101,丙\n"))
    with pytest.raises(VocabularyError, match=r"regions_x\.csv: region_code 1 stands twice"):
        load(write(tmp_path, "regions_x", REGIONS + "x,1,One,1,\nx,1,Uno,1,\n"))


def test_one_code_may_hold_at_several_times(tmp_path: Path) -> None:
    vocabulary = load(write(tmp_path, "list", "code,name_zh,valid_from,limit_hours\n0101,甲,2020-01-01,24\n0101,甲,2026-01-01,12\n"))
    assert vocabulary.codes == {"0101"}
    assert vocabulary.rows.num_rows == 2


def test_regions_of_all_files_are_one_table(tmp_path: Path) -> None:
    write(tmp_path / "vocabularies", "regions_us_boston", REGIONS + "us-boston,boston,Boston,1,\nus-boston,PWDx,Public Works,2,boston\n")
    built_in, found = load_all(Settings()).regions, load_all(Settings(contracts=tmp_path)).regions
    assert found.schema.field("region_level").type == pa.int64()
    assert found.num_rows == built_in.num_rows + 2
    assert [r for r in found.to_pylist() if r["region_system"] == "us-boston"] == [
        {"region_system": "us-boston", "region_code": "boston", "region_name": "Boston", "region_level": 1, "parent_code": None},
        {"region_system": "us-boston", "region_code": "PWDx", "region_name": "Public Works", "region_level": 2, "parent_code": "boston"},
    ]


def test_no_region_file_gives_an_empty_table_of_the_same_shape() -> None:
    assert Vocabularies([]).regions.schema.equals(load_all(Settings()).regions.schema)
    assert Vocabularies([]).regions.num_rows == 0


def test_a_folder_of_contracts_may_replace_a_list(tmp_path: Path) -> None:
    write(tmp_path / "vocabularies", "event_level", "code,name_zh\n9,特\n")
    found = load_all(Settings(contracts=tmp_path))
    assert found["event_level"].codes == {"9"}
    assert set(found) == set(load_all(Settings()))


def test_only_files_with_code_and_name_are_code_lists() -> None:
    vocabularies = load_all(Settings())
    names = {v.name for v in vocabularies.code_lists}
    assert {"event_class", "event_level", "event_state", "event_channel"} <= names
    assert not names & {"regions_cn", "work_calendar"}


def test_the_calendar_has_every_day_once() -> None:
    calendar = load_all(Settings()).work_calendar
    days = calendar.column("date").to_pylist()
    assert calendar.schema.field("date").type == pa.date32()
    assert len(days) == len(set(days)) == (max(days) - min(days)).days + 1
    assert date(2026, 10, 1) in days
    assert set(calendar.column("day_type").to_pylist()) == {"workday", "weekend", "holiday", "makeup_workday"}


def test_every_built_in_code_list_names_its_parents() -> None:
    for vocabulary in load_all(Settings()).code_lists:
        if "parent_code" in vocabulary.rows.column_names:
            assert {p for p in vocabulary.rows.column("parent_code").to_pylist() if p} <= vocabulary.codes, vocabulary.name


def test_an_unknown_vocabulary_is_named_beside_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"no vocabulary 'missing'; there are .*event_class"):
        load_all(Settings())["missing"]
