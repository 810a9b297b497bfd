"""Models and factors as their files declare them: read, checked, found by folder.

A model is `models/<model>.yml`; a factor is `factors/<factor>.yml` with `<factor>.sql` beside it. `<--contracts DIR>/detect/<model>.yml` and
`<DIR>/detect/factors/` add to the built-in ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, TypeVar

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from gridlake.runs import RunError
from gridlake.settings import Settings

BUILT_IN = Path(__file__).resolve().parent
EXTRA = "detect"

Parameter = bool | int | float | str

# A quoted text or a comment, which are left as they are, or a parameter's name.
_PARAMETER = re.compile(r"'(?:[^'\\]|\\.)*'|--[^\n]*|(?<![:\w]):([a-z_][a-z0-9_]*)")


class DeclarationError(RunError):
    """A model or factor file that says something impossible; the message names file, place and remedy."""


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Text(_Declaration):
    """One text in Chinese and in English."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    @property
    def numbers(self) -> list[str]:
        """The names in braces, in order of appearance in either language."""
        return list(dict.fromkeys(name for text in (self.zh, self.en) for _, name in template_parts(text) if name is not None))


class Factor(_Declaration):
    """A signal between 0 and 1 about a subject, given by one SQL query; computed once for all models that weigh it.

    The query gives at most one row per subject: subject_id, value, evidence_id, evidence_type and one whole number for each of `numbers`.
    With `lookback_days` it may be asked for the subjects of some days at a time: the views `event` and `event_text` then hold those days and
    so many before. Where a subject is compared with many others, `rows_at_a_time` keeps the slices small.
    """

    title: Text
    subject: Literal["event"]
    description: str
    lookback_days: Annotated[int, Field(ge=0)] | None = None
    rows_at_a_time: Annotated[int, Field(gt=0)] | None = None
    parameters: Mapping[str, Parameter] = {}
    numbers: Mapping[str, str] = {}
    id: str
    sql: str
    path: Path

    @property
    def query(self) -> str:
        """The SQL with its parameters written in as literals, since Delta's parser on Apache Spark 4.2 binds none."""

        def written(found: re.Match[str]) -> str:
            name = found[1]
            if name is None:
                return found[0]
            if name not in self.parameters:
                raise DeclarationError(f"{self.path}: the query asks for :{name}; parameters: {', '.join(self.parameters) or 'none'}; declare it")
            return _literal(self.parameters[name])

        return _PARAMETER.sub(written, self.sql)


class WeightedFactor(_Declaration):
    """What a factor contributes to a model's score (weight × value) and how the finding says so."""

    factor: str
    weight: Annotated[float, Field(gt=0)]
    reason: Text


class Model(_Declaration):
    """A weighted sum of factors with a threshold."""

    title: Text
    subject: Literal["event"]
    period: Literal["once", "day", "month"]
    purpose: str
    version: str = Field(pattern=r"[0-9]+\.[0-9]+\.[0-9]+")
    owner: str
    threshold: Annotated[float, Field(gt=0)]
    factors: Annotated[tuple[WeightedFactor, ...], Field(min_length=1, strict=False)]
    id: str
    path: Path


def load_factors(settings: Settings) -> dict[str, Factor]:
    """Every factor by id; the same id twice is an error."""
    return _by_id(load_factor(path) for folder in _folders(settings, "factors") for path in sorted(folder.glob("*.yml")))


def load_models(settings: Settings) -> dict[str, Model]:
    """Every model by id, each checked against the factors there are."""
    factors = load_factors(settings)
    models = _by_id(load_model(path) for folder in _folders(settings, "models") for path in sorted(folder.glob("*.yml")))
    for model in models.values():
        _check(model, factors)
    return models


def load_factor(path: Path) -> Factor:
    """One factor from `<factor>.yml` and the query `<factor>.sql` beside it."""
    query = path.with_suffix(".sql")
    if not query.exists():
        raise DeclarationError(f"{path}: expected its query in {query.name} beside it, found none; write one that gives subject_id, value, …")
    return _read(Factor, path, sql=query.read_text(encoding="utf-8"))


def load_model(path: Path) -> Model:
    """One model from `<model>.yml`; `load_models` also checks its factors."""
    return _read(Model, path)


def template_parts(template: str) -> list[tuple[str, str | None]]:
    """A reason's text as (literal, name of the number after it or None)."""
    return [(literal, name) for literal, name, _, _ in Formatter().parse(template)]


def _literal(value: Parameter) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    # A double outright: without the letter it would be a decimal, whose scale the engines reckon differently.
    return f"({value})" if isinstance(value, int) else f"({value!r}d)"


def _folders(settings: Settings, kind: Literal["models", "factors"]) -> list[Path]:
    folders = [BUILT_IN / kind]
    if settings.contracts:
        extra = settings.contracts / EXTRA
        folders.append(extra / kind if kind == "factors" else extra)
    return folders


_D = TypeVar("_D", Factor, Model)


def _read(kind: type[_D], path: Path, **more: str) -> _D:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path}: not a YAML document: {error}") from error
    if not isinstance(document, dict):
        raise DeclarationError(f"{path}: expected keys and values ({', '.join(_keys(kind))}), found {type(document).__name__}")
    repeated = sorted({"id", "path", *more} & document.keys())
    if repeated:
        raise DeclarationError(f"{path}: {', '.join(repeated)}: the file's name and place say that; take it out")
    try:
        declared = kind.model_validate({**document, "id": path.stem, "path": path, **more})
        for text in _texts(declared):
            _ = text.numbers
    except pydantic.ValidationError as error:
        problems = "; ".join(_problem(e) for e in error.errors())
        raise DeclarationError(f"{path}: {problems}. Keys of a {kind.__name__.lower()}: {', '.join(_keys(kind))}") from error
    except ValueError as error:
        raise DeclarationError(
            f"{path}: a reason's text has a brace that does not name a number: {error}; write {{minutes}}, or {{{{ for a brace"
        ) from error
    return declared


def _texts(declared: Factor | Model) -> list[Text]:
    return [w.reason for w in declared.factors] if isinstance(declared, Model) else []


def _keys(kind: type[BaseModel]) -> list[str]:
    return [name for name in kind.model_fields if name not in {"id", "path", "sql"}]


def _problem(error: Mapping[str, object]) -> str:
    place = ".".join(str(p) for p in error["loc"]) if isinstance(error["loc"], tuple) else ""
    came = "" if error["type"] == "missing" else f", found {error['input']!r}"
    return f"{place}: {str(error['msg']).lower()}{came}"


def _by_id(declarations: Iterable[_D]) -> dict[str, _D]:
    found: dict[str, _D] = {}
    for declared in declarations:
        if declared.id in found:
            raise DeclarationError(f"{declared.path}: {declared.id} is already declared by {found[declared.id].path}; rename one")
        found[declared.id] = declared
    return found


def _check(model: Model, factors: Mapping[str, Factor]) -> None:
    seen: set[str] = set()
    for weighted in model.factors:
        place = f"{model.path}: factor {weighted.factor!r}"
        factor = factors.get(weighted.factor)
        if factor is None:
            raise DeclarationError(f"{place} is not declared; there are {', '.join(factors)}")
        if factor.subject != model.subject:
            raise DeclarationError(f"{place} is about a {factor.subject}, the model about a {model.subject}; weigh factors of one subject")
        if weighted.factor in seen:
            raise DeclarationError(f"{place} is weighed twice; give it one weight")
        seen.add(weighted.factor)
        unknown = [n for n in weighted.reason.numbers if n not in factor.numbers]
        if unknown:
            given = ", ".join(factor.numbers) or "none"
            raise DeclarationError(f"{place}: its reason names {', '.join(unknown)}; numbers of this factor: {given}")
    most = sum(w.weight for w in model.factors)
    if model.threshold > most:
        raise DeclarationError(f"{model.path}: threshold {model.threshold} is above the highest score there can be, {most:g}; lower it")
