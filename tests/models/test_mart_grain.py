"""One grain rule for all marts: a day, a month or now × the lowest region × the dimensions named; what stands above is a sum by region_closure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

MARTS = Path(__file__).parents[2] / "dbt" / "models" / "mart"
# Totals of every level, kept so that a page needs no sum: the one mart that is not of the lowest region, and whether each city reported.
OF_EVERY_LEVEL = {"region_overview", "region_reporting"}
ABOUT_REGIONS = {"mart_region", "mart_region_closure", "mart_region_closure_history"}
PERIODS = ("business_date", "business_month", "month_date", "issued_date")


def grain(path: Path) -> list[str]:
    """The unique key that the model declares."""
    (said,) = re.findall(r"unique_key=(\[[^\]]*\]|'[a-z_]+')", path.read_text(encoding="utf-8"))
    return re.findall(r"'([a-z_]+)'", said)


def properties() -> dict[str, dict[str, Any]]:
    """What the yml files say of each mart."""
    documents = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(MARTS.glob("*.yml")))
    return {model["name"]: model for document in documents for model in document["models"]}


SQL = sorted(MARTS.glob("*.sql"))


def unique_columns(model: dict[str, Any]) -> list[list[str]]:
    """The column sets that dbt is told to find unique."""
    together = [t["unique_together"]["arguments"]["columns"] for t in model.get("data_tests", []) if "unique_together" in t]
    return together + [[column["name"]] for column in model["columns"] if "unique" in column.get("data_tests", [])]


@pytest.mark.parametrize("path", SQL, ids=lambda p: p.stem)
def test_a_mart_says_its_grain_and_dbt_proves_it_on_every_build(path: Path) -> None:
    assert re.match(r"-- one row per ", path.read_text(encoding="utf-8")), "the first line says the grain"
    if path.stem not in ABOUT_REGIONS:
        assert grain(path) in unique_columns(properties()[path.stem])


def counted() -> list[str]:
    """Marts that count things by region."""
    return [p.stem for p in SQL if "region_code" in grain(p) and p.stem not in OF_EVERY_LEVEL | ABOUT_REGIONS | {"sender"}]


@pytest.mark.parametrize("mart", counted())
def test_a_mart_by_region_leads_to_every_region_above_it(mart: str) -> None:
    model, key = properties()[mart], grain(MARTS / f"{mart}.sql")
    assert "region_system" in key
    referring = [t["refers_to"]["arguments"] for t in model["data_tests"] if "refers_to" in t]
    assert {
        "columns": ["region_system", "region_code"],
        "to": "ref('mart_region_closure')",
        "to_columns": ["region_system", "region_code"],
    } in referring
    # Numbers that cannot be added up have no place in it: a share or a mean is made of sums by whoever shows it.
    measures = [c["name"] for c in model["columns"] if c["name"] not in {*key, *PERIODS, "type_code"}]
    assert [name for name in measures if not name.endswith(("_count", "_sum"))] == []
    assert measures


def test_there_are_marts_of_days_and_of_months() -> None:
    keys = [grain(MARTS / f"{mart}.sql") for mart in counted()]
    assert len([key for key in keys if "business_date" in key]) >= 4
    assert len([key for key in keys if "month_date" in key]) >= 2


def test_a_model_that_may_follow_changes_says_what_it_looks_up() -> None:
    """Without it gridlake.transform lets no model follow, and each increment reads the whole history."""
    asking = [path for path in sorted(MARTS.parent.rglob("*.sql")) if "follows()" in path.read_text(encoding="utf-8")]
    assert len(asking) > 3
    assert [path.stem for path in asking if "looked_up" not in path.read_text(encoding="utf-8")] == []
