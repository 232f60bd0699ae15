"""Launch the failures again that are retried without a person: `status --watch` and `submit --wait` do so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeps.actions.release_students import relaunch_with_students
from sweeps.actions.row_filters import filter_rows
from sweeps.actions.select_retries import select_retries
from sweeps.actions.workspace import Workspace
from sweeps.launchers.launch_request import PrintLine
from sweeps.scheduler.queue import JobFacts
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import Row, read_plan


def retry_automatically(
    workspace: Workspace, sweep: str, filters: Sequence[str], print_line: PrintLine
) -> tuple[list[Row], Mapping[str, JobFacts]]:
    """Relaunch the SLURM runs whose back-off is over, and the students of every sweep that they release.

    Args:
        sweep: its name, or the path of its definition.
        filters: `axis=label` texts.

    Returns:
        The rows that the filters select, as they are after that, and what SLURM reports of their jobs.
    """
    record = load_manifest(workspace.runs, sweep)
    rows, facts = read_plan(record, workspace.runs)
    due = select_retries(rows, filters=filters)
    chosen = [row for row in due if row.job is not None and row.job.where == "slurm"]
    if chosen:
        relaunch_with_students(record, rows, chosen, workspace, print_line)
        rows, facts = read_plan(record, workspace.runs)
    return filter_rows(rows, filters), facts
