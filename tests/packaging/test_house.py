"""The shape of the house: what is shipped, what is named, what starts."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ROOMS = ("gridlake", "streaming", "spark_jobs", "serving")
BANNED = re.compile(r"(^|_)(utils?|helpers?|common|base|misc|manager|handler)(_|$)")
TRACKED = [
    CHECKOUT / line
    for line in subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()
    if (CHECKOUT / line).exists()
]


def _listed_packages() -> set[str]:
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    return set(config["options"]["packages"].split())


def test_every_package_with_python_in_it_is_listed() -> None:
    found = {str(p.parent.relative_to(CHECKOUT)).replace("/", ".") for room in ROOMS for p in (CHECKOUT / room).rglob("__init__.py")}
    assert found == _listed_packages()


def test_every_folder_with_python_is_a_package() -> None:
    folders = {p.parent for room in ROOMS for p in (CHECKOUT / room).rglob("*.py")}
    assert [f for f in folders if not (f / "__init__.py").exists()] == []


def test_the_wheel_holds_the_rooms_and_no_tests(tmp_path: Path) -> None:
    uv = CHECKOUT / ".uv" / "bin" / "uv"
    if not uv.exists():
        pytest.skip("no .uv/bin/uv: the environment was not made by `make env`")
    subprocess.run([uv, "build", "--wheel", "--quiet", "--out-dir", tmp_path, CHECKOUT], check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert any(n == "gridlake/cli.py" for n in names)
    assert [n for n in names if n.startswith(("tests/", "dags/"))] == []
    shipped = [n for n in names if not n.endswith(".py") and ".dist-info/" not in n]
    declared = [p for room in ROOMS for p in (CHECKOUT / room).rglob("*") if p.suffix in {".yml", ".sql", ".docx", ".html"}]
    assert len(shipped) == len(declared), "declarations and templates beside the code are package data"


@pytest.mark.parametrize(("group", "at_least"), [("gridlake.steps", 5), ("gridlake.commands", 5), ("gridlake.commands.land", 1)])
def test_every_entry_point_loads(group: str, at_least: int) -> None:
    found = entry_points(group=group)
    assert len(found) >= at_least
    for entry in found:
        assert callable(entry.load()), entry


def test_every_command_explains_itself() -> None:
    from click.testing import CliRunner

    from gridlake.cli import main

    names = main.list_commands(None)  # type: ignore[arg-type]
    assert {
        "run",
        "land",
        "stage",
        "resolve",
        "build",
        "detect",
        "mart",
        "check",
        "publish",
        "report",
        "serve",
        "explain",
        "doctor",
        "feed",
        "model",
        "runs",
    } <= set(names)
    for name in names:
        answer = CliRunner().invoke(main, [name, "--help"])
        assert answer.exit_code == 0, name
        assert len(answer.output) > 100, name


def test_dbt_holds_no_python_and_no_file_shadows_a_library() -> None:
    assert [p for p in TRACKED if p.suffix == ".py" and "dbt" in p.relative_to(CHECKOUT).parts[:1]] == []
    assert [p for p in TRACKED if p.suffix == ".py" and p.name.startswith(("dbt", "airflow"))] == []


def test_no_module_is_named_for_nothing() -> None:
    assert [p for p in TRACKED if p.suffix in {".py", ".sql"} and BANNED.search(p.stem)] == []


def test_java_is_not_needed_to_import_anything() -> None:
    modules = [
        str(p.relative_to(CHECKOUT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for room in ROOMS
        for p in (CHECKOUT / room).rglob("*.py")
    ]
    code = "import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]"
    done = subprocess.run([sys.executable, "-c", code, *modules], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
