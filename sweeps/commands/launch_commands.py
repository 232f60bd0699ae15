"""`c2d sweep submit` and `retry`: launch runs."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands.command_options import (
    LONGEST_S,
    DataOption,
    DefinitionArg,
    FilterOption,
    ForwardOption,
    ProfileOption,
    RunsOption,
    TrackOption,
    VerboseOption,
    Where,
    WhereOption,
    open_workspace,
    print_line,
    print_lines,
    with_known_launcher,
)


def submit_command(
    definition: DefinitionArg,
    where: WhereOption = None,
    profile: ProfileOption = None,
    runs: RunsOption = None,
    data: DataOption = None,
    filters: FilterOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="launch at most this many runs, and their teachers")] = None,
    canary: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="STEPS", help="one cell trains this number of steps first; the others start if it succeeds"
        ),
    ] = None,
    forward: ForwardOption = True,
    track: TrackOption = None,
    at_once: Annotated[int | None, typer.Option(min=1, help="local: processes at once (default: 2)")] = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="slurm: at a limit of the cluster submit the rest later; return when all have ended"
        ),
    ] = False,
    interval: Annotated[
        float,
        typer.Option(
            min=1.0, max=LONGEST_S, metavar="SECONDS", help="with --wait: seconds between two looks at the queue"
        ),
    ] = 60.0,
    verbose: VerboseOption = False,
) -> None:
    """Launch every run of the sweep that is neither done nor running. Safe to repeat: only new runs start."""
    from dataclasses import replace

    from sweeps.actions.feeder import Feeder, submit_and_wait
    from sweeps.actions.submit import submit_sweep
    from sweeps.definition.definition import read_definition
    from sweeps.definition.profile import tracked_by

    workspace, sweep = open_workspace(runs, data, where or Where.local, profile), read_definition(definition)
    if where is None:
        workspace = with_known_launcher(workspace, sweep.name, profile)
    workspace = replace(workspace, profile=tracked_by(workspace.profile, track))
    lines: list[str] = []

    def print_after_plan(line: str) -> None:
        print_lines(lines, verbose)
        print_line(line)

    if wait and workspace.where == "slurm":
        feeder = Feeder(sweep, workspace, print_after_plan, lines.append, tuple(filters or ()), limit, canary, forward)
        try:
            exit_code = submit_and_wait(feeder, interval)
        except KeyboardInterrupt:
            print_line("interrupted: submitted runs continue, and the same command submits the others")
            raise typer.Exit(130) from None
        if exit_code:
            raise typer.Exit(exit_code)
        return
    code = submit_sweep(
        sweep,
        workspace,
        filters=filters or (),
        limit=limit,
        canary=canary,
        forward=forward,
        print_line=print_after_plan,
        print_run=lines.append,
        at_once=at_once,
    )
    print_lines(lines, verbose)
    if code:
        raise typer.Exit(code)


def retry_command(
    definition: DefinitionArg,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="failure class, e.g. user-code; see triage")
    ] = None,
    states: Annotated[list[str] | None, typer.Option("--state", help="failed, blocked or waiting")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="a run id, or its beginning")] = None,
    filters: FilterOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="launch at most this many runs, and their teachers")] = None,
    where: Annotated[
        Where | None, typer.Option("--where", help="local or slurm; default: where it last ran", show_choices=False)
    ] = None,
    profile: ProfileOption = None,
    runs: RunsOption = None,
    data: DataOption = None,
    update_code: Annotated[bool, typer.Option("--update-code", help="use the current code; recorded")] = False,
) -> None:
    """Retry failed runs. Infrastructure and resource failures by default; code failures only by class or id."""
    from sweeps.actions.relaunch import RelaunchOptions
    from sweeps.actions.release_students import relaunch_with_students
    from sweeps.actions.select_retries import select_retries
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import damaged_lines, read_plan

    workspace = open_workspace(runs, data, where or Where.local, profile)
    record = load_manifest(workspace.runs, definition)
    rows, _ = read_plan(record, workspace.runs)
    for line in damaged_lines(rows):
        print(line)
    chosen = select_retries(
        rows,
        classes=classes or (),
        states=states or (),
        filters=filters or (),
        ids=ids or (),
        limit=limit,
        # The back-off is for automatic retries; here a person has decided.
        ignore_backoff=True,
    )
    for row in chosen:
        print(f"retry: {row.run.id} ({row.reason})")
    if not chosen:
        print("nothing to retry: no infrastructure or resource failure; for others give a class or an id (see triage)")
    if not chosen or where is Where.dry:
        return
    options = RelaunchOptions(
        where=workspace.where if where else None,
        profile=workspace.profile if profile else None,
        data=workspace.data if data else None,
        update_code=update_code,
    )
    code = relaunch_with_students(record, rows, chosen, workspace, print_line, options)
    if code:
        raise typer.Exit(code)
