"""SQL that Sail and Apache Spark read differently without an error is caught by name, wherever we or a contract write Spark SQL."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from gridlake.contracts import load
from gridlake.settings import CHECKOUT

# what it is called → (how it looks, what to write instead)
TRAPS = {
    "range over an interval": (r"\brange\s+between\s+(interval|[^)]*\binterval\b)", "a range over datediff(d, date '1970-01-01'), or a join on days"),
    "weekday": (r"\bweekday\s*\(|\bextract\s*\(\s*dow\b", "dayofweek(d)"),
    "character class by letter": (r"\\{1,2}[wWdDsSbB](?![a-z])", "classes spelled out: [0-9], [A-Za-z0-9_], [\\u4e00-\\u9fff]"),
    "approximate aggregate": (r"\b(percentile_approx|approx_percentile|approx_count_distinct)\s*\(", "percentile, count(distinct …)"),
    "hash of the engine": (r"\b(hash|xxhash64)\s*\(", "sha2(concat_ws('|', …), 256) over strings"),
    "qualify": (r"\bqualify\b", "a subquery with row_number()"),
    "date minus date": (r"\b(\w*date|date\s*'[^']*')\s+-\s+(\w+\.)?(\w*date\b|date\s*')", "datediff(later, earlier)"),
    "date plus hours": (r"\bdate\s*'[^']*'\s*[+-]\s*interval\s+\S+\s+(hour|minute|second)", "cast the date to timestamp first"),
    "collect_set without order": (r"(?<!array_sort\()\bcollect_set\s*\(", "array_sort(collect_set(x))"),
    "first without order": (r"(?<!\w)(first|last|any_value)\s*\((?![^()]*\border by\b)", "min, max, or row_number() over a full key"),
    "function that differs": (r"\b(initcap|bround|conv|to_json|soundex)\s*\(", "do it another way: the engines disagree"),
    "chance": (r"\b(rand|randn|shuffle|uuid)\s*\(", "sha2 of the key"),
    "wall clock": (r"\b(current_timestamp|current_date|now)\b(?!')", "as_of(): a run has one clock"),
    "list in a JSON path": (r"get_json_object\s*\([^)]*\[\*\]", "from_json with a schema"),
    "substring from the end": (r"\b(substr|substring)\s*\([^,()]+,\s*-", "a positive start"),
    "split into characters": (r"\bsplit\s*\([^,]+,\s*''\s*\)", "an explicit pattern"),
}
CAUGHT = {
    "range over an interval": "sum(x) over (order by d range between interval 6 days preceding and current row)",
    "weekday": "select weekday(d)",
    "character class by letter": r"where x rlike '^\\d+$'",
    "approximate aggregate": "select percentile_approx(x, 0.5)",
    "hash of the engine": "select xxhash64(a, b)",
    "qualify": "select * from t qualify row_number() over (order by a) = 1",
    "date minus date": "select left_date - joined_date",
    "date plus hours": "select date '2026-01-01' + interval 1 hour",
    "collect_set without order": "select collect_set(x)",
    "first without order": "select first(x)",
    "function that differs": "select initcap(name)",
    "chance": "select rand(1)",
    "wall clock": "where at < current_timestamp()",
    "list in a JSON path": "get_json_object(x, '$.a[*].b')",
    "substring from the end": "substr(code, -3)",
    "split into characters": "split(x, '')",
    "doubled quote": "where name = 'it''s'",
}
HARMLESS = """
select dayofweek(d), datediff(later, earlier), percentile(x, 0.5), count(distinct x), array_sort(collect_set(x)), coalesce(a, ''), concat_ws('', a, b)
from t where x rlike '^[0-9]+$' and name = 'it\\'s' and code = '' and first_value(x) over (order by k) = 1 and first_date > date_sub(d, 3)
"""


def traps_in(sql: str) -> list[str]:
    text = re.sub(r"--[^\n]*", "", re.sub(r"\{#.*?#\}", "", sql, flags=re.DOTALL))
    literals = list(re.finditer(r"'(?:[^'\\]|\\.)*'", text, re.DOTALL))
    doubled = any(one.end() == next_one.start() for one, next_one in pairwise(literals))
    return (["doubled quote: write a backslash before the quote"] if doubled else []) + [
        f"{name}: write {instead}" for name, (pattern, instead) in TRAPS.items() if re.search(pattern, text, re.IGNORECASE | re.DOTALL)
    ]


def spark_sql() -> Iterator[Path]:
    for folder in ("dbt", "spark_jobs", "expectations/contracts", "tests/realdata/contracts", "tests/e2e/new_feeds"):
        yield from sorted((CHECKOUT / folder).rglob("*.sql"))


def contract_files() -> Iterator[Path]:
    for folder in ("expectations/contracts", "tests/realdata/contracts", "tests/e2e/new_feeds"):
        yield from sorted((CHECKOUT / folder).glob("*/*.odcs.yaml"))


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


@pytest.mark.parametrize("path", spark_sql(), ids=name_of)
def test_no_sql_file_steps_into_a_trap(path: Path) -> None:
    assert traps_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", contract_files(), ids=name_of)
def test_no_rule_or_map_of_a_contract_steps_into_a_trap(path: Path) -> None:
    contract = load(path)
    written = {rule.name: rule.predicate for rule in contract.rules}
    written |= {name: str(entry["sql"]) for name, entry in contract.mapping.items() if "sql" in entry}
    assert {name: found for name, sql in written.items() if (found := traps_in(sql))} == {}


# Functions of pyspark.sql.functions that stand for SQL of these traps.
CALLS = {
    "weekday": "weekday",
    "percentile_approx": "approximate aggregate",
    "approx_percentile": "approximate aggregate",
    "approx_count_distinct": "approximate aggregate",
    "hash": "hash of the engine",
    "xxhash64": "hash of the engine",
    "first": "first without order",
    "last": "first without order",
    "any_value": "first without order",
    **dict.fromkeys(("initcap", "bround", "conv", "to_json", "soundex"), "function that differs"),
    **dict.fromkeys(("rand", "randn", "shuffle", "uuid"), "chance"),
    **dict.fromkeys(("current_timestamp", "current_date", "now"), "wall clock"),
}
SELECTS = re.compile(r"\bselect\b.*\bfrom\b", re.IGNORECASE | re.DOTALL)
PATTERNS = {"rlike", "regexp", "regexp_like", "regexp_replace", "regexp_extract", "regexp_extract_all", "regexp_count", "split"}
IN_PYTHON = {
    "weekday": "F.weekday('day')",
    "approximate aggregate": "frame.agg(F.percentile_approx('x', 0.5))",
    "hash of the engine": "F.xxhash64('a', 'b')",
    "first without order": "F.first('x')",
    "function that differs": "F.initcap('name')",
    "chance": "F.rand(1)",
    "wall clock": "F.current_timestamp()",
    "collect_set without order": "F.collect_set('x')",
    "character class by letter": r"F.col('x').rlike('^\\d+$')",
    "qualify": "spark.sql(f'select a from {table} qualify row_number() over (order by a) = 1')",
}


def traps_in_python(source: str) -> list[str]:
    """Traps in calls of pyspark's functions, in the patterns they are given, and in texts that are SQL."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_functions = isinstance(node.func.value, ast.Name) and node.func.value.id == "F"
            name = node.func.attr
            if of_functions and name in CALLS:
                found.append(CALLS[name])
            if of_functions and name == "collect_set" and not _is_sorted(parents.get(node)):
                found.append("collect_set without order")
            if name in PATTERNS:
                given = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                found += ["character class by letter"] * any(re.search(TRAPS["character class by letter"][0], text) for text in given)
        text = _text_of(node)
        if (
            text is not None
            and not isinstance(parents.get(node), ast.JoinedStr)
            and re.search(r"\bselect\b.*\bfrom\b", text, re.IGNORECASE | re.DOTALL)
        ):
            found += [trap.partition(":")[0] for trap in traps_in(text)]
    return found


def _is_sorted(around: ast.AST | None) -> bool:
    return isinstance(around, ast.Call) and isinstance(around.func, ast.Attribute) and around.func.attr == "array_sort"


def _text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "x" for p in node.values)
    return None


@pytest.mark.parametrize("path", sorted(p for room in ("gridlake", "spark_jobs") for p in (CHECKOUT / room).rglob("*.py")), ids=name_of)
def test_no_python_that_asks_the_engine_steps_into_a_trap(path: Path) -> None:
    assert traps_in_python(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("trap", IN_PYTHON)
def test_each_trap_is_recognised_in_python(trap: str) -> None:
    assert traps_in_python(IN_PYTHON[trap]) == [trap]


def test_harmless_python_is_let_through() -> None:
    assert traps_in_python("F.array_sort(F.collect_set('x')), F.col('x').rlike('^[0-9]+$'), rows.first(), first('x'), 'select one'") == []


def conditions() -> Iterator[tuple[str, str]]:
    """SQL in YAML: conditions of dbt's tests, queries and row conditions of suites."""
    for path in sorted((CHECKOUT / "dbt" / "models").rglob("*.yml")):
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", []):
            for test in model.get("data_tests", []):
                if isinstance(test, dict) and "holds" in test:
                    yield f"{name_of(path)} {model['name']}", test["holds"]["arguments"]["condition"]
    for path in sorted((CHECKOUT / "expectations" / "suites").glob("*.yml")):
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        yield name_of(path), str(said.get("query", ""))
        yield from ((name_of(path), str(e["where"])) for e in said["expectations"] if "where" in e)


def test_no_condition_or_query_in_yaml_steps_into_a_trap() -> None:
    asked = list(conditions())
    assert len(asked) > 10
    assert {place: found for place, sql in asked if (found := traps_in(sql))} == {}


def bound_parameters_in(source: str) -> list[int]:
    """Lines on which a query is given parameters to bind, which Apache Spark with Delta's parser does not do."""
    calls = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sql"
    )
    return [call.lineno for call in calls if len(call.args) > 1 or call.keywords]


@pytest.mark.parametrize("path", sorted(p for room in ("gridlake", "spark_jobs") for p in (CHECKOUT / room).rglob("*.py")), ids=name_of)
def test_no_query_leaves_its_parameters_to_the_engine(path: Path) -> None:
    assert bound_parameters_in(path.read_text(encoding="utf-8")) == []


def test_a_query_with_parameters_is_recognised() -> None:
    assert bound_parameters_in("spark.sql('select 1')\nspark.sql('select :a', args={'a': 1})\nself.spark.sql('select ?', [1])") == [2, 3]


@pytest.mark.parametrize("trap", CAUGHT)
def test_each_trap_is_recognised(trap: str) -> None:
    assert [found.partition(":")[0] for found in traps_in(CAUGHT[trap])] == [trap]


def test_every_trap_has_an_example() -> None:
    assert TRAPS.keys() <= CAUGHT.keys()


def test_harmless_sql_is_let_through() -> None:
    assert traps_in(HARMLESS) == []


def test_there_is_sql_to_look_at() -> None:
    assert len(list(spark_sql())) > 30
    assert len(list(contract_files())) >= 5
