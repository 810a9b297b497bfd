"""The DAG file runs commands that exist, in the order of a run.

Airflow has an environment of its own, so it is rarely importable here. What can go wrong without it, a step forgotten or an option that
the command lacks, is checked against the command tree itself; a stand-in for Airflow would only test the stand-in. With Airflow at hand
the file is loaded for good.
"""

from __future__ import annotations

import ast
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from gridlake.cli import main
from gridlake.runs import STEPS

DAGS = Path(__file__).parents[2] / "dags"
DAG_FILE = DAGS / "gridlake_province.py"


@pytest.fixture(scope="module")
def steps() -> ModuleType:
    """The helper as Airflow imports it: from the dags folder, not from a package of ours."""
    spec = importlib.util.spec_from_file_location("gridlake_dags.steps", DAGS / "gridlake_dags" / "steps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dag_has_the_steps_of_a_run_in_their_order(steps: ModuleType) -> None:
    assert steps.STEPS == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_each_task_calls_a_command_with_options_that_it_has(steps: ModuleType, step: str) -> None:
    program, name, *arguments = shlex.split(steps.bash_command(step))
    assert program == "gridlake"
    command = main.get_command(click.Context(main), name)
    assert command is not None, f"gridlake has no command {name}"
    context = command.make_context(name, arguments)
    assert context.params["run_id"] == "$GRIDLAKE_RUN_ID"
    assert context.params["as_json"] is True


def test_the_gridlake_of_another_environment_is_called_where_a_variable_says(steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDLAKE_COMMAND", "/opt/grid lake/bin/gridlake")
    assert shlex.split(steps.bash_command("land"))[0] == "/opt/grid lake/bin/gridlake"


def test_a_run_id_is_never_read_as_shell(steps: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDLAKE_COMMAND", "/bin/echo")
    hostile = "manual__2026\"; touch /tmp/x; $(id) `id` '+00:00"
    done = subprocess.run(["bash", "-c", steps.bash_command("land")], env={"GRIDLAKE_RUN_ID": hostile}, capture_output=True, text=True, check=True)
    assert done.stdout == f"land --run-id {hostile} --json\n"


def test_the_dag_file_imports_nothing_but_the_standard_library_airflow_and_its_helper() -> None:
    allowed = set(sys.stdlib_module_names) | {"airflow", "gridlake_dags"}
    for path in [DAG_FILE, *(DAGS / "gridlake_dags").glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert {n.partition(".")[0] for n in names} <= allowed, path


def test_airflow_loads_the_file_as_one_chain_of_all_steps() -> None:
    dagbag = pytest.importorskip("airflow.dag_processing.dagbag", reason="Airflow is installed in an environment of its own, not here")
    bag = dagbag.BundleDagBag(DAGS, bundle_path=DAGS, bundle_name="dags-folder")
    assert bag.import_errors == {}
    dag = bag.dags["gridlake_province"]
    assert [t.task_id for t in dag.topological_sort()] == list(STEPS)
    assert [sorted(dag.get_task(s).downstream_task_ids) for s in STEPS[:-1]] == [[s] for s in STEPS[1:]]
