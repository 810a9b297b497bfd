"""GLOSSARY.md is true to the code: sorted, each term once, every name really there."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
ROOMS = ("gridlake", "streaming", "spark_jobs", "serving", "dags", "dbt", "expectations", "infra")
KINDS = {".py", ".sql", ".yml", ".yaml", ".csv"}
TERMS, ABBREVIATIONS = (CHECKOUT / "GLOSSARY.md").read_text(encoding="utf-8").split("## Abbreviations")


def table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def words() -> set[str]:
    files = (p for room in ROOMS for p in (CHECKOUT / room).rglob("*") if p.suffix in KINDS and not p.name.startswith("regions_"))
    return {word for p in files for word in re.findall(r"[A-Za-z_]+", f"{p.stem} {p.read_text(encoding='utf-8')}")}


def test_terms_are_sorted_by_their_english_and_each_stands_once() -> None:
    english = [row[1] for row in table(TERMS)]
    assert english == sorted(set(english), key=str.lower)
    assert len(english) >= 80
    assert all(re.search(r"[\u4e00-\u9fff]", row[0]) for row in table(TERMS))


def test_every_name_in_code_type_stands_in_the_code() -> None:
    known = words()
    named = {name for row in table(TERMS) for name in re.findall(r"`([^`]+)`", row[2])}
    assert len(named) > 80
    assert {n for n in named if n not in known and not any(w.endswith(n) for w in known if n.startswith("_"))} == set()


def test_a_reserved_name_becomes_code_type_as_soon_as_the_code_has_it() -> None:
    reserved = {row[2] for row in table(TERMS) if "`" not in row[2]}
    tables = {p.stem for p in (CHECKOUT / "dbt" / "models").rglob("*.sql")} | {
        p.name.split(".")[0] for p in (CHECKOUT / "expectations").rglob("*.odcs.yaml")
    }
    assert reserved & tables == set()


def test_abbreviations_are_sorted_and_each_stands_once() -> None:
    short = [row[0] for row in table(ABBREVIATIONS)]
    assert short == sorted(set(short))
