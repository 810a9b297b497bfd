"""Superset's assets, generated: a dataset for every mart of a snapshot, the charts and dashboards of `assets/dashboards`, the map, who may read what.

What a table and a column are called comes from the snapshot's own dictionary, which publication made of dbt's YAML and the contracts.
The same snapshot and the same files give the same bytes.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb
import yaml
from cartogram import hexagons, outlines
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gridlake.contracts.refusals import REFUSALS
from gridlake.settings import Settings

DECLARED = Path(__file__).resolve().parent / "assets"
# Ids are names in this space, so that a second import finds what the first has made. Never to be changed.
_SPACE = uuid.UUID("0c0f4f0e-6f0c-5d6e-9f5c-8f1d3b1c7a42")
_VERSION = "1.0.0"
# Of every dashboard there is one more for phones, to which the settings lead them.
PHONE = "-phone"
_DATABASE = "快照"
# The system whose cities have roles: those of other systems are feeds from elsewhere.
_CITY_SYSTEM, _CITY_LEVEL, _COUNTY_LEVEL = "cn", 2, 3
_CLAUSE = f"city_code = '{{code}}' and city_system = '{_CITY_SYSTEM}'"
_SCOPE = "city_code"
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_WORDS_OF_NUMBERS_NOT_ADDED = {"level", "version", "distance", "hours", "change", "no"}

# Columns that every mart gets which says where or when; the only labels that are not a mart's own.
_PLACED = {"city_system": "地市区划体系", "city_code": "地市代码", "city_name": "地市", "county_code": "区县代码", "county_name": "区县",
           "township_name": "乡镇（街道）"}  # fmt: skip
_WEEK, _WEEK_LABEL = "week_date", "周"
_WEEK_NAME, _WEEK_NAME_LABEL = "week_name", "周次"
# Numbered: a chart sorts its axes by their texts.
_WEEKDAY, _WEEKDAY_LABEL, _WEEKDAYS = "weekday", "星期", ("1 周一", "2 周二", "3 周三", "4 周四", "5 周五", "6 周六", "7 周日")
_NEWEST, _NEWEST_LABEL = "is_newest", "是否最近一期"
_COUNT, _COUNT_LABEL = "row_count_", "行数"

# Grouped, so that DuckDB knows a region to be there once and leaves the join out where a chart asks for none of it.
_PLACE = """(
    select
        c.region_system,
        c.region_code,
        max(a.region_system) filter (c.ancestor_level = 2) as city_system,
        max(a.region_code) filter (c.ancestor_level = 2) as city_code,
        max(a.region_name) filter (c.ancestor_level = 2) as city_name,
        max(a.region_code) filter (c.ancestor_level = 3) as county_code,
        max(a.region_name) filter (c.ancestor_level = 3) as county_name,
        max(a.region_name) filter (c.ancestor_level = 4) as township_name
    from mart.region_closure as c
    join mart.region as a on a.region_system = c.region_system and a.region_code = c.ancestor_code
    where c.ancestor_level in (2, 3, 4)
    group by all
)"""
# A sender of one region stands where the region does; one of several, or of all, stands for no city.
_SENDER_PLACE = f"""(
    select s.sender_code, {", ".join(f"max(p.{name}) as {name}" for name in _PLACED)}
    from (select sender_code, any_value(region_code) as region_code from mart.sender group by sender_code having count(*) = 1) as s
    join {_PLACE} as p on p.region_system = '{_CITY_SYSTEM}' and p.region_code = s.region_code
    group by s.sender_code
)"""
_FINDING_PLACE = f"""(
    select f.finding_id, {", ".join(f"max(p.{name}) as {name}" for name in _PLACED)}
    from mart.finding as f
    join {_PLACE} as p using (region_system, region_code)
    group by f.finding_id
)"""
# The first that fits says where the rows of a mart lie; a mart that none fits belongs to the whole province.
_WAYS_TO_A_PLACE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("region_system", "region_code"), _PLACE),
    (("sender_code",), _SENDER_PLACE),
    (("finding_id",), _FINDING_PLACE),
)


class AssetError(Exception):
    """Something that cannot be made into an asset; the message says what is expected where."""


class Chart(BaseModel):
    """One chart of a dashboard, as its YAML says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    kind: Literal["trend", "number", "line", "column", "bar", "pie", "heat", "tree", "table", "map"]
    mart: str
    metrics: list[str] = Field(min_length=1)
    by: list[str] = []
    series: list[str] = []
    # Conditions in SQL over the dataset's columns.
    where: list[str] = []
    width: int = Field(ge=1, le=12)
    height: int = Field(default=50, ge=8)
    top: int = 1000
    note: str = ""
    number: str = ",d"
    stacked: bool = False
    x_title: str = ""
    y_title: str = ""


class Dashboard(BaseModel):
    """One dashboard, as its YAML says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    filters: list[Literal["period", "city", "county"]]
    rows: list[dict[str, Chart]]

    @property
    def charts(self) -> dict[str, Chart]:
        """Every chart by its name in the file."""
        return {name: chart for row in self.rows for name, chart in row.items()}


class Ratio(BaseModel):
    """A number that is no sum of a column: its definition, written once for all dashboards."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sql: str
    # Only where no mart has a column of this name: then its label holds.
    label: str = ""
    note: str = ""
    format: str = ",.1f"


@dataclass(frozen=True)
class Column:
    """A column of a dataset; `expression` where it is not the mart's own."""

    name: str
    type: str
    label: str
    description: str = ""
    expression: str = ""


@dataclass(frozen=True)
class Dataset:
    """What Superset knows of one mart."""

    mart: str
    title: str
    description: str
    columns: Mapping[str, Column]
    metrics: Mapping[str, Ratio]
    sql: str
    scope: str = ""
    time: str = ""

    @property
    def id(self) -> str:
        """Its id in Superset, whatever snapshot it was made of."""
        return _id("dataset", self.mart)


@dataclass(frozen=True)
class Snapshot:
    """What is read of a published snapshot to generate from."""

    folder: Path
    marts: Mapping[str, Mapping[str, str]]
    dictionary: Mapping[str, Any]
    cities: Sequence[tuple[str, str]] = ()
    counties: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Snapshot:
        """The snapshot in a folder; raises AssetError where nothing was published."""
        folder = folder.resolve()
        if not (folder / "marts.duckdb").exists():
            raise AssetError(f"{folder}: expected a published snapshot, found none; do: make run")
        dictionary = json.loads((folder / "dictionary.json").read_text(encoding="utf-8"))
        marts: dict[str, dict[str, str]] = {}
        with duckdb.connect(str(folder / "marts.duckdb"), read_only=True) as database:
            found = "select table_name, column_name, data_type from duckdb_columns() where schema_name = 'mart' order by table_name, column_index"
            for table, name, kind in database.execute(found).fetchall():
                marts.setdefault(table, {})[name] = kind
            regions = "select region_code, region_name from mart.region where region_system = $system and region_level = $level order by region_code"
            cities, counties = (
                database.execute(regions, {"system": _CITY_SYSTEM, "level": level}).fetchall() for level in (_CITY_LEVEL, _COUNTY_LEVEL)
            )
        return cls(folder, marts, dictionary, cities, dict(counties))

    def pairs(self, sql: str) -> dict[str, str]:
        """The second column of a query's rows by the first."""
        with duckdb.connect(str(self.folder / "marts.duckdb"), read_only=True) as database:
            return dict(database.execute(sql).fetchall())

    def those_in(self, mart: str, column: str, names: Mapping[str, str]) -> dict[str, str]:
        """Of many names those that a mart's column has: Superset reads the whole query several times for every chart."""
        there = self.pairs(f"select distinct {column}, {column} from mart.{mart}")
        return {code: name for code, name in names.items() if code in there}


def write(current: Path, folder: Path, settings: Settings, drawn: Path | None = None) -> dict[str, Dataset]:
    """Everything that `populate.py` and the settings read, below `folder`: `assets/`, `access.json`, `map.geojson`.

    `drawn`: a GeoJSON of the counties' outlines. Gives the datasets by mart; raises AssetError and OutlineError.
    """
    snapshot = Snapshot.read(current)
    found = datasets(snapshot, settings)
    dashboards = declared_dashboards()
    texts: dict[str, str] = {"metadata.yaml": _yaml({"version": _VERSION, "type": "assets", "timestamp": "2026-11-26T00:00:00+00:00"})}
    texts["databases/snapshot.yaml"] = _yaml(_database(current))
    texts |= {f"datasets/snapshot/{mart}.yaml": _yaml(_dataset_asset(dataset)) for mart, dataset in found.items()}
    for name, dashboard in dashboards.items():
        for chart, said in dashboard.charts.items():
            texts[f"charts/{name}__{chart}.yaml"] = _yaml(_chart_asset(name, chart, said, found))
        texts[f"dashboards/{name}.yaml"] = _yaml(_dashboard_asset(name, dashboard, dashboard.rows, found))
        texts[f"dashboards/{name}{PHONE}.yaml"] = _yaml(_dashboard_asset(f"{name}{PHONE}", dashboard, list(_one_below_the_other(dashboard)), found))
    target = folder / "assets"
    shutil.rmtree(target, ignore_errors=True)
    for path, text in texts.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
    access = {
        "cities": [{"code": code, "name": name} for code, name in snapshot.cities],
        "clause": _CLAUSE,
        "datasets": {dataset.id: dataset.scope for dataset in found.values()},
        "charts": [_id("chart", f"{name}/{chart}") for name, dashboard in dashboards.items() for chart in dashboard.charts],
        "dashboards": {_id("dashboard", f"{name}{kind}"): _id("embedded", f"{name}{kind}") for name in dashboards for kind in ("", PHONE)},
    }
    (folder / "access.json").write_text(json.dumps(access, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / "map.geojson").write_text(json.dumps(_map(snapshot, drawn), ensure_ascii=False), encoding="utf-8")
    return found


def datasets(snapshot: Snapshot, settings: Settings) -> dict[str, Dataset]:
    """A dataset for each mart; raises AssetError for a table or column of which nobody has said what it is."""
    ratios = _ratios(snapshot)
    return {mart: _dataset(snapshot, settings, mart, ratios.get(mart, {})) for mart in snapshot.marts}


def declared_dashboards() -> dict[str, Dashboard]:
    """Every dashboard by its file's name."""
    found = {}
    for path in sorted((DECLARED / "dashboards").glob("*.yaml")):
        try:
            found[path.stem] = Dashboard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise AssetError(f"{path}: {error}") from error
    return found


def _dataset(snapshot: Snapshot, settings: Settings, mart: str, ratios: Mapping[str, Ratio]) -> Dataset:
    said = snapshot.dictionary.get("marts", {}).get(mart)
    if said is None:
        raise AssetError(f"mart.{mart}: expected the snapshot's dictionary to describe it, it does not; publish again: gridlake run")
    own = snapshot.marts[mart]
    columns = {}
    for name, kind in own.items():
        label = said["columns"].get(name, {}).get("label", "")
        if not _CHINESE.search(label):
            raise AssetError(f"mart.{mart}.{name}: expected a Chinese name, came {label!r}; write config.meta.label in dbt/models/mart")
        columns[name] = Column(name, kind, label, said["columns"][name]["description"])
    joined, scope = "", ""
    for keys, place in _WAYS_TO_A_PLACE:
        if set(keys) <= own.keys():
            joined, scope = f"\nleft join {place} as place using ({', '.join(keys)})", _SCOPE
            columns |= {name: Column(name, "VARCHAR", label, expression=f"place.{name}") for name, label in _PLACED.items() if name not in own}
            break
    columns = _named_codes(mart, columns, said, snapshot, settings) | _periods(mart, own)
    added = [f"{column.expression} as {column.name}" for column in columns.values() if column.expression]
    sql = f"select\n    {', '.join(['m.*', *added])}\nfrom mart.{mart} as m{joined}".replace("m.*, ", "m.*,\n    ")
    short = re.split(r"[：；，（。]", said["description"])[0]
    time = next((name for name, kind in own.items() if name in ("business_date", "month_date", "issued_date") and kind == "DATE"), "")
    return Dataset(mart, f"{short}（{mart}）", f"{said['description']}。mart.{mart}", columns, {**_sums(own, columns), **ratios}, sql, scope, time)


def _named_codes(mart: str, columns: Mapping[str, Column], said: Mapping[str, Any], snapshot: Snapshot, settings: Settings) -> dict[str, Column]:
    """Beside every code its name: as the code's list says it, or as senders, contracts and models are called.

    Names are written into the query: looked up once a code and not once a row, of ten million rows in 50 ms and not in 250.
    """
    found: dict[str, Column] = {}
    for name, column in columns.items():
        code_list = said["columns"].get(name, {}).get("code_list", "")
        named = _names(mart, name, code_list, snapshot, settings)
        other = f"{name.removesuffix('_code')}_name"
        if named is None or other in columns:
            found[name] = column
            continue
        label = column.label
        short = label.removesuffix("代码").removesuffix("编码")
        found[name] = Column(name, column.type, label if short != label else f"{label}代码", column.description, column.expression)
        found[other] = Column(other, "VARCHAR", short, column.description, _looked_up(f"m.{name}", named))
        if above := _names_above(code_list, snapshot):
            upper = f"{other.removesuffix('_name')}_parent_name"
            found[upper] = Column(upper, "VARCHAR", f"{short}（上级）", column.description, _looked_up(f"m.{name}", above))
    return found


def _names(mart: str, column: str, code_list: str, snapshot: Snapshot, settings: Settings) -> dict[str, str] | None:
    """What a column's codes are called, of which there may be none in this snapshot; nothing for a column without codes."""
    if code_list:
        return {row["code"]: row["name_zh"] for row in snapshot.dictionary["code_lists"].get(code_list, ())}
    feeds = snapshot.dictionary["feeds"]
    match column:
        case "sender_code":
            return snapshot.pairs("select sender_code, any_value(sender_name) from mart.sender group by 1 order by 1")
        case "feed":
            titles = [feed["title"] for feed in feeds.values()]
            return {
                name: feed["title"] if titles.count(feed["title"]) == 1 else f"{feed['title']}（{feed['source']}）" for name, feed in feeds.items()
            }
        case "rule":
            rules = {rule["name"]: rule["description"] or rule["name"] for feed in feeds.values() for rule in feed["rules"]}
            return snapshot.those_in(mart, column, rules | {code: refusal.meaning for code, refusal in REFUSALS.items()})
        case "field":
            return snapshot.those_in(mart, column, {c["name"]: c["title"] for feed in feeds.values() for c in feed["columns"]})
        case "model":
            return dict(snapshot.dictionary.get("models", {}))
        case "factor":
            # Without the numbers that a finding puts in, and what stands in brackets about them.
            reasons = {f["factor"]: f["reason"]["zh"] for model in _models(settings).values() for f in model["factors"]}
            return {name: re.sub(r"（[^）]*）", "", re.sub(r"\s*\{\w+\}\s*", "…", reason)) for name, reason in reasons.items()}
    return None


def _looked_up(code: str, names: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{_quoted(name)}: {_quoted(text)}" for name, text in sorted(names.items()))
    if not pairs:
        return code
    return f"coalesce(map {{{pairs}}}[{code}], {code})"


def _names_above(code_list: str, snapshot: Snapshot) -> dict[str, str]:
    """By code the name of the code above it, of a list that has levels."""
    rows = snapshot.dictionary["code_lists"].get(code_list, ())
    names = {row["code"]: row["name_zh"] for row in rows}
    return {row["code"]: names[row["parent_code"] or row["code"]] for row in rows} if any(row.get("parent_code") for row in rows) else {}


def _models(settings: Settings) -> dict[str, dict[str, Any]]:
    folders = [settings.project / "spark_jobs" / "models", *([settings.contracts / "detect"] if settings.contracts else [])]
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for folder in folders for path in sorted(folder.glob("*.yml"))}


def _periods(mart: str, own: Mapping[str, str]) -> dict[str, Column]:
    """Of daily marts the week that is over, of monthly ones whether a month is the newest: what is not over is no number to compare."""
    found = {}
    if own.get("business_date") == "DATE":
        over = "(select max(business_date) + 1 from mart.region_reporting)"
        week = f"case when date_trunc('week', m.business_date) + interval 7 day <= {over} then date_trunc('week', m.business_date)::date end"
        found[_WEEK] = Column(_WEEK, "DATE", _WEEK_LABEL, "星期一的日期；该周未满为空", week)
        found[_WEEK_NAME] = Column(_WEEK_NAME, "VARCHAR", _WEEK_NAME_LABEL, "ISO 周；该周未满为空", f"strftime({week}, '%G-W%V')")
        days = ", ".join(map(_quoted, _WEEKDAYS))
        found[_WEEKDAY] = Column(_WEEKDAY, "VARCHAR", _WEEKDAY_LABEL, "业务日期是星期几", f"([{days}])[isodow(m.business_date)]")
    if own.get("month_date") == "DATE":
        found[_NEWEST] = Column(_NEWEST, "BOOLEAN", _NEWEST_LABEL, "最近一个月", f"m.month_date = (select max(month_date) from mart.{mart})")
    return found


def _sums(own: Mapping[str, str], columns: Mapping[str, Column]) -> dict[str, Ratio]:
    sums = {
        name: Ratio(sql=f"sum({name})", label=columns[name].label, note=columns[name].description, format=",d")
        for name, kind in own.items()
        if kind in ("BIGINT", "HUGEINT", "INTEGER") and name.rpartition("_")[2] not in _WORDS_OF_NUMBERS_NOT_ADDED
    }
    return {_COUNT: Ratio(sql="count(*)", label=_COUNT_LABEL, format=",d"), **sums}


def _ratios(snapshot: Snapshot) -> dict[str, dict[str, Ratio]]:
    path = DECLARED / "metrics.yaml"
    labels = {name: column["label"] for mart in snapshot.dictionary.get("marts", {}).values() for name, column in mart["columns"].items()}
    found: dict[str, dict[str, Ratio]] = {}
    for mart, ratios in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        for name, said in ratios.items():
            ratio = Ratio.model_validate(said)
            label = labels.get(name) or ratio.label
            if not label or (ratio.label and name in labels):
                expected = (
                    "no label of its own, a mart's column is called so already" if ratio.label else "a label: no mart has a column of that name"
                )
                raise AssetError(f"{path}: {mart}.{name}: expected {expected}")
            found.setdefault(mart, {})[name] = ratio.model_copy(update={"label": label})
    return found


def _map(snapshot: Snapshot, drawn: Path | None) -> dict[str, Any]:
    if drawn:
        return outlines(drawn, snapshot.counties)
    lists = snapshot.dictionary["code_lists"]
    places = [
        (row["code"], snapshot.counties[row["code"]], float(row["longitude"]), float(row["latitude"]))
        for row in lists.get("county_position_gcj02", ())
        if row["code"] in snapshot.counties
    ]
    return hexagons(places, [(row["region_code"], row["neighbour_code"]) for row in lists.get("region_neighbour", ())])


# --- as Superset's importer reads them


def _database(current: Path) -> dict[str, Any]:
    return {
        "database_name": _DATABASE,
        "sqlalchemy_uri": f"duckdb:///{current}/marts.duckdb?access_mode=READ_ONLY",
        "cache_timeout": None,
        "expose_in_sqllab": True,
        "allow_run_async": False,
        "allow_ctas": False,
        "allow_cvas": False,
        "allow_dml": False,
        "allow_csv_upload": False,
        "extra": {"allows_virtual_table_explore": True, "engine_params": {"connect_args": {"config": {"threads": 2, "memory_limit": "2GB"}}}},
        "uuid": _id("database", "snapshot"),
        "version": _VERSION,
    }


def _dataset_asset(dataset: Dataset) -> dict[str, Any]:
    columns = [
        {
            "column_name": c.name,
            "verbose_name": c.label,
            "description": c.description,
            "type": c.type,
            "is_dttm": c.type.startswith(("DATE", "TIMESTAMP")),
            "is_active": True,
            "groupby": True,
            "filterable": True,
        }
        for c in dataset.columns.values()
    ]
    metrics = [
        {"metric_name": name, "verbose_name": m.label, "expression": m.sql, "description": m.note, "d3format": m.format, "metric_type": None}
        for name, m in dataset.metrics.items()
    ]
    return {
        "table_name": dataset.title,
        "main_dttm_col": dataset.time or None,
        "description": dataset.description,
        # No schema: Superset would take a dataset of the same name in the mart's schema for the mart itself and add its rules twice.
        "schema": None,
        "sql": dataset.sql,
        "filter_select_enabled": True,
        "uuid": dataset.id,
        "columns": columns,
        "metrics": metrics,
        "is_managed_externally": True,
        "external_url": None,
        "database_uuid": _id("database", "snapshot"),
        "version": _VERSION,
    }


_VIZ = {
    "trend": "big_number",
    "number": "big_number_total",
    "line": "echarts_timeseries_line",
    "column": "echarts_timeseries_bar",
    "bar": "echarts_timeseries_bar",
    "pie": "pie",
    "heat": "heatmap_v2",
    "tree": "treemap_v2",
    "table": "table",
    "map": "country_map",
}
_BLUE = {"r": 31, "g": 92, "b": 153, "a": 1}
# Who made it when takes the room of the title.
_PHONE_CSS = "[data-test='metadata-bar'] { display: none; }"
_COLOURS, _SHADES = "echarts5Colors", "schemeBlues"


def _chart_asset(dashboard: str, name: str, chart: Chart, found: Mapping[str, Dataset]) -> dict[str, Any]:
    place = f"{DECLARED.name}/dashboards/{dashboard}.yaml: {name}"
    if chart.mart not in found:
        raise AssetError(f"{place}: expected a mart of the snapshot, came {chart.mart!r}; there are {', '.join(found)}")
    dataset = found[chart.mart]
    chart = _with_levels_there(chart, dataset)
    for kind, asked, there in (("column", [*chart.by, *chart.series], dataset.columns), ("metric", chart.metrics, dataset.metrics)):
        for one in asked:
            if one not in there:
                raise AssetError(f"{place}: expected a {kind} of mart.{chart.mart}, came {one!r}; there are {', '.join(there)}")
    params = _params(chart, dataset)
    return {
        "slice_name": chart.title,
        "description": chart.note or None,
        "viz_type": _VIZ[chart.kind],
        "params": params,
        "query_context": _query_context(chart, dataset, params),
        "cache_timeout": None,
        "uuid": _id("chart", f"{dashboard}/{name}"),
        "is_managed_externally": True,
        "dataset_uuid": dataset.id,
        "version": _VERSION,
    }


def _with_levels_there(chart: Chart, dataset: Dataset) -> Chart:
    """The chart by the codes themselves where it is by those above them and the code list of this deployment has but one level."""
    own = {f"{name.removesuffix('_name')}_parent_name": name for name in dataset.columns if name.endswith("_name")}
    there = {above: name for above, name in own.items() if above not in dataset.columns}
    by, series = (list(dict.fromkeys(there.get(name, name) for name in names)) for names in (chart.by, chart.series))
    return chart.model_copy(update={"by": by, "series": series})


def _params(chart: Chart, dataset: Dataset) -> dict[str, Any]:
    metrics = chart.metrics
    filters: list[dict[str, Any]] = [
        {"clause": "WHERE", "expressionType": "SQL", "sqlExpression": condition, "filterOptionName": f"where_{number}"}
        for number, condition in enumerate(chart.where)
    ]
    if dataset.time:
        # Without a bound; it is what the dashboard's period takes hold of.
        period = {"subject": dataset.time, "operator": "TEMPORAL_RANGE", "comparator": "No filter"}
        filters.append({"clause": "WHERE", "expressionType": "SIMPLE", **period})
    shown: dict[str, Any] = {"viz_type": _VIZ[chart.kind], "adhoc_filters": filters, "row_limit": chart.top, "color_scheme": _COLOURS}
    match chart.kind:
        case "trend":
            lag = "环比上月" if chart.by[0] == "month_date" else "环比上周"
            shown |= {"metric": metrics[0], "x_axis": chart.by[0], "time_grain_sqla": "P1D", "show_trend_line": True, "compare_lag": 1,
                      "compare_suffix": lag, "start_y_axis_at_zero": True, "y_axis_format": chart.number, "color_picker": _BLUE,
                      "header_font_size": 0.5, "subheader_font_size": 0.2, "rolling_type": "None"}  # fmt: skip
        case "number":
            shown |= {
                "metric": metrics[0],
                "y_axis_format": chart.number,
                "header_font_size": 0.4,
                "subheader": chart.note,
                "subheader_font_size": 0.15,
            }
            if chart.number == "date":
                shown |= {"y_axis_format": "", "force_timestamp_formatting": True, "time_format": "%Y-%m-%d"}
        case "line" | "column":
            shown |= _axes(chart)
        case "bar":
            shown |= _axes(chart) | {"orientation": "horizontal", "x_axis_sort": metrics[0], "x_axis_sort_asc": True, "show_value": not chart.stacked,
                                     "y_axis_title_margin": 15}  # fmt: skip
        case "pie":
            shown |= {"metric": metrics[0], "groupby": chart.by, "sort_by_metric": True, "label_type": "key_percent", "show_labels": True,
                      "show_legend": False, "donut": True, "innerRadius": 40, "outerRadius": 60, "number_format": chart.number,
                      "labels_outside": True, "label_line": True}  # fmt: skip
        case "heat":
            shown |= {"x_axis": chart.by[0], "groupby": chart.by[1], "metric": metrics[0], "normalize_across": "heatmap", "show_legend": True,
                      "linear_color_scheme": _SHADES, "xscale_interval": -1, "yscale_interval": 1, "y_axis_format": chart.number,
                      "sort_x_axis": "alpha_asc", "sort_y_axis": "alpha_desc", "show_percentage": False, "show_values": False,
                      "value_bounds": [None, None], "left_margin": "auto", "bottom_margin": "auto"}  # fmt: skip
        case "tree":
            shown |= {"groupby": chart.by, "metric": metrics[0], "show_labels": True, "show_upper_labels": True, "label_type": "key_value",
                      "number_format": chart.number}  # fmt: skip
        case "table":
            shown |= {"query_mode": "aggregate", "groupby": chart.by, "metrics": metrics, "all_columns": [], "percent_metrics": [],
                      "order_by_cols": [], "timeseries_limit_metric": metrics[0], "order_desc": True, "server_pagination": False, "page_length": 0,
                      "show_cell_bars": True, "align_pn": False, "color_pn": False, "table_timestamp_format": "%Y-%m-%d %H:%M",
                      "column_config": {name: {"d3NumberFormat": dataset.metrics[name].format, "showCellBars": name == metrics[0]}
                                        for name in metrics}}  # fmt: skip
        case "map":
            shown |= {"select_country": "china", "entity": chart.by[0], "metric": metrics[0], "linear_color_scheme": _SHADES,
                      "number_format": chart.number}  # fmt: skip
            # With a scheme of categories the map is coloured by name and not by number.
            shown.pop("color_scheme")
    return shown


def _axes(chart: Chart) -> dict[str, Any]:
    return {
        "x_axis": chart.by[0], "time_grain_sqla": "P1D", "metrics": chart.metrics, "groupby": chart.series, "order_desc": True,
        "truncate_metric": True, "show_legend": len(chart.metrics) > 1 or bool(chart.series), "legendType": "scroll", "legendOrientation": "top",
        "x_axis_time_format": "%m-%d", "y_axis_format": chart.number, "rich_tooltip": True, "tooltipTimeFormat": "%Y-%m-%d",
        "stack": "Stack" if chart.stacked else None, "seriesType": "line", "markerEnabled": False, "x_axis_title": chart.x_title,
        "y_axis_title": chart.y_title, "x_axis_title_margin": 30 if chart.x_title else 0, "y_axis_title_margin": 40 if chart.y_title else 0,
        "y_axis_title_position": "Left", "sort_series_type": "sum", "xAxisLabelRotation": 0, "minorTicks": False, "zoomable": False,
    }  # fmt: skip


def _query_context(chart: Chart, dataset: Dataset, params: Mapping[str, Any]) -> str | None:
    """The chart's query as a browser would ask it: without it no mail and no test could."""
    if chart.kind == "map":
        return None
    on_axis = chart.kind in ("trend", "line", "column", "bar", "heat")
    first = [_axis(chart.by[0], dataset)] if on_axis else chart.by[:1]
    query = {
        "columns": [*first, *chart.by[1:], *chart.series],
        "metrics": chart.metrics,
        "filters": [],
        "extras": {"where": " and ".join(f"({condition})" for condition in chart.where)},
        "orderby": [[chart.metrics[0], False]] if chart.kind in ("table", "pie", "bar") else [],
        "row_limit": chart.top,
        "time_range": "No filter",
    }
    document = {
        "datasource": {"id": 0, "type": "table"}, "force": False, "queries": [query], "form_data": dict(params), "result_format": "json",
        "result_type": "full",
    }  # fmt: skip
    return json.dumps(document, ensure_ascii=False)


def _axis(name: str, dataset: Dataset) -> Any:
    axis = {"label": name, "sqlExpression": name, "expressionType": "SQL", "columnType": "BASE_AXIS"}
    return axis | ({"timeGrain": "P1D"} if dataset.columns[name].type.startswith("DATE") else {})


def _one_below_the_other(dashboard: Dashboard) -> Iterator[dict[str, Chart]]:
    """The rows of a phone: Superset parts a row by twelfths however narrow the screen is."""
    for name, chart in dashboard.charts.items():
        yield {name: chart.model_copy(update={"width": 12, "height": 20 if chart.kind in ("trend", "number") else min(chart.height, 50)})}


def _dashboard_asset(name: str, dashboard: Dashboard, rows: Sequence[Mapping[str, Chart]], found: Mapping[str, Dataset]) -> dict[str, Any]:
    declared = name.removesuffix(PHONE)
    number = {chart: n for n, chart in enumerate(dashboard.charts, start=1)}
    position: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": dashboard.title}},
    }
    for n, row in enumerate(rows):
        if sum(chart.width for chart in row.values()) > 12:
            raise AssetError(f"{DECLARED.name}/dashboards/{declared}.yaml: row {n + 1}: expected widths of 12 in all at most")
        place = f"ROW-{n}"
        position["GRID_ID"]["children"].append(place)
        position[place] = {"type": "ROW", "id": place, "children": [f"CHART-{c}" for c in row], "parents": ["ROOT_ID", "GRID_ID"],
                           "meta": {"background": "BACKGROUND_TRANSPARENT"}}  # fmt: skip
        for chart, said in row.items():
            meta = {
                "chartId": number[chart],
                "width": said.width,
                "height": said.height,
                "uuid": _id("chart", f"{declared}/{chart}"),
                "sliceName": said.title,
            }
            position[f"CHART-{chart}"] = {
                "type": "CHART",
                "id": f"CHART-{chart}",
                "children": [],
                "parents": ["ROOT_ID", "GRID_ID", place],
                "meta": meta,
            }
    in_scope = list(number.values())
    metadata = {
        "show_native_filters": True,
        "native_filter_configuration": list(_filters(dashboard, found, in_scope)),
        "filter_bar_orientation": "HORIZONTAL",
        "cross_filters_enabled": True,
        "color_scheme": "",
        "label_colors": {},
        "refresh_frequency": 0,
        "timed_refresh_immune_slices": [],
        "expanded_slices": {},
        "default_filters": "{}",
        "chart_configuration": {},
        "global_chart_configuration": {"scope": {"rootPath": ["ROOT_ID"], "excluded": []}, "chartsInScope": in_scope},
    }
    return {
        "dashboard_title": dashboard.title if name == declared else f"{dashboard.title}（手机）",
        "description": None,
        "css": "" if name == declared else _PHONE_CSS,
        "slug": name,
        "uuid": _id("dashboard", name),
        "position": position,
        "metadata": metadata,
        "published": True,
        "is_managed_externally": True,
        "version": _VERSION,
    }


def _filters(dashboard: Dashboard, found: Mapping[str, Dataset], in_scope: Sequence[int]) -> Iterator[dict[str, Any]]:
    titles = {"period": "时间", "city": _PLACED["city_name"], "county": _PLACED["county_name"]}
    region = found["region_overview"].id
    for kind in dashboard.filters:
        name = f"NATIVE_FILTER-{kind}"
        targets: list[dict[str, Any]] = [{}] if kind == "period" else [{"datasetUuid": region, "column": {"name": f"{kind}_name"}}]
        one_of_many = {"multiSelect": True, "enableEmptyFilter": False, "defaultToFirstItem": False, "inverseSelection": False,
                       "searchAllOptions": False, "sortAscending": True}  # fmt: skip
        yield {
            "id": name,
            "name": titles[kind],
            "filterType": "filter_time" if kind == "period" else "filter_select",
            "type": "NATIVE_FILTER",
            "targets": targets,
            "cascadeParentIds": ["NATIVE_FILTER-city"] if kind == "county" and "city" in dashboard.filters else [],
            "description": "",
            "chartsInScope": list(in_scope),
            "tabsInScope": [],
            "controlValues": {} if kind == "period" else one_of_many,
            "defaultDataMask": {"extraFormData": {}, "filterState": {}, "ownState": {}},
            "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
        }


def _id(kind: str, name: str) -> str:
    return str(uuid.uuid5(_SPACE, f"{kind}/{name}"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=1000)
    return text


def labels(found: Iterable[Dataset]) -> Iterator[tuple[str, str]]:
    """(mart.column, label) of every column and metric of every dataset."""
    for dataset in found:
        yield from ((f"{dataset.mart}.{name}", column.label) for name, column in dataset.columns.items())
        yield from ((f"{dataset.mart}.{name}()", metric.label) for name, metric in dataset.metrics.items())
