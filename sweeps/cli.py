"""`c2d sweep ...` and `c2d demo`: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import (
    launch_commands,
    log_commands,
    overview_commands,
    plan_commands,
    queue_commands,
    smoke_commands,
    state_commands,
    stop_commands,
    watch_command,
)
from sweeps.commands.command_options import (
    DataOption,
    DefinitionArg,
    FilterOption,
    ProfileOption,
    RunsOption,
    Where,
    open_workspace,
    print_line,
)

app = typer.Typer(
    help="Launch and monitor sweeps, retry failed runs: one question, many runs (docs/sweeps.md).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# In the order of `c2d sweep --help`.
app.command("check")(plan_commands.check_command)
app.command("plan")(plan_commands.plan_command)
app.command("smoke")(smoke_commands.smoke_command)
app.command("submit")(launch_commands.submit_command)
app.command("status")(state_commands.status_command)
app.command("watch")(watch_command.watch_command)
app.command("list")(overview_commands.list_command)
app.command("triage")(state_commands.triage_command)
app.command("logs")(log_commands.logs_command)
app.command("retry")(launch_commands.retry_command)
app.command("hold")(queue_commands.hold_command)
app.command("release")(queue_commands.release_command)
app.command("nice", context_settings={"ignore_unknown_options": True})(queue_commands.nice_command)
app.command("cap")(queue_commands.cap_command)
app.command("cancel")(stop_commands.cancel_command)
app.command("gc")(stop_commands.gc_command)


def demo(
    full: Annotated[bool, typer.Option("--full", help="and a detector teacher: six cells, five seeds")] = False,
    runs: RunsOption = None,
    data: DataOption = None,
) -> None:
    """Scenes, a classifier teacher, four students, a report: 18 minutes on two cores (--full: two hours), resumable."""
    from rich.console import Console

    from sweeps.demo import make_report, run_demo
    from sweeps.demo_table import demo_checks, printed_table

    started = time.monotonic()
    workspace = open_workspace(runs, data, Where.local, None)
    result = run_demo(workspace.runs, workspace.data, full, print_line)
    # Into a file or a pipe, rich would write 80 columns.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    console.print(printed_table(result))
    checks = demo_checks(result)
    for passed, text in checks:
        print(f"{'check passed' if passed else 'CHECK FAILED'}: {text}")
    teachers = [result.teacher, *([result.detector] if result.detector else [])]
    for folder in [*teachers, *(run for cell in result.cells for run in cell.runs)]:
        print(f"  {folder.path}")
    code = make_report(result.definition.name, workspace.runs, workspace.data)
    print(f"{(time.monotonic() - started) / 60:.1f} minutes in this call")
    if code or not all(passed for passed, _ in checks):
        raise typer.Exit(1)


def prefetch(
    definition: DefinitionArg,
    profile: ProfileOption = None,
    runs: RunsOption = None,
    data: DataOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list what is here and what is missing")] = False,
    filters: FilterOption = None,
) -> None:
    """Get the data sets and weights of a sweep on a machine with a network, so that its jobs need none."""
    from sweeps.definition.definition import read_definition
    from sweeps.prefetch.prefetch_sweep import prefetch_sweep, summary

    sweep, workspace = read_definition(definition), open_workspace(runs, data, Where.local, profile)
    items = prefetch_sweep(sweep, workspace, not dry_run, print_line, filters=filters or ())
    for item in items:
        print(item.line)
    for line in summary(items, workspace.profile):
        print(line)
    if any(item.state == "missing" for item in items):
        raise typer.Exit(1)


def reproduce(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a shipped report (docs/reproduce.md)")],
    profile: ProfileOption = None,
    where: Annotated[
        Where, typer.Option("--where", help="dry: print the steps; slurm; local: this machine", show_choices=False)
    ] = Where.slurm,
    runs: RunsOption = None,
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="report (default: reports/NAME)")] = None,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIR", help="export the finished runs into this new folder")
    ] = None,
    filters: FilterOption = None,
    get: Annotated[bool, typer.Option("--prefetch/--no-prefetch", help="get data and weights first")] = True,
    changed: Annotated[bool, typer.Option("--changed", help="run even if the frozen reference has other runs")] = False,
) -> None:
    """Reproduce a table of a paper: prefetch, check, submit, wait, report. Call it again to continue."""
    from c2d.core.process.python_process import run_c2d
    from sweeps.actions.row_filters import filter_grid
    from sweeps.actions.submit import resolve
    from sweeps.definition.definition import read_definition
    from sweeps.reproduce.frozen_reference import check_frozen, reference_of
    from sweeps.reproduce.reproduce import Reproduction, run_steps, steps
    from sweeps.reproduce.shipped_reports import shipped_report

    report, workspace = shipped_report(name), open_workspace(runs, data, where, profile)
    grid = resolve(read_definition(report.sweep), workspace)
    planned = reference_of(grid, report.sweep) if changed else check_frozen(grid, report.sweep)
    chosen = filter_grid(grid, filters or ())  # a wrong filter is refused now, not after the downloads
    kind = "planned now, which may differ from the frozen reference" if changed else "as in the frozen reference"
    print(
        f"{name}: sweep {report.sweep}, {len(planned.cells)} cells with {len(planned.seeds)} seeds, "
        f"{planned.n_runs} runs and {len(planned.teachers)} teachers, {kind}"
        + (f"; --filter leaves {len({cell.run for cell in chosen.cells})} runs and their teachers" if filters else "")
    )
    task = Reproduction(
        report,
        where.value,
        profile,
        workspace.runs,
        workspace.data,
        out or Path("reports") / name,
        archive,
        tuple(filters or ()),
        get,
    )
    if where is Where.dry:
        for step in steps(replace(task, where="slurm")):
            print(f"{step.purpose}:\n    {step.text}")
        return
    if code := run_steps(task, run_c2d, print_line):
        raise typer.Exit(code)
