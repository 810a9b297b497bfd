"""The main job as an Airflow DAG: each step of `gridlake run` as a process of its own, all under one run id.

Airflow lives in its own environment, so nothing of gridlake is imported here. A step may be killed and repeated: retries are safe.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronDataIntervalTimetable
from gridlake_dags.steps import RUN_ID, STEPS, bash_command

with DAG(
    dag_id="gridlake_province",
    dag_display_name="网格数据全流程",
    description="落地、归一、建库、识别、发布、出报告，每日一次",
    # After midnight, when the day's deliveries are complete.
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="Asia/Shanghai"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # A lake has one writing process at a time.
    max_active_runs=1,
    default_args={
        "owner": "gridlake",
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(hours=4),
    },
    tags=["gridlake"],
    doc_md=__doc__,
) as dag:
    previous = None
    for step in STEPS:
        # The run id reaches the shell as a variable's value, which it does not interpret, whoever chose the id.
        task = BashOperator(task_id=step, bash_command=bash_command(step), env={RUN_ID: "{{ run_id }}"}, append_env=True)
        if previous is not None:
            previous >> task
        previous = task
