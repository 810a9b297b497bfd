"""The operator of every task: starts `gridlake …` in gridlake's own environment and shows what it answered as the task's output."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

# Where the gridlake of the project's own environment is; what it reads and writes follows from the other GRIDLAKE_ variables.
COMMAND = "GRIDLAKE_COMMAND"
# What is wrong with declarations or data is so at the next try too.
_NOT_MENDED_BY_WAITING = {
    "PublicationStopped",
    "ReportStopped",
    "ContractError",
    "SenderError",
    "VocabularyError",
    "CredentialError",
    "RecipientError",
}
# What a step tells the next one, and the whole of an output's size.
_NOT_SHOWN = {"months", "since", "after_run", "libraries"}
# A process that is told to end finishes the commit that it has begun.
_SECONDS_TO_END = 30
LABEL = "{{ label }}"
# The output's numbers in a line, as the list of a task's outputs shows them unopened.
SUMMARY = "摘要"


class Gridlake(BaseOperator):
    """One command. Its JSON answer is the output (`return_value`), its log the task's, its error the task's failure.

    A task that was killed with its worker may leave the command running: the next try waits for it by failing until the lake is free.
    """

    template_fields = ("arguments", "lineage_parent")
    ui_color = "#e3edf7"

    def __init__(self, *, arguments: Sequence[str], shown_as: str = "", **given: Any) -> None:
        super().__init__(**given)
        self.arguments, self.shown_as = arguments, shown_as
        # By which OpenLineage's events of gridlake's run hang below this task.
        self.lineage_parent = "{{ macros.OpenLineageProviderPlugin.lineage_parent_id(task_instance) }}"
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Run the command; gives what it answered."""
        _show(context, self.shown_as or _last(self.arguments))
        answer = told(self.call(self.arguments), self.arguments)
        _show(context, f"{self.shown_as or _last(self.arguments)}{said(answer)}")
        if in_short := summary(answer):
            context["ti"].xcom_push(key=SUMMARY, value=in_short)
        for outlet in self.outlets:
            tell(context, outlet, for_event(answer))
        return answer

    def call(self, arguments: Sequence[str]) -> dict[str, Any]:
        """What `gridlake <arguments> --json` prints; raises AirflowException with its error."""
        command = [os.environ.get(COMMAND, "gridlake"), *(str(a) for a in arguments), "--json"]
        self.log.info("%s", " ".join(command))
        given = {**os.environ, "OPENLINEAGE_PARENT_ID": self.lineage_parent}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=given, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        listening = threading.Thread(target=self._repeat, args=(self._process.stderr,))
        listening.start()
        printed = self._process.stdout.read() if self._process.stdout else ""
        ended_with = self._process.wait()
        listening.join()
        answer = json.loads(printed) if printed.strip() else {}
        if ended_with and not self.accepts(answer):
            raise self.failure(answer, f"gridlake {' '.join(arguments)} 以 {ended_with} 结束，原因见日志")
        return answer if isinstance(answer, dict) else {"entries": answer}

    def accepts(self, answer: Mapping[str, Any]) -> bool:
        """Whether the task succeeds although the command has failed with that answer."""
        return False

    def failure(self, answer: Mapping[str, Any], otherwise: str) -> Exception:
        """What to raise where the command has failed with that answer."""
        kind = AirflowFailException if answer.get("error") in _NOT_MENDED_BY_WAITING else AirflowException
        return kind(answer.get("message") or otherwise)

    def on_kill(self) -> None:
        """End the command with its task."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _repeat(self, lines: Any) -> None:
        for line in lines:
            self.log.info("%s", line.rstrip())


def tell(context: Mapping[str, Any], asset: Asset, extra: Mapping[str, Any]) -> None:
    """Say of an asset that it is there: of the round that the run belongs to, and of one of its own where somebody has started the run by hand."""
    event = context["outlet_events"][asset]
    event.extra = dict(extra)
    if not context["dag_run"].partition_key:
        event.add_partitions(context["run_id"])


def told(answer: Mapping[str, Any], arguments: Sequence[str] = ()) -> dict[str, Any]:
    """What an engineer looks for in an answer: rows, tests, refused shares. Of one library among several that library's."""
    library = arguments[arguments.index("--library") + 1] if "--library" in arguments else None
    chosen = {"run_id": answer.get("run_id"), **answer["libraries"][library]} if library else answer
    shown = {name: value for name, value in chosen.items() if name not in _NOT_SHOWN}
    if isinstance(tables := shown.get("tables"), dict) and all(isinstance(rows, int) for rows in tables.values()):
        shown["rows"] = sum(tables.values())
    return shown


def said(answer: Mapping[str, Any]) -> str:
    """The same in few words, for the label of a mapped task."""
    if "received" not in answer:
        return ""
    share = f" 拒 {answer['refused_pct']}%" if answer.get("refused_pct") else ""
    return f" 收 {answer['received']:,}{share}"


def summary(answer: Mapping[str, Any]) -> str:
    """Counts, refused share, rows, tests, snapshot, as far as an answer has them."""
    found = []
    if "received" in answer:
        share = "" if answer.get("refused_pct") is None else f"（{answer['refused_pct']}%）"
        found.append(
            f"接收 {answer['received']:,} = 采用 {answer['accepted']:,} + 拒收 {answer['refused']:,}{share}"
            f" + 重复 {answer['duplicate']:,} + 待关联 {answer['waiting']:,}"
        )
    if "rows" in answer:
        found.append(f"{len(answer['tables'])} 张表 {answer['rows']:,} 行")
    if "tests" in answer:
        found.append(f"测试通过 {answer['tests']['passed']:,}，未通过 {answer['tests']['failed']:,}")
    if "checks" in answer:
        counts = answer["checks"]
        found.append(f"检查通过 {counts['passed']:,}，未通过 {counts['failed']:,}，其中严重 {counts['critical_failed']:,}")
    if "findings" in answer:
        found.append(f"线索 {sum(model['count'] for model in answer['findings'].values()):,} 条")
    if snapshot := answer.get("snapshot"):
        # A step gives what it published, a report the id of what it was made from.
        found.append(f"快照 {snapshot if isinstance(snapshot, str) else snapshot['id']}")
    if "sent_before" in answer:
        found.append(f"已寄 {len(answer['sent']):,} 封，暂未收 {len(answer['deferred']):,} 封，被拒 {len(answer['refused']):,} 封")
    if "reports" in answer:
        found.append(f"报告 {len(answer['reports']):,} 件")
    if "issues" in answer:
        found.append(f"报告 {len(answer['issues']):,} 份，未出 {len(answer['stopped']):,} 份")
    return "；".join(found)


def for_event(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What goes with an asset's event: numbers, ids and what stands in them, no long lists."""
    return {name: value for name, value in answer.items() if isinstance(value, (int, float, str)) or name in {"pending", "snapshot"}}


def _show(context: Mapping[str, Any], label: str) -> None:
    context["label"] = label  # type: ignore[index]


def _last(arguments: Sequence[str]) -> str:
    return str(arguments[-1]) if arguments else ""
