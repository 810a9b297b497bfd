"""维护与重新判定 (Airflow DAGs): upkeep of the tables after each snapshot, and refused rows judged again by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from gridlake_dags.assets import CORRECTED, SNAPSHOT
from gridlake_dags.command import Gridlake
from gridlake_dags.declarations import feeds
from gridlake_dags.policy import policy
from gridlake_dags.pools import LAKE_POOL


class Replay(Gridlake):
    """Judges refused rows again, as the form says."""

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """What became, or would become, of the rows by feed."""
        given = context["params"]
        named = [f"--{name}={given[name]}" for name in ("feed", "reason", "since", "sender") if given[name]]
        return self.call(["replay", *named, *(["--dry-run"] if given["dry_run"] else [])])


with DAG(
    dag_id="maintain",
    dag_display_name="④ 湖表维护",
    description="合并小文件、打检查点、按契约的保存期限删除、清除无人引用的文件；每次发布之后",
    schedule=PartitionedAssetTimetable(assets=SNAPSHOT),
    tags=["维护"],
    doc_md="不删除任何快照或运行记录所引用的文件；只删除契约规定了保存期限且已到期的行。",
    **policy(hours=6),
):
    Gridlake(task_id="maintain", task_display_name="维护", arguments=["maintain"], pool=LAKE_POOL)

with DAG(
    dag_id="replay",
    dag_display_name="重新判定拒收数据",
    description="契约、代码表或单位范围更正后，重新判定被拒收的行；采用后自动重新建库",
    schedule=None,
    params={
        "feed": Param(None, type=["null", "string"], enum=[None, *(feed.asked for feed in feeds().values())], title="数据（空 = 全部）"),
        "reason": Param(None, type=["null", "string"], title="拒收原因（规则 或 规则/字段）"),
        "sender": Param(None, type=["null", "string"], title="报送单位代码"),
        "since": Param(None, type=["null", "string"], format="date", title="此日以后接收的（UTC）"),
        "dry_run": Param(True, type="boolean", title="只试算，不落地"),
    },
    tags=["补数"],
    doc_md="行保持原来的位置和批次，只落地一次，可重复执行。先试算，看输出，再落地。",
    **policy(hours=2),
):

    @task(task_id="landed", task_display_name="是否已落地", outlets=[CORRECTED])
    def landed() -> None:
        if get_current_context()["params"]["dry_run"]:
            raise AirflowSkipException("试算，未落地")

    Replay(task_id="replay", task_display_name="重新判定", arguments=["replay"], pool=LAKE_POOL) >> landed()
