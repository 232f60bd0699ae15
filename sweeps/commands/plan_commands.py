"""`c2d sweep check` and `plan`: what a definition would launch. Nothing is launched or written."""

from __future__ import annotations

import json
from typing import Annotated

import typer

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
    filters: FilterOption = None,
    forward: ForwardOption = True,
) -> None:
    """Check every cell: files, classes, layers, shapes, data set, weights. Lists all problems; exit code 2."""
    from sweeps.actions.row_filters import filter_grid
    from sweeps.actions.submit import notes_of, problem_error, resolve, specs_of
    from sweeps.checks.check_sweep import check_sweep
    from sweeps.definition.definition import read_definition

    sweep, workspace = read_definition(definition), open_workspace(runs, data, Where.local, profile)
    grid = filter_grid(resolve(sweep, workspace), filters or ())
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
    with_specs: Annotated[bool, typer.Option("--specs", help="with --json: the whole spec of every run")] = False,
) -> None:
    """Show the state of every run (new, waiting, running, done, failed, blocked) and the reason. Writes nothing."""
    from c2d.core.errors import InputError
    from sweeps.actions.row_filters import filter_rows
    from sweeps.actions.submit import notes_of, plan_sweep, resolve, specs_of
    from sweeps.definition.definition import read_definition

    if with_specs and not as_json:
        raise InputError("--specs adds the specs to the JSON object of --json; give both")
    workspace = open_workspace(runs, data, Where.local, None)
    sweep = read_definition(definition)
    grid = resolve(sweep, workspace)
    _, rows = plan_sweep(sweep, grid, workspace.runs)
    rows = filter_rows(rows, filters or ())
    if as_json:
        keys = ("kind", "state", "reason", "launch", "failure_class")
        shown = [{"run": row.run.id, "cells": row.cells, **{key: getattr(row, key) for key in keys}} for row in rows]
        if with_specs:
            specs = {run: spec.to_json() for run, spec in specs_of(grid).items()}
            shown = [one | {"spec": specs.get(str(one["run"]))} for one in shown]  # null: of an earlier definition
        print(json.dumps({"sweep": sweep.name, "scaled": grid.scaled, "runs": shown}, indent=1))
    else:
        for line in notes_of(grid):
            print(line)
        print_plan(rows, verbose)
