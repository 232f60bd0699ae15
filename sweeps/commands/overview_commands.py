"""`c2d sweep list`: every sweep of a store."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

from sweeps.commands.command_options import JsonOption, RunsOption

if TYPE_CHECKING:
    from rich.table import Table

    from sweeps.state.store_sweeps import SweepCounts


def list_command(runs: RunsOption = None, as_json: JsonOption = False) -> None:
    """List every sweep of the store. Runs by state, newest change, question; the newest first."""
    from rich.console import Console

    from c2d.core.printable import printable_line
    from c2d.core.store_folder import runs_folder
    from sweeps.state.store_sweeps import list_sweeps

    store, now = runs_folder(runs).absolute(), time.time()
    sweeps, is_unanswered = list_sweeps(store, now)
    if as_json:
        listed = [sweep.to_json() for sweep in sweeps]
        print(json.dumps({"store": str(store), "slurm_answered": not is_unanswered, "sweeps": listed}, indent=1))
        return
    if is_unanswered:
        print("warning: SLURM does not answer here: runs in its queue are shown by their files alone")
    if not sweeps:
        print(f"no sweep in {printable_line(str(store))}; `c2d sweep submit DEF.yaml` writes one, or give --runs")
        return
    # Into a file or a pipe, rich would write 80 columns.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    console.print(_table(sweeps, now))
    damaged = sum(bool(sweep.problem) for sweep in sweeps)
    console.print(f"{len(sweeps)} sweeps" + (f", {damaged} damaged: submit them again" if damaged else ""))


def _table(sweeps: list[SweepCounts], now: float) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from c2d.core.run_state import duration_text

    table = Table(box=None, pad_edge=False, expand=False)
    for name, options in (
        ("sweep", {"overflow": "fold", "max_width": 40}),
        ("runs", {"justify": "right", "no_wrap": True}),
        ("states", {"overflow": "fold", "min_width": 12, "max_width": 48}),
        ("changed", {"no_wrap": True}),
        ("question", {"overflow": "fold", "min_width": 16, "ratio": 1}),
    ):
        table.add_column(name, **options)
    for sweep in sweeps:
        states = ", ".join(f"{count} {state}" for state, count in sweep.counts.items()) or "-"
        changed = f"{duration_text(max(0.0, now - sweep.changed))} ago" if sweep.changed else "-"
        if sweep.problem:
            table.add_row(escape(sweep.name), "-", "[bold red]damaged[/]", changed, escape(sweep.problem))
        else:
            table.add_row(escape(sweep.name), str(sweep.runs), states, changed, escape(sweep.question))
    return table
