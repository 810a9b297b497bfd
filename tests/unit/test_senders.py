"""Sender files: who may send which feed at which contract version, for which regions."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridlake import contracts, senders, vocabularies
from gridlake.regions import RegionTree
from gridlake.senders import SenderError, load, load_all
from gridlake.settings import Settings

BUILT_IN = Settings()
BOSTON = Path(__file__).parent.parent / "realdata" / "contracts"
CITY = 2
PLAIN = 'name: 某市平台\nregions: ["330100000000"]\nfeeds: {city_platform.event: ">=1,<2"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "330100000000.yml"


def test_the_file_stem_is_the_senders_code(file: Path) -> None:
    file.write_text(PLAIN, encoding="utf-8")
    sender = load(file)
    assert (sender.code, sender.name, sender.name_en, sender.region_system, sender.regions) == (
        "330100000000",
        "某市平台",
        "某市平台",
        "cn",
        ("330100000000",),
    )


@pytest.mark.parametrize(
    ("feed", "version", "entitled"),
    [
        ("event", "1.0.0", True),
        ("event", "1.9.3", True),
        ("event", "2.0.0", False),
        ("event", "0.9.0", False),
        ("grid", "1.0.0", False),
    ],
)
def test_a_sender_may_send_the_feeds_and_versions_that_its_file_names(file: Path, feed: str, version: str, entitled: bool) -> None:
    file.write_text(PLAIN, encoding="utf-8")
    assert load(file).may_send("city_platform", feed, version) is entitled
    assert not load(file).may_send("other_source", feed, version)


def test_only_a_star_gives_all_regions(file: Path) -> None:
    file.write_text(PLAIN, encoding="utf-8")
    assert not load(file).accepts_all_regions
    file.write_text(PLAIN.replace('"330100000000"', '"*"'), encoding="utf-8")
    assert load(file).accepts_all_regions


def test_a_region_code_without_quotes_stays_twelve_digits(file: Path) -> None:
    file.write_text(PLAIN.replace('"330100000000"', "330100000000"), encoding="utf-8")
    assert load(file).regions == ("330100000000",)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "- a list\n",
        PLAIN.replace("name: 某市平台\n", ""),
        PLAIN.replace('regions: ["330100000000"]\n', ""),
        PLAIN.replace('["330100000000"]', '"330100000000"'),
        PLAIN.replace(">=1,<2", "one to two"),
        PLAIN.replace('{city_platform.event: ">=1,<2"}', "[city_platform.event]"),
        "name: [unclosed\n",
        "name: \t- tab\n",
    ],
)
def test_a_sender_file_that_cannot_be_understood_is_named_with_what_was_expected(file: Path, content: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SenderError, match=r"330100000000\.yml: expected name, regions and feeds"):
        load(file)


def test_an_unknown_sender_is_named_beside_those_there_are() -> None:
    with pytest.raises(KeyError, match=r"no sender 'nobody'; there are .*330100000000"):
        load_all(BUILT_IN)["nobody"]


def test_a_folder_of_contracts_brings_its_senders_and_may_replace_one(tmp_path: Path) -> None:
    folder = tmp_path / "senders"
    folder.mkdir()
    (folder / "330100000000.yml").write_text(PLAIN, encoding="utf-8")
    (folder / "new.yml").write_text(PLAIN, encoding="utf-8")
    found = load_all(Settings(contracts=tmp_path))
    assert set(found) == {*load_all(BUILT_IN), "new"}
    assert found["330100000000"].name == "某市平台"


@pytest.mark.parametrize("settings", [BUILT_IN, Settings(contracts=BOSTON)], ids=["built-in", "boston"])
def test_every_sender_names_feeds_and_regions_that_exist(settings: Settings) -> None:
    feeds = {f"{c.source}.{c.feed}": c.version for c in contracts.load_all(settings).values()}
    tree = RegionTree(vocabularies.load_all(settings).regions)
    for sender in senders.load_all(settings).values():
        assert sender.feeds.keys() <= feeds.keys(), sender.code
        assert all(sender.may_send(*feed.split("."), feeds[feed]) for feed in sender.feeds), f"{sender.code}: no current contract version allowed"
        assert sender.accepts_all_regions or all(tree.knows(sender.region_system, r) for r in sender.regions), sender.code


def test_eleven_cities_share_out_the_whole_province_without_overlap() -> None:
    listed = vocabularies.load_all(BUILT_IN).regions
    tree = RegionTree(listed)
    regions = dict(zip(listed.column("region_code").to_pylist(), listed.column("region_level").to_pylist(), strict=True))
    # Departments answer for the whole province too, each for feeds of its own.
    cities = [s for code, s in load_all(BUILT_IN).items() if code in regions and regions[code] == CITY]
    assert len(cities) == 11
    covered = [code for s in cities for code in tree.subtree("cn", s.regions).to_pylist()]
    assert len(covered) == len(set(covered))
    assert {*covered, "330000000000"} == set(tree.codes("cn").to_pylist())
