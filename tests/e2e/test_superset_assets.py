"""What is generated for Superset, without a server: the same twice, labelled in Chinese, each chart with rows, a new mart without another line."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from fastapi.testclient import TestClient

from gridlake.settings import Settings
from serving.api import create_app
from tests.e2e.conftest import Lake

ROOM = Path(__file__).parents[2] / "infra" / "superset"
sys.path.insert(0, str(ROOM))
import assets  # noqa: E402
import cartogram  # noqa: E402

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(scope="module")
def current(lake: Lake) -> Path:
    return lake.home / "snapshots" / "current"


@pytest.fixture(scope="module")
def settings(lake: Lake) -> Settings:
    return Settings(home=lake.home)


@pytest.fixture(scope="module")
def written(current: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    assets.write(current, folder, settings)
    return folder


@pytest.fixture(scope="module")
def found(current: Path, settings: Settings) -> dict[str, Any]:
    return dict(assets.datasets(assets.Snapshot.read(current), settings))


@pytest.fixture(scope="module")
def marts(current: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(current.resolve() / "marts.duckdb"), read_only=True)


def documents(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((folder / "assets" / kind).rglob("*.yaml"))}


def test_the_same_snapshot_gives_the_same_bytes(current: Path, settings: Settings, written: Path, tmp_path: Path) -> None:
    assets.write(current, tmp_path, settings)
    one, other = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (written, tmp_path))
    assert len(one) > 80
    assert one == other


def test_whatever_names_another_asset_names_one_that_is_there(written: Path) -> None:
    datasets, charts, dashboards = (documents(written, kind) for kind in ("datasets", "charts", "dashboards"))
    known = {d["uuid"] for d in datasets.values()}
    assert {c["dataset_uuid"] for c in charts.values()} <= known
    drawn = {c["uuid"] for c in charts.values()}
    assert len(drawn) == len(charts)
    assert set(dashboards) == {f"{name}{kind}" for name in ("cockpit", "operation", "teams", "events", "quality") for kind in ("", "-phone")}
    for dashboard in dashboards.values():
        placed = [node["meta"]["uuid"] for node in dashboard["position"].values() if isinstance(node, dict) and node["type"] == "CHART"]
        assert placed
        assert set(placed) <= drawn
        for chosen in dashboard["metadata"]["native_filter_configuration"]:
            assert {t["datasetUuid"] for t in chosen["targets"] if t} <= known


def test_every_mart_is_a_dataset_whose_columns_and_metrics_all_have_a_chinese_label(
    found: dict[str, Any], marts: duckdb.DuckDBPyConnection, current: Path
) -> None:
    there = {row[0] for row in marts.execute("select table_name from information_schema.tables where table_schema = 'mart'").fetchall()}
    assert set(found) == there
    assert [place for place, label in assets.labels(found.values()) if not CHINESE.search(label)] == []
    said = json.loads((current / "dictionary.json").read_text(encoding="utf-8"))["marts"]["event_daily"]["columns"]
    dataset = found["event_daily"]
    assert dataset.columns["overdue_count"].label == dataset.metrics["overdue_count"].label == said["overdue_count"]["label"] == "超期数"
    # A code that the contract's list names has its name beside it.
    assert (dataset.columns["class_code"].label, dataset.columns["class_name"].label) == ("事件类别代码", "事件类别")
    assert marts.execute(f"select count(*) from ({dataset.sql}) where level_name not in ('一般', '较大', '重大', '特别重大')").fetchall() == [(0,)]


def test_a_dataset_has_the_rows_of_its_mart_and_the_columns_that_it_says(found: dict[str, Any], marts: duckdb.DuckDBPyConnection) -> None:
    for mart, dataset in found.items():
        described = [column[0] for column in marts.execute(f"select * from ({dataset.sql}) limit 0").description]
        assert sorted(described) == sorted(dataset.columns), mart
        assert marts.execute(f"select count(*) from ({dataset.sql})").fetchall() == marts.execute(f"select count(*) from mart.{mart}").fetchall(), (
            mart
        )


def test_every_chart_has_rows_and_can_be_filtered_as_its_dashboard_offers(found: dict[str, Any], marts: duckdb.DuckDBPyConnection) -> None:
    for name, dashboard in assets.declared_dashboards().items():
        for title, chart in dashboard.charts.items():
            dataset = found[chart.mart]
            assert dataset.scope, f"{name}.{title}: a city sees only datasets whose rows are some city's"
            assert {f"{kind}_name" for kind in dashboard.filters if kind != "period"} <= set(dataset.columns)
            shown = [*chart.by, *chart.series]
            columns = ", ".join([*shown, *(f"{dataset.metrics[m].sql} as m{n}" for n, m in enumerate(chart.metrics))])
            where = " and ".join([*chart.where, "true"])
            rows = marts.execute(f"select {columns} from ({dataset.sql}) where {where} {'group by all' if shown else ''}").fetchall()
            assert rows, f"{name}.{title}"
            assert any(row[len(shown)] is not None for row in rows), f"{name}.{title}"


def test_a_new_mart_is_a_dataset_without_another_line_and_one_that_nobody_described_is_refused(
    current: Path, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "20990101-000000000000"
    shutil.copytree(current.resolve(), folder)
    with duckdb.connect(str(folder / "marts.duckdb")) as database:
        database.execute(
            "create table mart.planted as"
            " select business_date, region_system, region_code, level_code, event_count as tree_count from mart.event_daily"
        )
    with pytest.raises(assets.AssetError, match=r"mart\.planted"):
        assets.datasets(assets.Snapshot.read(folder), settings)
    dictionary = json.loads((folder / "dictionary.json").read_text(encoding="utf-8"))
    of_days = dictionary["marts"]["event_daily"]["columns"]
    columns = {name: of_days[name] for name in ("business_date", "region_system", "region_code", "level_code")}
    columns["tree_count"] = {"label": "植树数", "description": "棵", "code_list": ""}
    dictionary["marts"]["planted"] = {"description": "植树日统计：按日", "columns": columns}
    (folder / "dictionary.json").write_text(json.dumps(dictionary, ensure_ascii=False), encoding="utf-8")
    dataset = assets.datasets(assets.Snapshot.read(folder), settings)["planted"]
    assert (dataset.title, dataset.scope, dataset.time) == ("植树日统计（planted）", "city_code", "business_date")
    assert dataset.metrics["tree_count"].label == "植树数"
    assert dataset.columns["level_name"].label == "事件等级"
    columns["tree_count"]["label"] = "trees"
    (folder / "dictionary.json").write_text(json.dumps(dictionary, ensure_ascii=False), encoding="utf-8")
    with pytest.raises(assets.AssetError, match=r"mart\.planted\.tree_count.*Chinese"):
        assets.datasets(assets.Snapshot.read(folder), settings)


def test_a_deployment_without_refused_rows_and_with_classes_of_one_level_has_the_same_dashboards(
    current: Path, settings: Settings, tmp_path: Path
) -> None:
    place = tmp_path / "snapshot"
    shutil.copytree(current.resolve(), place)
    with duckdb.connect(str(place / "marts.duckdb")) as database:
        database.execute("delete from mart.refusal")
    said = json.loads((place / "dictionary.json").read_text(encoding="utf-8"))
    for row in said["code_lists"]["event_class"]:
        row["parent_code"] = None
    (place / "dictionary.json").write_text(json.dumps(said), encoding="utf-8")
    assets.write(place, tmp_path, settings)
    charts = documents(tmp_path, "charts")
    assert charts.keys() == {f"{name}__{chart}" for name, dashboard in assets.declared_dashboards().items() for chart in dashboard.charts}
    assert json.loads(charts["events__classes"]["query_context"])["queries"][0]["columns"] == ["class_name"]
    assert json.loads(charts["quality__reasons"]["query_context"])["queries"][0]["columns"][0]["label"] == "rule_name"


def test_dashboard_report_and_interface_say_the_same(found: dict[str, Any], marts: duckdb.DuckDBPyConnection, lake: Lake, settings: Settings) -> None:
    compared = 0
    dataset = found["event_daily"]
    numbers = ("event_count", "closed_count", "overdue_count", "invalid_count")
    keys = {1: "region_system = '{system}'", 2: "city_code = '{code}'", 3: "county_code = '{code}'"}
    for path in sorted((lake.home / "reports" / "weekly").glob("*/*/*/archive.json")):
        issued = json.loads(path.read_text(encoding="utf-8"))
        (reported,) = (row for row in issued["results"]["numbers"] if row["which"] == "now")
        subject = issued["subject"]
        where = keys[subject["level"]].format(**subject)
        sums = ", ".join(f"coalesce({dataset.metrics[name].sql}, 0)::bigint" for name in numbers)
        rate = dataset.metrics["closed_pct"].sql
        shown = marts.execute(f"select {sums}, {rate} from ({dataset.sql}) where {where} and week_name = '{issued['period']}'").fetchone()
        assert shown is not None
        assert dict(zip(numbers, shown, strict=False)) == {name: reported[name] for name in numbers}, path
        assert shown[-1] == pytest.approx(reported["closed_pct"], abs=0.051), path
        compared += 1
    assert compared >= 1
    with TestClient(create_app(settings)) as client:
        for code, city in assets.Snapshot.read(lake.home / "snapshots" / "current").cities:
            told = client.get(f"/regions/{code}").json()["region"]
            sums = "coalesce(sum(event_count), 0)::bigint, coalesce(sum(overdue_count), 0)::bigint"
            shown = marts.execute(f"select {sums} from ({dataset.sql}) where city_name = '{city}'").fetchone()
            assert shown == (told["event_count"], told["overdue_count"]), city


def test_the_map_has_a_hexagon_for_every_county_beside_its_neighbours(written: Path, current: Path) -> None:
    features = json.loads((written / "map.geojson").read_text(encoding="utf-8"))["features"]
    middles = {}
    for feature in features:
        ring = feature["geometry"]["coordinates"][0]
        assert len(ring) == 7
        middles[feature["properties"]["ISO"]] = (sum(p[0] for p in ring[:6]) / 6, sum(p[1] for p in ring[:6]) / 6)
    assert set(middles) == set(assets.Snapshot.read(current).counties)
    assert len({(round(x, 2), round(y, 2)) for x, y in middles.values()}) == len(middles) == 90, "one on each place"
    neighbours = json.loads((current / "dictionary.json").read_text(encoding="utf-8"))["code_lists"]["region_neighbour"]
    pairs = [(r["region_code"], r["neighbour_code"]) for r in neighbours if r["region_level"] == "3"]
    width = min(abs(a[0] - b[0]) for a in middles.values() for b in middles.values() if a != b and abs(a[1] - b[1]) < 0.01)
    near = [p for p in pairs if abs(middles[p[0]][0] - middles[p[1]][0]) < 1.6 * width and abs(middles[p[0]][1] - middles[p[1]][1]) < 1.6 * width]
    assert len(near) > 0.6 * len(pairs) > 100


def test_outlines_of_a_user_take_the_hexagons_place(tmp_path: Path) -> None:
    square = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
    feature = {"type": "Feature", "properties": {"adcode": 330106}, "geometry": {"type": "Polygon", "coordinates": [square]}}
    path = tmp_path / "outlines.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    (drawn,) = cartogram.outlines(path, {"330106000000": "西湖区"})["features"]
    assert drawn["properties"] == {"ISO": "330106000000", "NAME_1": "西湖区"}
    assert drawn["geometry"]["coordinates"] == [square[::-1]], "clockwise, or the map colours the world around it"
    with pytest.raises(cartogram.OutlineError, match="county's code"):
        cartogram.outlines(path, {"110101000000": "东城区"})
