"""The main job on real messages and the answers to them, counted again from the list by pandas alone."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.e2e.conftest import succeed
from tests.lakes import rows_of
from tests.realdata.test_hangzhou_messages import CONTRACTS, REALDATA

FILE = REALDATA / "tipdm2020c" / "messages_with_replies.csv.gz"
# The last message is of two days before: a report tells of a week with some.
AS_OF = "2020-01-10T00:00:00Z"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here; name the folder of its folder in GRIDLAKE_REALDATA"),
]


@dataclass(frozen=True)
class Board:
    """A finished run over the list, and the list itself."""

    home: Path
    document: dict[str, Any]
    messages: pd.DataFrame

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the lake, as `rows_of` gives them."""
        return rows_of(self.home, sql)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    folder = tmp_path_factory.mktemp("tipdm")
    delivery = folder / "inbox" / "tipdm" / "message" / "tipdm" / FILE.name
    delivery.parent.mkdir(parents=True)
    delivery.symlink_to(FILE.resolve())
    document = succeed("run", "--input", folder / "inbox", "--contracts", CONTRACTS, "--home", folder / "lake", "--as-of", AS_OF)
    return Board(folder / "lake", document, pd.read_csv(FILE, dtype=str, keep_default_na=False))


def test_every_row_of_the_list_is_accepted(board: Board) -> None:
    counts = board.document["feeds"]["tipdm__message"]
    assert len(board.messages) == 2816
    assert (counts["received"], counts["accepted"], counts["refused"]) == (2816, 2816, 0), board.document["refusals"]


def test_messages_of_each_month_and_city_are_those_of_the_list(board: Board) -> None:
    place = re.compile("([A-M])[0-9]*[市区县]")
    found = [place.search(title + text) for title, text in zip(board.messages["留言主题"], board.messages["留言详情"], strict=True)]
    cities = ["xidi" + (match[1] if match else "") for match in found]
    counted = Counter(zip(board.messages["留言时间"].str[:7], cities, strict=True))
    shown = board.rows("select strftime(business_date, '%Y-%m'), region_code, sum(event_count)::bigint from {mart.event_daily} group by all")
    assert {row[:2]: row[2] for row in shown} == counted
    assert len({city for _, city in counted}) == 14
    total = board.rows("select event_count, open_count from {mart.region_overview} where region_code = 'xidi'")
    assert total == [(2816, 0)]


def test_answers_take_as_long_as_in_the_list(board: Board) -> None:
    written, answered = (pd.to_datetime(board.messages[name]) for name in ("留言时间", "答复时间"))
    minutes = (answered - written).dt.total_seconds() // 60
    shown = board.rows("select sum(handling_minutes_sum)::bigint, sum(handling_count)::bigint from {mart.event_daily}")
    assert shown == [(int(minutes.sum()), 2816)]
    taken = np.array([row[0] for row in board.rows("select handling_minutes from {business.event}")])
    assert np.quantile(taken, [0.5, 0.95]) == pytest.approx(np.quantile(minutes, [0.5, 0.95]))
    assert np.median(taken) // (24 * 60) == 11
    # The calendar of the country begins later, and this province is none of its regions.
    assert board.rows("select count(working_handling_minutes) from {business.event}") == [(0,)]


def test_texts_and_answers_arrive_and_no_number_of_a_person_is_left(board: Board) -> None:
    phone = re.compile(r"(?<![0-9])1[3-9][0-9]{9}(?![0-9])")
    texts = board.rows("select description, closing_note from {business.event}")
    assert [1 for pair in texts for text in pair if phone.search(text)] == []
    answers = dict(board.rows("select local_id, closing_note from {business.event}"))
    listed = board.messages.set_index("留言编号")
    # Offices address writers by their accounts, which are blanked like a name; texts without anything to blank stay as they are.
    assert [number for number, writer in listed["留言用户"].items() if writer in answers[number]] == []
    changed = {number for number, answer in listed["答复意见"].items() if answers[number] != answer}
    assert changed == {number for number, answer in answers.items() if "[电话]" in answer or "[姓名或地址]" in answer or "[证件号]" in answer}
    assert 0 < len(changed) < len(answers)
