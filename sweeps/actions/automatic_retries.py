"""Launch the failures again that are retried without a person: `status --watch` and `submit --wait` do so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from c2d.core.errors import Busy, RunError
from sweeps.actions.release_students import relaunch_with_students
from sweeps.actions.row_filters import filter_rows
from sweeps.actions.select_retries import select_retries
from sweeps.actions.workspace import Workspace, submission_lock
from sweeps.launchers.launch_request import PrintLine
from sweeps.notification.end_job import NO_PLACE, ensure_end_job
from sweeps.notification.watch_mark import watched
from sweeps.scheduler.queue import JobFacts
from sweeps.state.manifest import load_manifest
from sweeps.state.plan import Row, read_plan
from sweeps.state.status import Summary
from sweeps.state.status_table import watch_status

if TYPE_CHECKING:
    from rich.console import Console

END_PAUSES_S = (5.0, 15.0, 30.0)


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


def send_at_end(
    workspace: Workspace,
    sweep: str,
    print_line: PrintLine,
    sleep: Callable[[float], None] = time.sleep,
    pauses: Sequence[float] = END_PAUSES_S,
) -> None:
    """Let the end job of a sweep run that this process has watched to its end: it left the message to this process.

    Args:
        sweep: its name.
        sleep: replaced in tests.
        pauses: seconds between tries.
    """
    for pause in (*pauses, None):  # the last jobs may take their places in the queue for some more seconds
        try:
            with submission_lock(workspace.runs):
                if ensure_end_job(workspace.runs, sweep, print_line):
                    return
        except (RunError, Busy) as error:
            if pause is None:
                print_line(f"warning: no message about the end of {sweep}: {error}")
                return
        if pause is not None:
            sleep(pause)
    print_line(NO_PLACE)


def watch_to_end(
    workspace: Workspace,
    sweep: str,
    filters: Sequence[str],
    read: Callable[[], Summary],
    console: Console,
    every_s: float,
) -> None:
    """Show the table of a sweep at intervals until it has ended, and retry what is retried automatically.

    Args:
        sweep: its name, or the path of its definition.
        filters: `axis=label` texts.
        read: returns the summary of now.
        console: shows the table.
        every_s: interval in seconds.
    """

    def print_line(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    name = load_manifest(workspace.runs, sweep)["name"]
    try:
        with watched(workspace.runs, name) as sleep:
            retry = partial(retry_automatically, workspace, sweep, filters, print_line)
            watch_status(read, retry, console, every_s=every_s, sleep=sleep)
    except KeyboardInterrupt:  # the jobs continue, and nothing here sees their end
        send_at_end(workspace, name, print_line, pauses=())
        raise
    send_at_end(workspace, name, print_line)
