"""建库与发布 (an Airflow DAG): when every feed of a round is landed, one run of the lake from its cut to the reports.

One DAG, not one a step: the steps of a run replace tables in place, so no other run may come between them, and a DAG that has one active run
is what holds that over a restart.
"""

from __future__ import annotations

from functools import reduce
from operator import and_

from airflow.sdk import DAG, PartitionedAssetTimetable
from gridlake_dags.assets import SNAPSHOT, bronze
from gridlake_dags.command import Gridlake
from gridlake_dags.declarations import feeds
from gridlake_dags.policy import policy
from gridlake_dags.pools import LAKE_POOL

LIBRARIES = {"theme": "主题库", "item": "事项库", "business": "业务库", "sharing": "共享库"}
# What each task comes after, as the models read each other; gridlake refuses to build a library before those that it reads.
STEPS = {
    "cut": ("确定取数范围", ()),
    "stage": ("归一", ("cut",)),
    "resolve": ("认同一人一地", ("stage",)),
    "build__theme": ("建主题库", ("resolve",)),
    "build__item": ("建事项库", ("resolve",)),
    "build__business": ("建业务库", ("build__theme", "build__item")),
    "build__sharing": ("建共享库", ("build__theme",)),
    "detect": ("识别问题与风险", ("build__business", "build__sharing")),
    "mart": ("汇总", ("detect",)),
    "check": ("质检", ("mart",)),
    "publish": ("发布快照", ("check",)),
    "report": ("出省级报告", ("publish",)),
}
RUN = ["--run-id", "{{ run_id }}"]


def _arguments(step: str) -> list[str]:
    # What lies in no feed's folder is landed here, and the cut is taken.
    name, _, library = ("land" if step == "cut" else step).partition("__")
    return [name, *(["--library", library] if library else []), *RUN]


with DAG(
    dag_id="province",
    dag_display_name="② 建库与发布",
    description="各项数据落地齐后：定版、归一、建库、识别、汇总、质检、发布、出报告",
    schedule=PartitionedAssetTimetable(assets=reduce(and_, (bronze(feed) for feed in feeds().values()))),
    tags=["建库", "发布"],
    doc_md="""### 建库与发布

同一轮的所有数据落地齐后自动开始，也可手动触发。一次运行读同一个版本的原始表（确定取数范围），各步依次替换库表，同一时间只有一次运行。
每库一个 dbt 进程；各表行数、测试结果见任务的 XCom。质检有严重问题时不发布，上一个快照照旧。

与命令行 `gridlake run` 结果相同。失败的任务清除后从断点继续。
""",
    **policy(hours=6),
) as dag:
    tasks: dict[str, Gridlake] = {}
    for step, (title, above) in STEPS.items():
        outlets = [SNAPSHOT] if step == "publish" else []
        tasks[step] = Gridlake(task_id=step, task_display_name=title, arguments=_arguments(step), outlets=outlets, pool=LAKE_POOL)
        for other in above:
            tasks[other] >> tasks[step]
