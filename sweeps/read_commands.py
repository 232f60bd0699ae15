"""Commands of `c2d sweep` that read: check, plan, status, triage. Of these only `status --watch` launches runs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.command_options import (
    DataOption,
    DefinitionArg,
    FilterOption,
    ForwardOption,
    JsonOption,
    ProfileOption,
    RunsOption,
    VerboseOption,
    Where,
    open_workspace,
    print_line,
    print_plan,
)

if TYPE_CHECKING:
    from sweeps.actions.workspace import Workspace
    from sweeps.state.status import Summary


def check_command(
    definition: DefinitionArg,
    runs: RunsOption = None,
    data: DataOption = None,
    profile: ProfileOption = None,
    forward: ForwardOption = True,
) -> None:
    """Check every cell: files, classes, layers, shapes, data set, weights. Lists all problems; exit code 2."""
    from c2d.core.errors import InputError
    from sweeps.actions.submit import problem_text, resolve, specs_of
    from sweeps.checks.check_sweep import check_sweep
    from sweeps.definition.definition import read_definition

    sweep, workspace = read_definition(definition), open_workspace(runs, data, Where.local, profile)
    grid = resolve(sweep, workspace)
    print(f"{sweep.name}: {sweep.question}")
    print(f"{len(grid.cells)} cells, {len(specs_of(grid))} runs, of these {len(grid.teachers)} teachers")
    machine = workspace.profile if profile else None
    problems = check_sweep(sweep, grid, workspace.runs, workspace.data, machine, forward, print_line)
    if problems:
        raise InputError(problem_text(sweep, problems))
    print("no problem found")


def plan_command(
    definition: DefinitionArg,
    runs: RunsOption = None,
    data: DataOption = None,
    filters: FilterOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the state of every run (new, waiting, running, done, failed, blocked) and the reason. Writes nothing."""
    from sweeps.actions.row_filters import filter_rows
    from sweeps.actions.submit import plan_sweep, resolve
    from sweeps.definition.definition import read_definition

    workspace = open_workspace(runs, data, Where.local, None)
    sweep = read_definition(definition)
    _, rows = plan_sweep(sweep, resolve(sweep, workspace), workspace.runs)
    rows = filter_rows(rows, filters or ())
    if as_json:
        keys = ("kind", "state", "reason", "launch", "failure_class")
        shown = [{"run": row.run.id, "cells": row.cells, **{key: getattr(row, key) for key in keys}} for row in rows]
        print(json.dumps({"sweep": sweep.name, "runs": shown}, indent=1))
    else:
        print_plan(rows, verbose)


def status_command(
    definition: DefinitionArg,
    runs: RunsOption = None,
    filters: FilterOption = None,
    watch: Annotated[
        float | None,
        typer.Option("--watch", metavar="SECONDS", help="refresh at this interval and retry infrastructure failures"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the state of every run, from run files and from the queue if there is one. Exit code 1 if any failed."""
    from rich.console import Console

    from sweeps.state.status_table import status_table, watch_status

    workspace = open_workspace(runs, None, Where.local, None)
    # Into a file or a pipe, rich would write 80 columns.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)

    def read() -> Summary:
        return _read_summary(workspace, definition, filters)

    if watch is not None and not as_json:
        watch_status(read, lambda: _retry_failed(workspace, definition, filters), console, every_s=watch)
    summary = read()
    if as_json:
        print(json.dumps(summary, indent=1))
    elif watch is None:
        console.print(status_table(summary))
    if summary["counts"].get("failed") or summary["counts"].get("blocked"):
        raise typer.Exit(1)


def triage_command(
    definition: DefinitionArg, runs: RunsOption = None, filters: FilterOption = None, as_json: JsonOption = False
) -> None:
    """Show why runs failed: by class, with the first failing rank, its last log lines and one suggestion."""
    from sweeps.actions.row_filters import filter_rows
    from sweeps.state.failure_groups import group_failures
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import read_plan

    workspace = open_workspace(runs, None, Where.local, None)
    rows, facts = read_plan(load_manifest(workspace.runs, definition), workspace.runs)
    groups = group_failures(filter_rows(rows, filters or ()), facts)
    if as_json:
        print(json.dumps([group.to_json() for group in groups], indent=1))
        return
    for group in groups:
        print(group.text())
    if not groups:
        print("no run has failed")


def _read_summary(workspace: Workspace, definition: str, filters: FilterOption) -> Summary:
    from sweeps.actions.row_filters import filter_rows
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import read_plan
    from sweeps.state.status import summarize

    record = load_manifest(workspace.runs, definition)
    rows, facts = read_plan(record, workspace.runs)
    summary = summarize(filter_rows(rows, filters or ()), facts, time.time())
    return summary | {"sweep": record["name"], "question": record["question"]}


def _retry_failed(workspace: Workspace, definition: str, filters: FilterOption) -> None:
    """Relaunch the SLURM runs whose failure class is retried automatically."""
    from sweeps.actions.relaunch import relaunch
    from sweeps.actions.select_retries import select_retries
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import read_plan

    record = load_manifest(workspace.runs, definition)
    rows, _ = read_plan(record, workspace.runs)
    due = select_retries(rows, filters=filters or ())
    chosen = [row for row in due if row.job is not None and row.job.where == "slurm"]
    if chosen:
        relaunch(record, rows, chosen, workspace, print_line)
