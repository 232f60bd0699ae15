"""`c2d sweep status` and `triage`: the state of submitted runs. Of these only `status --watch` launches runs."""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.command_options import (
    LONGEST_S,
    DefinitionArg,
    FilterOption,
    JsonOption,
    RunsOption,
    Where,
    open_workspace,
)

if TYPE_CHECKING:
    from sweeps.actions.workspace import Workspace
    from sweeps.state.status import Summary


def status_command(
    definition: DefinitionArg,
    runs: RunsOption = None,
    filters: FilterOption = None,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            metavar="SECONDS",
            min=0,
            max=LONGEST_S,
            help="refresh at this interval and retry infrastructure failures",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state of every run, from run files and the queue. Exit code 1 if any failed or is damaged."""
    from rich.console import Console

    from sweeps.actions.automatic_retries import watch_to_end
    from sweeps.state.status_table import print_status

    # The rows of a large sweep are many small objects: Python's own thresholds search all of them again and again.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    workspace = open_workspace(runs, None, Where.local, None)
    # Into a file or a pipe, rich would write 80 columns.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)

    def read() -> Summary:
        return _read_summary(workspace, definition, filters)

    if watch is not None and not as_json:
        watch_to_end(workspace, definition, filters or (), read, console, watch)
    summary = read()
    if as_json:
        print(json.dumps(summary, indent=1))
    elif watch is None:
        print_status(console, summary)
    if any(summary["counts"].get(state) for state in ("failed", "blocked", "damaged")):
        raise typer.Exit(1)


def triage_command(
    definition: DefinitionArg, runs: RunsOption = None, filters: FilterOption = None, as_json: JsonOption = False
) -> None:
    """Show why runs failed: by class, with the first failing rank, its last log lines and one suggestion."""
    from sweeps.actions.row_filters import filter_rows
    from sweeps.state.failure_groups import group_failures
    from sweeps.state.manifest import load_manifest
    from sweeps.state.pending_groups import group_pending
    from sweeps.state.plan import damaged_lines, read_plan

    workspace = open_workspace(runs, None, Where.local, None)
    record = load_manifest(workspace.runs, definition)
    rows, facts = read_plan(record, workspace.runs)
    rows = filter_rows(rows, filters or ())
    groups, pending = group_failures(rows, facts), group_pending(rows, facts, record["name"])
    for line in damaged_lines(rows):
        print(line, file=sys.stderr)
    if as_json:
        waiting = [{"class": "pending", "count": len(group.runs), **group.to_json()} for group in pending]
        print(json.dumps([*(group.to_json() for group in groups), *waiting], indent=1))
        return
    for group in groups:
        print(group.text())
    if not groups:
        print("no run has failed")
    for silence in sorted({row.silence for row in rows if row.silence}):
        print(f"SLURM does not answer ({silence}): failures that only SLURM knows are missing here")
    for waiting_group in pending:
        print(waiting_group.text())


def _read_summary(workspace: Workspace, definition: str, filters: FilterOption) -> Summary:
    from sweeps.actions.row_filters import filter_rows
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import read_plan
    from sweeps.state.status import summarize

    record = load_manifest(workspace.runs, definition)
    rows, facts = read_plan(record, workspace.runs)
    summary = summarize(filter_rows(rows, filters or ()), facts, time.time(), record["name"])
    return summary | {"sweep": record["name"], "question": record["question"]}
