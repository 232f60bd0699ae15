"""`c2d sweep smoke`: every cell of definitions, for two steps on generated images, on this machine's CPU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from c2d.core.errors import InputError
from sweeps.commands.command_options import DataOption, FilterOption, print_line


def smoke_command(
    definitions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DEF.yaml]...", help="definitions, or names of shipped ones (default: all shipped)"),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="an empty folder for runs, data and reports (default: a temporary one)"),
    ] = None,
    data: DataOption = None,
    filters: FilterOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep the temporary folder, and all weights")] = False,
    report: Annotated[bool, typer.Option("--report", help="make the reports of the sweeps, too")] = False,
    kinds: Annotated[
        bool, typer.Option("--kinds", help="of runs that differ only in a number or a backbone, one of each kind")
    ] = False,
) -> None:
    """Train, export and evaluate every cell for two steps on eight generated images; exit code 1 if one fails."""
    from sweeps.definition.definition import definition_names, read_definition
    from sweeps.launchers.local_process import processes_from_environment
    from sweeps.smoke.smoke_data import SmokeData
    from sweeps.smoke.smoke_grid import smoke_grid
    from sweeps.smoke.smoke_kinds import runs_of_every_kind
    from sweeps.smoke.smoke_reports import smoke_reports
    from sweeps.smoke.smoke_store import smoke_store
    from sweeps.smoke.smoke_sweeps import check_names, kinds_table, smoke_sweeps

    if report and filters:
        raise InputError("--report needs every cell of a sweep; leave --filter or --report out")
    begun = time.monotonic()
    sweeps = [read_definition(given) for given in definitions or definition_names()]
    with smoke_store(runs, keep) as store:
        generated = SmokeData(store.data, data)
        grids = [smoke_grid(sweep, store.runs, generated, filters or ()) for sweep in sweeps]
        check_names(grids)
        cells = sum(len(grid.grid.cells) for grid in grids)
        every = {run for grid in grids for run in grid.specs()}
        chosen = runs_of_every_kind(grids) if kinds else every
        part = f"{len(chosen)} of {len(every)}" if kinds else f"{len(every)}"
        print_line(f"{cells} cells of {len(grids)} sweeps, seed 0 alone: {part} runs of two steps in {store.root}")
        at_once = processes_from_environment() or 2
        result = smoke_sweeps(grids, chosen, store, at_once, print_line)
        problems = [f"{run}: {problem}" for run, problem in result.problems.items()]
        if report:
            for sweep, problem in smoke_reports([sweep.name for sweep in sweeps], store, at_once):
                print_line(f"{'FAILED' if problem else 'ok':6} report of {sweep}" + (f": {problem}" if problem else ""))
                problems += [problem] if problem else []
        for line in kinds_table(grids, result):
            print_line(line)
        peak = max((end.memory_mib for end in result.ended.values()), default=0)
        print_line(f"{time.monotonic() - begun:.0f} s, at most {peak} MiB in a process, {len(problems)} problems")
        if problems:
            print_line("\n".join(problems))
            raise typer.Exit(1)
