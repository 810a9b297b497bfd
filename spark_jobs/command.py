"""`gridlake model …`: what models there are and what each weighs."""

from __future__ import annotations

from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gridlake.cli import command_options, emit, fail
from gridlake.settings import Settings
from spark_jobs.declarations import DeclarationError, Factor, Model, load_factors, load_models


@click.group()
def model() -> None:
    """Risk models: what each looks for, its factors, weights and threshold."""


@model.command("list")
@command_options
def list_models(settings: Settings, as_json: bool) -> None:
    """Every model: id, title, subject, threshold, factors, version."""
    models = load_models(settings)

    def text(console: Console) -> None:
        # Without frames all six columns fit a terminal of 80 columns.
        table = Table(title="模型 Models", box=SIMPLE_HEAD, pad_edge=False)
        for column in ("id", "title", "subject", "threshold", "factors", "version"):
            table.add_column(column, overflow="fold")
        for one in models.values():
            factors = "\n".join(f"{w.factor} {w.weight:g}" for w in one.factors)
            table.add_row(one.id, f"{one.title.zh}\n{one.title.en}", one.subject, f"{one.threshold:g}", factors, one.version)
        console.print(table)

    emit([_summary(one) for one in models.values()], as_json=as_json, text=text)


@model.command("show")
@click.argument("model_id")
@command_options
def show_model(settings: Settings, as_json: bool, model_id: str) -> None:
    """One model: purpose, owner, and for each factor its weight, parameters and what the finding will say."""
    models, factors = load_models(settings), load_factors(settings)
    if model_id not in models:
        fail(DeclarationError(f"no model {model_id!r}; there are {', '.join(models)}"), as_json=as_json)
    one = models[model_id]

    def text(console: Console) -> None:
        console.print(f"{one.id} {one.version}  {one.title.zh} / {one.title.en}", highlight=False)
        console.print(f"{one.purpose}\nsubject {one.subject}, period {one.period}, threshold {one.threshold:g}, owner {one.owner}", highlight=False)
        table = Table()
        for column in ("factor", "weight", "parameters", "reason"):
            table.add_column(column, overflow="fold")
        for w in one.factors:
            parameters = "\n".join(f"{name} = {value}" for name, value in factors[w.factor].parameters.items())
            table.add_row(f"{w.factor}\n{factors[w.factor].title.zh}", f"{w.weight:g}", parameters, f"{w.reason.zh}\n{w.reason.en}")
        console.print(table)
        console.print(f"{one.path}", highlight=False, soft_wrap=True)

    emit(_detail(one, factors), as_json=as_json, text=text)


def _summary(one: Model) -> dict[str, Any]:
    return {
        "id": one.id,
        "title": one.title.model_dump(),
        "subject": one.subject,
        "period": one.period,
        "threshold": one.threshold,
        "version": one.version,
        "owner": one.owner,
        "purpose": one.purpose,
        "factors": {w.factor: w.weight for w in one.factors},
    }


def _detail(one: Model, factors: dict[str, Factor]) -> dict[str, Any]:
    described = [
        {"factor": w.factor, "weight": w.weight, "reason": w.reason.model_dump()}
        | factors[w.factor].model_dump(mode="json", include={"title", "description", "parameters", "numbers"})
        for w in one.factors
    ]
    return {**_summary(one), "factors": described, "path": str(one.path)}
