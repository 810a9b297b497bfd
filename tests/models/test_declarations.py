"""Model and factor files: what is read, and what each mistake is told."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from gridlake.cli import main
from gridlake.settings import Settings
from spark_jobs.declarations import BUILT_IN, DeclarationError, Factor, load_factors, load_models

MODEL: dict[str, Any] = {
    "title": {"zh": "夜间无效", "en": "Void at night"},
    "subject": "event",
    "period": "once",
    "purpose": "例子",
    "version": "1.0.0",
    "owner": "甲组",
    "threshold": 0.5,
    "factors": [{"factor": "after_hours", "weight": 1, "reason": {"zh": "{hour} 时上报", "en": "reported at {hour}"}}],
}


def _settings(folder: Path) -> Settings:
    return Settings(home=folder / "lake", contracts=folder)


@pytest.fixture
def declare(tmp_path: Path) -> Callable[..., Settings]:
    """Write the example model with some keys replaced (None: taken out) beside the built-in ones."""

    def write(**changes: Any) -> Settings:
        document = {k: v for k, v in {**MODEL, **changes}.items() if v is not None}
        path = tmp_path / "detect" / "night.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        return _settings(tmp_path)

    return write


@pytest.mark.parametrize("path", sorted((BUILT_IN / "models").glob("*.yml")), ids=lambda p: p.stem)
def test_every_built_in_model_loads_and_can_reach_its_threshold(path: Path) -> None:
    model = load_models(Settings())[path.stem]
    assert sum(w.weight for w in model.factors) >= model.threshold


@pytest.mark.parametrize("path", sorted((BUILT_IN / "factors").glob("*.yml")), ids=lambda p: p.stem)
def test_every_parameter_of_a_built_in_factor_is_used_by_its_query(path: Path) -> None:
    factor = load_factors(Settings())[path.stem]
    assert [name for name in factor.parameters if f":{name}" not in factor.sql] == []


def test_a_model_in_the_given_folder_joins_the_built_in_ones(declare: Callable[..., Settings]) -> None:
    models = load_models(declare())
    assert set(models) >= {"invalid_event", "night"}
    assert models["night"].factors[0].weight == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threshold": None}, "threshold: field required"),
        ({"threshold": "0.5"}, "threshold: input should be a valid number, found '0.5'"),
        ({"threshold": 0}, "threshold: input should be greater than 0"),
        ({"threshold": 1.5}, "threshold 1.5 is above the highest score there can be, 1"),
        ({"weights": {}}, "weights: extra inputs are not permitted"),
        ({"subject": "moon"}, "subject: input should be 'event'"),
        ({"period": "year"}, "period: input should be 'once', 'day' or 'month', found 'year'"),
        ({"version": 1.0}, "version: input should be a valid string, found 1.0"),
        ({"title": {"zh": "只有中文"}}, "title.en: field required"),
        ({"factors": []}, "factors: "),
        ({"id": "night"}, "id: the file's name and place say that; take it out"),
        ({"factors": [{**MODEL["factors"][0], "factor": "astrology"}]}, "factor 'astrology' is not declared; there are after_hours, burst"),
        ({"factors": [MODEL["factors"][0]] * 2}, "factor 'after_hours' is weighed twice"),
        ({"factors": [{**MODEL["factors"][0], "reason": {"zh": "{name} 上报", "en": "x"}}]}, "its reason names name; numbers of this factor: hour"),
        ({"factors": [{**MODEL["factors"][0], "reason": {"zh": "{hour", "en": "x"}}]}, "has a brace that does not name a number"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else None,
)
def test_a_wrong_model_is_refused_with_file_place_and_remedy(declare: Callable[..., Settings], changes: dict[str, Any], said: str) -> None:
    settings = declare(**changes)
    with pytest.raises(DeclarationError) as error:
        load_models(settings)
    assert "night.yml: " in str(error.value)
    assert said in str(error.value)


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "detect").mkdir()
    for text, said in (("title: [", "not a YAML document"), ("- a", "expected keys and values"), ("", "expected keys and values")):
        (tmp_path / "detect" / "broken.yml").write_text(text, encoding="utf-8")
        with pytest.raises(DeclarationError, match=said):
            load_models(_settings(tmp_path))


def test_a_second_model_of_one_name_is_refused(declare: Callable[..., Settings]) -> None:
    settings = declare()
    assert settings.contracts is not None
    (settings.contracts / "detect" / "night.yml").rename(settings.contracts / "detect" / "invalid_event.yml")
    with pytest.raises(DeclarationError, match=r"invalid_event is already declared by .*rename one"):
        load_models(settings)


def test_a_factor_without_its_query_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "detect" / "factors"
    folder.mkdir(parents=True)
    (folder / "lonely.yml").write_text("title: {zh: 甲, en: a}\nsubject: event\ndescription: x\n", encoding="utf-8")
    with pytest.raises(DeclarationError, match=r"lonely.yml: expected its query in lonely.sql beside it"):
        load_factors(_settings(tmp_path))


def test_the_examples_of_the_how_to_are_a_model_and_a_factor(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-model.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n)+", page, re.MULTILINE)]
    for start, name in (
        ("# my-contracts/detect/", "reported_at_night.yml"),
        ("# long_description.yml", "factors/long_description.yml"),
        ("-- long_", "factors/long_description.sql"),
    ):
        text = next(block for block in blocks if start in block)
        path = tmp_path / "detect" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[text.index(start) :].partition("\n\n")[0], encoding="utf-8")
    assert "reported_at_night" in load_models(_settings(tmp_path))
    assert load_factors(_settings(tmp_path))["long_description"].parameters == {"characters": 500}


def test_model_list_says_what_each_model_weighs() -> None:
    done = CliRunner().invoke(main, ["model", "list", "--json"])
    assert done.exit_code == 0, done.output
    listed = {m["id"]: m for m in json.loads(done.stdout)}
    assert set(listed["invalid_event"]) >= {"id", "title", "subject", "threshold", "factors", "version"}
    assert listed["invalid_event"]["factors"]["nil_report"] == 0.7
    assert "无效事件筛选" in CliRunner().invoke(main, ["model", "list"]).stdout


def test_model_show_gives_parameters_and_reasons_of_each_factor() -> None:
    done = CliRunner().invoke(main, ["model", "show", "invalid_event", "--json"])
    assert done.exit_code == 0, done.output
    factors = {f["factor"]: f for f in json.loads(done.stdout)["factors"]}
    assert factors["near_duplicate"]["parameters"]["days"] == 3
    assert "{similarity_pct}" in factors["near_duplicate"]["reason"]["zh"]
    assert "近似重复上报" in CliRunner().invoke(main, ["model", "show", "invalid_event"]).stdout


def test_model_show_of_an_unknown_model_names_those_there_are() -> None:
    done = CliRunner().invoke(main, ["model", "show", "nothing"])
    assert done.exit_code == 1
    assert "no model 'nothing'; there are invalid_event" in done.output


def test_a_wrong_declaration_ends_the_command_with_its_message(declare: Callable[..., Settings]) -> None:
    settings = declare(threshold=9)
    done = CliRunner().invoke(main, ["model", "list", "--contracts", str(settings.contracts)])
    assert done.exit_code == 1
    assert "threshold 9" in done.output


def _factor(sql: str, **parameters: Any) -> Factor:
    text = {"zh": "甲", "en": "a"}
    return Factor(title=text, subject="event", description="例子", parameters=parameters, id="a", sql=sql, path=Path("a.yml"))  # type: ignore[arg-type]


def test_parameters_become_literals_of_their_own_type() -> None:
    factor = _factor("select :days, :share, :is_on, :words", days=3, share=1e-7, is_on=True, words="未发现'\\d")
    assert factor.query == r"select (3), (1e-07d), true, '未发现\'\\d'"


def test_what_looks_like_a_parameter_in_a_text_a_comment_or_a_cast_is_left_alone() -> None:
    sql = "-- the reporter's :days\nselect ':days', 'it\\'s :days', a::days from b where c = :days"
    assert _factor(sql, days=3).query == sql.removesuffix(":days") + "(3)"


def test_a_query_that_asks_for_an_undeclared_parameter_is_refused() -> None:
    with pytest.raises(DeclarationError, match="asks for :hours; parameters: days; declare it"):
        _ = _factor("select :hours", days=3).query
