"""The steps of a run and the command line of each. Standard library only: Airflow's environment holds no gridlake."""

from __future__ import annotations

import os
import shlex

# As gridlake.runs.STEPS has them; a test compares the two.
STEPS = ("land", "stage", "resolve", "build", "detect", "mart", "check", "publish", "report")
RUN_ID = "GRIDLAKE_RUN_ID"
# Where the gridlake of the project's own environment is; what it reads and writes follows from the other GRIDLAKE_ variables.
COMMAND = "GRIDLAKE_COMMAND"


def bash_command(step: str) -> str:
    """The line that runs one step of the run that $GRIDLAKE_RUN_ID names, its result as JSON in the task's log."""
    return f'{shlex.quote(os.environ.get(COMMAND, "gridlake"))} {step} --run-id "${RUN_ID}" --json'
