"""`gridlake replay` and `gridlake quarantine`: why rows are held back, and what became of them once the cause is mended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gridlake.cli import command_options, emit
from gridlake.regions import RegionTree
from gridlake.runs import Run, RunError
from gridlake.settings import Settings
from streaming.feed_lander import FeedLander, prepare
from streaming.held import HeldRows, Wanted
from streaming.inbox_command import feed_id
from streaming.quarantine import REFUSED, UNROUTED, WAITING
from streaming.replay import Replay
from streaming.waiting import WaitingRoom

_SINCE = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"])
_KINDS = """
    select
        $feed as feed, coalesce(_sender_code, '') as sender_code, state, r.rule as rule, coalesce(r.field, '') as field, r.detail as expected,
        count(*) as rows, min(_received_at) as first_seen_at, max(_received_at) as last_seen_at, count(distinct _delivery_id) as deliveries
    from (select *, unnest(reasons) as r from held where {condition})
    where {rule}
    group by all
    order by rows desc, rule, field, sender_code
"""


@click.command()
@click.option("--feed", help="<source>.<feed>; without it every feed.")
@click.option("--reason", help="Only rows refused for this rule, or rule/field, as receipts and `gridlake quarantine list` name it.")
@click.option("--since", type=_SINCE, help="Only rows received at that time (UTC) or later.")
@click.option("--sender", help="Only rows of this sender.")
@click.option("--waiting", "is_waiting", is_flag=True, help="Instead of refused rows, those at a gate that is open now; landing does this by itself.")
@click.option("--dry-run", is_flag=True, help="Only say what would become of them.")
@command_options
def replay(
    settings: Settings,
    as_json: bool,
    feed: str | None,
    reason: str | None,
    since: datetime | None,
    sender: str | None,
    is_waiting: bool,
    dry_run: bool,
) -> None:
    """Judge refused rows again after a contract, a code list or a sender's regions were mended, and land what is now good.

    A row keeps its position and delivery and is landed once, however often a replay is stopped and repeated. It moves between
    states (refused, waiting, duplicate, accepted) and is not received again: receipts get corrections.

    \b
    gridlake quarantine list                                              what is refused, and why
    gridlake replay --feed city_platform.event --reason code_list/class_code --dry-run
    gridlake replay --feed city_platform.event --reason code_list/class_code
    """
    if is_waiting and (reason or since or sender or dry_run):
        raise RunError("--waiting takes none of --reason, --since, --sender and --dry-run: a gate is open or it is not")
    run = Run.start(settings)
    feeds = [feed_id(run, feed)] if feed else list(run.contracts)
    wanted = Wanted((REFUSED,), reason, sender, since.replace(tzinfo=UTC) if since else None)
    prepare(run)
    regions = RegionTree(run.vocabularies.regions)
    done: dict[str, dict[str, Any]] = {}
    for name in feeds:
        contract = run.contracts[name]
        if is_waiting:
            left = WaitingRoom(run, contract, regions).let_go() if contract.gates else 0
            done[name] = {"released": left}
            continue
        held = HeldRows(run.tables, name).find(wanted)
        if not held.num_rows and not feed:
            continue
        lander = FeedLander(run, contract, regions)
        with run.progress.task(f"重新判定 {contract.source}.{contract.feed}", total=held.num_rows) as task:
            outcome = Replay(run, lander).of(wanted, dry_run=dry_run, advance=lambda rows, _all, task=task: task.advance(rows))  # type: ignore[misc]
        if outcome.accepted and not dry_run:
            lander.open_gates()
        done[name] = outcome.entry() | ({"released": dict(lander.released)} if lander.released else {})
    emit({"dry_run": dry_run, "feeds": done}, as_json=as_json, text=lambda console: _print_outcomes(console, done, dry_run=dry_run))


def _print_outcomes(console: Console, done: dict[str, dict[str, Any]], *, dry_run: bool) -> None:
    if not done:
        console.print("无待重新判定的行 nothing to replay", highlight=False)
    for feed, outcome in done.items():
        if "rows" not in outcome:
            console.print(f"{feed}: {outcome['released']:,} rows left their gate", highlight=False)
            continue
        would = "would be " if dry_run else ""
        stay = ", ".join(f"{outcome[kind]:,} {kind}" for kind in ("unreadable", "not_entitled", "unfinished") if outcome[kind])
        console.print(
            f"{feed}: {outcome['rows']:,} rows: {outcome['accepted']:,} {would}accepted, {outcome['refused']:,} still refused, "
            f"{outcome['duplicate']:,} duplicate, {outcome['waiting']:,} waiting" + (f"; left as they are: {stay}" if stay else ""),
            highlight=False,
        )
        for why, rows in sorted(outcome["reasons"].items(), key=lambda item: -item[1])[:10]:
            console.print(f"    {why} × {rows:,}", highlight=False)


@click.group()
def quarantine() -> None:
    """What was refused or waits, and why: rules, fields and kinds of values, never a value.

    \b
    gridlake quarantine list                                  every reason: rows, first and last seen
    gridlake quarantine show --feed city_platform.event       the same by sender and by what was expected and came
    gridlake replay --feed city_platform.event                judge them again once the cause is mended
    """


def _filters(function: Any) -> Any:
    for option in (
        click.option("--rule", help="A rule, or rule/field."),
        click.option("--since", type=_SINCE, help="Only rows received at that time (UTC) or later."),
        click.option("--sender", help="Only rows of this sender."),
    ):
        function = option(function)
    return function


@quarantine.command("list")
@click.option("--feed", help="<source>.<feed>; without it every feed.")
@_filters
@command_options
def list_reasons(settings: Settings, as_json: bool, feed: str | None, sender: str | None, since: datetime | None, rule: str | None) -> None:
    """Every reason: state, rule, field, rows, senders, first and last seen."""
    run = Run.start(settings, quiet=True)
    kinds = [k for name in ([feed_id(run, feed)] if feed else [*run.contracts, UNROUTED]) for k in kinds_of(run, name, sender, since, rule)]
    found = _gathered(kinds)

    def text(console: Console) -> None:
        table = Table(title="拒收与待关联 held rows")
        for column in ("feed", "state", "rule", "field", "rows", "senders", "first seen", "last seen"):
            table.add_column(column, justify="right" if column in {"rows", "senders"} else "left", overflow="fold")
        for entry in found:
            seen = (f"{entry[k]:%Y-%m-%d %H:%M}" for k in ("first_seen_at", "last_seen_at"))
            table.add_row(
                entry["feed"].replace("__", ".", 1),
                entry["state"],
                entry["rule"],
                entry["field"],
                f"{entry['rows']:,}",
                str(len(entry["by_sender"])),
                *seen,
            )
        console.print(table if found else "无 nothing is refused and nothing waits")

    emit(found, as_json=as_json, text=text)


@quarantine.command("show")
@click.option("--feed", required=True, help="<source>.<feed>")
@_filters
@command_options
def show_reasons(settings: Settings, as_json: bool, feed: str, sender: str | None, since: datetime | None, rule: str | None) -> None:
    """One feed's reasons by sender, with what was expected and the kind of value that came; what a replay would need, and never a value."""
    run = Run.start(settings, quiet=True)
    found = kinds_of(run, feed_id(run, feed), sender, since, rule)

    def text(console: Console) -> None:
        for entry in found:
            where = f"/{entry['field']}" if entry["field"] else ""
            console.print(f"{entry['rows']:>9,}  {entry['state']}  {entry['rule']}{where}: {entry['expected']}", highlight=False, markup=False)
            first, last = (f"{entry[name]:%Y-%m-%d %H:%M}" for name in ("first_seen_at", "last_seen_at"))
            console.print(f"           {entry['sender_code']}，{entry['deliveries']:,} 件，{first} – {last}", highlight=False, markup=False)
        if not found:
            console.print("无 nothing is refused and nothing waits")

    emit(found, as_json=as_json, text=text)


def kinds_of(run: Run, feed: str, sender: str | None, since: datetime | None, rule: str | None) -> list[dict[str, Any]]:
    """Held rows of a feed by sender, state and reason, a row with several reasons under each.

    {feed, sender_code, state, rule, field, expected, rows, first_seen_at, last_seen_at, deliveries}; `expected` is the contract's word and the kind
    of what came.
    """
    wanted = Wanted((REFUSED, WAITING), rule, sender, since.replace(tzinfo=UTC) if since else None)
    condition, given = wanted.condition()
    of_rule = "true"
    if rule is not None:
        name, _, field = rule.partition("/")
        of_rule, given = "r.rule = $name" + (" and r.field = $field" if field else ""), given | {"name": name} | ({"field": field} if field else {})
    found: list[dict[str, Any]] = HeldRows(run.tables, feed).ask(_KINDS.format(condition=condition, rule=of_rule), given | {"feed": feed}).to_pylist()
    return found


def _gathered(kinds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for kind in kinds:
        key = (kind["feed"], kind["state"], kind["rule"], kind["field"])
        entry = found.setdefault(key, dict(zip(("feed", "state", "rule", "field"), key, strict=True)) | {"rows": 0, "by_sender": {}})
        entry["rows"] += kind["rows"]
        entry["by_sender"][kind["sender_code"]] = entry["by_sender"].get(kind["sender_code"], 0) + kind["rows"]
        entry["first_seen_at"] = min(entry.get("first_seen_at", kind["first_seen_at"]), kind["first_seen_at"])
        entry["last_seen_at"] = max(entry.get("last_seen_at", kind["last_seen_at"]), kind["last_seen_at"])
    return sorted(found.values(), key=lambda e: (-e["rows"], e["feed"], e["rule"]))
