"""`c2d sweep cancel` and `gc`: stop jobs, remove files."""

from __future__ import annotations

import typer

from sweeps.commands.command_options import (
    DefinitionArg,
    FilterOption,
    RunsOption,
    Where,
    YesOption,
    open_workspace,
)


def cancel_command(
    definition: DefinitionArg, runs: RunsOption = None, filters: FilterOption = None, yes: YesOption = False
) -> None:
    """Stop waiting and running jobs of a sweep, after a list and a confirmation. Trainings save before they end."""
    from sweeps.actions.cancel import cancel_runs, cancellable
    from sweeps.actions.row_filters import filter_rows
    from sweeps.state.manifest import load_manifest, sweeps_sharing
    from sweeps.state.plan import damaged_lines, read_plan

    workspace = open_workspace(runs, None, Where.local, None)
    record = load_manifest(workspace.runs, definition)
    rows, _ = read_plan(record, workspace.runs)
    rows = filter_rows(rows, filters or ())
    for line in damaged_lines(rows):
        print(line)
    active = cancellable(rows)
    if not active:
        print("nothing is waiting or running")
        return
    shared = sweeps_sharing(workspace.runs, record["name"], {row.run.id for row in active})
    for row in active:
        numbers = [f"job {job.job}" for job in (row.canary, row.job) if job and job.job]
        where = f"canary {', '.join(numbers)}" if row.canary else "".join(numbers) or f"pid {row.status.get('pid')}"
        others = f"  also in sweep {', '.join(shared[row.run.id])}" if row.run.id in shared else ""
        print(f"  {row.state:8} {row.run.id}  {where}{others}")
    if not yes and not typer.confirm(f"stop these {len(active)} runs?"):
        raise typer.Exit(130)
    report = cancel_runs(active, workspace.runs)
    for line in report.lines:
        print(line)
    if report.refused:
        raise typer.Exit(1)


def gc_command(definition: DefinitionArg, runs: RunsOption = None, yes: YesOption = False) -> None:
    """Remove old checkpoints, logs of finished submissions and unused snapshots. Without --yes it only lists them."""
    from sweeps.actions.gc import Removal, plan_removals, remove_planned
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import damaged_lines, read_plan

    workspace = open_workspace(runs, None, Where.local, None)
    record = load_manifest(workspace.runs, definition)
    damaged: dict[str, None] = {}  # planned again after a removal without the lock: each line once

    def plan() -> list[Removal]:
        rows, _ = read_plan(record, workspace.runs)
        damaged.update(dict.fromkeys(damaged_lines(rows)))
        return plan_removals(rows, workspace.runs)

    # Planned under the lock as well: a launch between plan and removal could use what is removed.
    removals = remove_planned(plan, workspace.runs) if yes else plan()
    for line in damaged:
        print(line)
    for removal in removals:
        print(f"  {removal.bytes / 2**20:9.2f} MiB  {removal.path}  ({removal.why})")
    total_mib = sum(removal.bytes for removal in removals) / 2**20
    outcome = "removed" if yes else "would be removed; --yes removes them"
    print(f"{len(removals)} files and folders, {total_mib:.1f} MiB {outcome}")
