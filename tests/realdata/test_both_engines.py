"""Real data through both engines: Boston's requests and Hangzhou's posts in one lake, every table row for row."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridlake.tables import Tables
from tests.engine.test_parity import build
from tests.lakes import content, differing
from tests.realdata import test_boston311 as boston
from tests.realdata import test_hangzhou_messages as hangzhou

pytestmark = [pytest.mark.deep, *boston.pytestmark, *hangzhou.pytestmark[2:]]


def test_boston_and_hangzhou_end_in_the_same_tables_on_both_engines(spark_url: str, tmp_path: Path) -> None:
    inbox = hangzhou.lay(tmp_path / "inbox")
    delivery = inbox / "boston311" / "request" / "boston" / boston.FILE.name
    delivery.parent.mkdir(parents=True)
    delivery.symlink_to(boston.FILE.resolve())
    embedded, spark = tmp_path / "embedded" / "lake", tmp_path / "spark" / "lake"
    build(embedded, [inbox], "embedded", contracts=boston.CONTRACTS)
    build(spark, [inbox], spark_url, keys_of=embedded, contracts=boston.CONTRACTS)
    assert Tables(spark / "tables").row_count("business.event") > boston.ROWS, "both sources are there"
    assert differing(content(embedded), content(spark)) == {}
