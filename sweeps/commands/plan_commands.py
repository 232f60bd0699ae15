"""`c2d sweep check` and `plan`: what a definition would launch. Nothing is launched or written."""

from __future__ import annotations

import json

from sweeps.commands.command_options import (
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


def check_command(
    definition: DefinitionArg,
    runs: RunsOption = None,
    data: DataOption = None,
    profile: ProfileOption = None,
    forward: ForwardOption = True,
) -> None:
    """Check every cell: files, classes, layers, shapes, data set, weights. Lists all problems; exit code 2."""
    from sweeps.actions.submit import notes_of, problem_error, resolve, specs_of
    from sweeps.checks.check_sweep import check_sweep
    from sweeps.definition.definition import read_definition

    sweep, workspace = read_definition(definition), open_workspace(runs, data, Where.local, profile)
    grid = resolve(sweep, workspace)
    print(f"{sweep.name}: {sweep.question}")
    syntheses = sum(spec.kind == "impressions" for spec in grid.teachers)
    made_first = f"{len(grid.teachers) - syntheses} teachers" + (
        f", {syntheses} syntheses of images" if syntheses else ""
    )
    print(f"{len(grid.cells)} cells, {len(specs_of(grid))} runs, of these {made_first}")
    for line in notes_of(grid):
        print(line)
    machine = workspace.profile if profile else None
    problems = check_sweep(sweep, grid, workspace.runs, workspace.data, machine, forward, print_line)
    if problems:
        raise problem_error(sweep, problems)
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
    from sweeps.actions.submit import notes_of, plan_sweep, resolve
    from sweeps.definition.definition import read_definition

    workspace = open_workspace(runs, data, Where.local, None)
    sweep = read_definition(definition)
    grid = resolve(sweep, workspace)
    _, rows = plan_sweep(sweep, grid, workspace.runs)
    rows = filter_rows(rows, filters or ())
    if as_json:
        keys = ("kind", "state", "reason", "launch", "failure_class")
        shown = [{"run": row.run.id, "cells": row.cells, **{key: getattr(row, key) for key in keys}} for row in rows]
        print(json.dumps({"sweep": sweep.name, "scaled": grid.scaled, "runs": shown}, indent=1))
    else:
        for line in notes_of(grid):
            print(line)
        print_plan(rows, verbose)
