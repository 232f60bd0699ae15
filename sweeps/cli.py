"""`c2d demo`: parse, call, print."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def demo(
    full: Annotated[bool, typer.Option("--full", help="three seeds of every cell instead of one")] = False,
    runs: Annotated[
        Path | None, typer.Option("--runs", help="the store of all runs (default: C2D_RUNS, else ./runs)")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA, else ./data)")
    ] = None,
) -> None:
    """Scenes, a classifier teacher, four students, one table: about 12 minutes on two cores. Call again to continue."""
    import time

    from rich.console import Console
    from rich.table import Table

    from c2d.question import store
    from sweeps.demo import QUESTION, run_demo, teacher_of
    from sweeps.demo_table import gates, table

    begun = time.monotonic()
    root = store(runs)
    cells = run_demo(root, data or Path(os.environ.get("C2D_DATA") or "data"), full)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    header, rows = table(cells, root)
    shown = Table(
        title=QUESTION,
        title_justify="left",
        caption="percent; TIDE: AP gained if that error were fixed; one seed is no evidence: cells say n of 3",
        caption_justify="left",
    )
    for index, name in enumerate(header):
        shown.add_column(name, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    checked = gates(cells, root)
    for holds, sentence in checked:
        console.print(f"{'gate holds' if holds else 'GATE FAILS'}: {sentence}", soft_wrap=True)
    for folder in [teacher_of(cells, root), *(run for cell in cells for run in cell.runs)]:
        console.print(f"  {folder.path}", soft_wrap=True)
    console.print(f"{(time.monotonic() - begun) / 60:.1f} minutes in this call")
    if not all(holds for holds, _ in checked):
        raise typer.Exit(1)
