"""`c2d sweep status` as a table on the terminal, once or repeatedly."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from c2d.core.errors import InputError, RunError
from c2d.core.printable import printable_markup, printable_text
from c2d.core.run_state import HEARTBEAT_LIMIT_S, duration_text
from sweeps.state.status import Summary

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SHOWN = 20
"""Runs of one state that the table lists; the counts are of all."""
SHOWN_LOGS = 5
"""Failed runs of which the path of the log is printed below the table."""


def status_table(summary: Summary) -> RenderableType:
    """Return the runs by state as a table: done first, failed last. It fits 100 columns."""
    from rich.table import Table

    order = ("done", "new", "waiting", "running", "finishing", "unknown", "blocked", "failed", "damaged")
    shown = Table(box=None, pad_edge=False, expand=False)
    for name, options in (
        ("state", {"no_wrap": True}),
        ("run", {"overflow": "fold", "max_width": 60, "min_width": 20}),
        ("cell", {"overflow": "fold", "max_width": 44}),
        ("progress", {"no_wrap": True}),
        ("why", {"overflow": "fold", "min_width": 16, "ratio": 1}),
    ):
        shown.add_column(name, **options)
    for state in order:
        runs = [run for run in summary["runs"] if run["state"] == state]
        runs.sort(key=lambda run: str(run["class"] or ""))
        # Failed runs need an action, so more of them are listed.
        most = len(runs) if state in ("failed", "damaged") and len(runs) <= 2 * SHOWN else SHOWN
        for run in runs[:most]:
            why = "" if state == "done" else _why(run)
            cells = [printable_markup(text) for text in (run["run"], _cell(run), _progress(run), why)]
            shown.add_row(f"[{_COLOURS[state]}]{state}[/]", *cells)
        if len(runs) > most:
            shown.add_row(f"[{_COLOURS[state]}]{state}[/]", f"... and {len(runs) - most} more", "", "", "")
    return shown


_COLOURS = {
    "done": "green", "new": "dim", "waiting": "cyan", "running": "bold", "finishing": "bold", "unknown": "magenta",
    "blocked": "yellow", "failed": "bold red", "damaged": "bold red",
}  # fmt: skip


def print_status(console: Console, summary: Summary) -> None:
    """Print counts and hints, the table, and the logs of failed runs.

    Only the table is wrapped: a command or a path that is copied from two lines would be two.
    """
    for line in summary_lines(summary):
        console.print(printable_markup(line.rstrip()), soft_wrap=True)
    if summary["runs"]:
        console.print(status_table(summary))
    for line in failed_logs(summary):
        console.print(printable_markup(line), soft_wrap=True)


def failed_logs(summary: Summary) -> list[str]:
    """Return the path of the log of each failed run, at most SHOWN_LOGS of them."""
    logs = [str(run["log"]) for run in summary["runs"] if run["state"] == "failed" and run["log"]]
    lines = [f"log: {path}" for path in logs[:SHOWN_LOGS]]
    if len(logs) > SHOWN_LOGS:
        lines.append(f"... and {len(logs) - SHOWN_LOGS} more logs (`c2d sweep logs {summary.get('sweep', 'DEF')}`)")
    return lines


def summary_lines(summary: Summary) -> list[str]:
    """Return the lines above the table: counts, cost, time left."""
    counts = ", ".join(f"{count} {state}" for state, count in summary["counts"].items()) or "no runs"
    gpu, wall = summary["gpu_hours"], summary["hours"]
    cost = f"{gpu['total']:.2f} GPU hours" if gpu["total"] else f"{wall['total']:.2f} hours"
    wasted = gpu["wasted"] if gpu["total"] else wall["wasted"]
    lines = [
        f"{len(summary['runs'])} runs: {counts}",
        f"{cost}, of these wasted {wasted:.2f}; left {duration_text(summary['eta_s'])}",
    ]
    if summary["silence"]:
        lines.append(f"SLURM does not answer ({summary['silence']}): what follows is what files recorded before")
    if summary["stale"]:
        lines.append(f"{summary['stale']} without a heartbeat for more than {HEARTBEAT_LIMIT_S / 60:.0f} minutes")
    lines += [line for group in summary["pending"] for line in str(group["text"]).splitlines()]
    lines += [f"warning: {problem}" for problem in summary["problems"]]
    if summary["retries"]:
        name = summary.get("sweep", "DEF")
        lines.append(
            f"{summary['retries']} will be retried by `c2d sweep status {name} --watch 30` or `c2d sweep retry {name}`"
        )
    return [f"{summary['sweep']}: {summary['question']}", *lines] if summary.get("sweep") else lines


def _cell(run: Mapping[str, Any]) -> str:
    if not run["labels"]:
        return str(run["label"])
    text = ", ".join(f"{axis.rpartition('.')[2]}={label}" for axis, label in run["labels"][0].items())
    return text + (f" (+{len(run['labels']) - 1})" if len(run["labels"]) > 1 else "")


def _progress(run: Mapping[str, Any]) -> str:
    if run["state"] == "new":
        return "-"
    steps = f"{run['iteration'] or 0}/{run['iterations']}" if run["iterations"] else "-"
    return f"{steps}, {duration_text(run['left_s'])} left" if run["left_s"] is not None else steps


def _why(run: Mapping[str, Any]) -> str:
    reason = str(run["reason"])
    if run["state"] == "running":
        age = duration_text(run["heartbeat_age_s"])
        beat = f"STALE, no heartbeat for {age}" if run["stale"] else f"heartbeat {age} ago"
        place = f"{'canary, ' * run['canary']}job {run['job']} on {run['node']}" if run["job"] else f"on {run['node']}"
        return f"{place}, {beat}" if run["heartbeat_age_s"] is not None else reason
    if run["starts_at"] and run["state"] == "waiting":
        return f"{reason}, expected to start {_local_time(run['starts_at'])}"
    again = f" (attempt {run['attempt']})" if run["state"] == "failed" and run["attempt"] > 1 else ""
    return f"{reason}{again}"


def _local_time(stamp: str) -> str:
    """Return an ISO time with its zone as this machine's time: `14:05`, with the date where it is not today."""
    at = datetime.fromisoformat(stamp).astimezone()
    today = at.date() == datetime.now(at.tzinfo).date()
    return at.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")


def has_ended(summary: Summary) -> bool:
    """Return whether nothing runs, waits in a queue or will be retried automatically."""
    at_rest = ("done", "failed", "blocked", "damaged", "new")
    idle = all(run["state"] in at_rest or (run["state"] == "waiting" and run["launch"]) for run in summary["runs"])
    return idle and not summary["retries"]


def watch_status(
    read_summary: Callable[[], Summary],
    retry: Callable[[], object],
    console: Console,
    every_s: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:
    """Show the table at intervals until everything has ended, and return the last summary.

    Args:
        read_summary: returns the summary of now.
        retry: launches the runs that are retried automatically and whose back-off has passed. It is called after every
            table while the summary has such a run.
        console: shows the tables, and warnings when SLURM does not answer.
        every_s: interval in seconds.
        sleep: replaced in tests.
    """
    summary: Summary | None = None
    while True:
        try:
            summary = read_summary()
            print_status(console, summary)
            if has_ended(summary):
                return summary
            if summary["retries"]:
                retry()
        except (RunError, InputError) as error:  # a controller or a lock that is busy now is free later
            console.print(f"warning: {printable_text(str(error))}", markup=False)
        sleep(max(0.2, every_s))
