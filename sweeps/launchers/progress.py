"""Progress of a local launch: one bar a run on a terminal, else a line every 30 s. Both read status.json."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from c2d.core.run_folder import RunFolder
from sweeps.launchers.launch_request import PrintLine

LINE_S = 30.0
Show = Callable[[dict[RunFolder, str]], None]


ENDED = ("done", "failed", "blocked")


@contextmanager
def progress(print_line: PrintLine) -> Iterator[Show]:
    """Yield a function that shows {run: state in the launch}; it can be called at any rate."""
    if sys.stdout.isatty():
        with _bars() as show:
            yield show
    else:
        yield _lines(print_line)


@contextmanager
def _bars() -> Iterator[Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[stage]}"))
    with Progress(*columns, TimeElapsedColumn()) as bars:
        rows: dict[RunFolder, Any] = {}
        total_row = bars.add_task("runs", total=None, stage="")

        def show(states: dict[RunFolder, str]) -> None:
            ended = sum(state in ENDED for state in states.values())
            waiting = sum(state == "waiting" for state in states.values())
            bars.update(total_row, completed=ended, total=len(states), stage=f"{waiting} waiting" if waiting else "")
            for run, state in states.items():
                if (run not in rows and state != "running") or shown.get(run) == state in ENDED:
                    continue  # only runs that this launch has started have a bar
                shown[run] = state
                status = run.try_read_status()
                if run not in rows:
                    rows[run] = bars.add_task(run.id, total=None, start=False, stage=state)
                if state == "running":
                    bars.start_task(rows[run])
                total = status.get("iterations")
                done = total if state == "done" else status.get("iteration", 0)
                stage = status.get("stage") if state == "running" and status["state"] == "running" else state
                bars.update(rows[run], completed=done or 0, total=total, stage=stage)
                if state in ENDED:
                    bars.stop_task(rows[run])

        shown: dict[RunFolder, str] = {}
        yield show


def _lines(print_line: PrintLine) -> Show:
    last = time.monotonic()

    def show(states: dict[RunFolder, str]) -> None:
        nonlocal last
        if time.monotonic() - last < LINE_S:
            return
        last = time.monotonic()
        counts = {word: sum(state == word for state in states.values()) for word in (*ENDED, "waiting")}
        running = []
        for run, state in states.items():
            if state == "running":
                status = run.try_read_status()
                running.append(f"{run.id} {status.get('iteration', 0)}/{status.get('iterations', '?')}")
        rest = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
        print_line("  " + "; ".join([*running, rest] if rest else running))

    return show
