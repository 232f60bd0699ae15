"""How far the runs of a local launch are: a bar each on a terminal, else a line every half minute.

Both read status.json, as any other shell could.
"""

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
    """Gives a function that shows {run: what the launcher knows of it}; call it as often as you like."""
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
        every = bars.add_task("runs", total=None, stage="")

        def show(known: dict[RunFolder, str]) -> None:
            ended = sum(what in ENDED for what in known.values())
            waiting = sum(what == "waiting" for what in known.values())
            bars.update(every, completed=ended, total=len(known), stage=f"{waiting} waiting" if waiting else "")
            for run, what in known.items():
                if (run not in rows and what != "running") or shown.get(run) == what in ENDED:
                    continue  # a bar for what runs and has run here
                shown[run] = what
                now = run.try_read_status()
                if run not in rows:
                    rows[run] = bars.add_task(run.id, total=None, start=False, stage=what)
                if what == "running":
                    bars.start_task(rows[run])
                total = now.get("iterations")
                done = total if what == "done" else now.get("iteration", 0)
                stage = now.get("stage") if what == "running" and now["state"] == "running" else what
                bars.update(rows[run], completed=done or 0, total=total, stage=stage)
                if what in ENDED:
                    bars.stop_task(rows[run])

        shown: dict[RunFolder, str] = {}
        yield show


def _lines(print_line: PrintLine) -> Show:
    last = time.monotonic()

    def show(known: dict[RunFolder, str]) -> None:
        nonlocal last
        if time.monotonic() - last < LINE_S:
            return
        last = time.monotonic()
        counts = {word: sum(what == word for what in known.values()) for word in (*ENDED, "waiting")}
        running = []
        for run, what in known.items():
            if what == "running":
                now = run.try_read_status()
                running.append(f"{run.id} {now.get('iteration', 0)}/{now.get('iterations', '?')}")
        rest = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
        print_line("  " + "; ".join([*running, rest] if rest else running))

    return show
