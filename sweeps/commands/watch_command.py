"""`c2d sweep watch`: sweeps while they run, on the terminal and as a page."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.command_options import LONGEST_S, FilterOption, RunsOption, Where, open_workspace, print_line

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.watch.watch_loop import WatchedSweeps
    from sweeps.watch.watch_view import WatchView


def watch_command(
    definitions: Annotated[
        list[str], typer.Argument(metavar="DEF.yaml...", help="definitions, or names of submitted sweeps")
    ],
    runs: RunsOption = None,
    filters: FilterOption = None,
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", min=1, max=LONGEST_S, help="refresh at this interval")
    ] = 5.0,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="and as a page, which reloads itself")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="show the state of now and end")] = False,
) -> None:
    """Show runs while they train: losses, AP, time left, hours. It launches nothing, and ends with the last run.

    Exit code 1 if any failed, is blocked or damaged, as `status`. Into a file or a pipe: a line for each change.
    """
    from rich.console import Console

    from sweeps.watch.terminal_table import WatchTable

    # The rows of a large sweep are many small objects: Python's own thresholds search all of them again and again.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    sweeps = _watched_sweeps(open_workspace(runs, None, Where.local, None).runs, definitions, filters)
    # Into a file or a pipe, rich would write 80 columns. COLUMNS and LINES, which rich prefers to the terminal, do not
    # change with a window.
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150, _environ=environ)
    write_page = _page_writer(page)
    if once:
        view = sweeps.read(time.time())
        write_page(view)
        console.print(WatchTable(view))
    elif console.is_terminal and not console.is_dumb_terminal:
        view = _watch_on_screen(sweeps, console, write_page, every)
    else:
        view = _print_changes(sweeps, write_page, every)
        console.print(WatchTable(view))
    if view.has_failed:
        raise typer.Exit(1)


def _watched_sweeps(runs: Path, definitions: list[str], filters: FilterOption) -> WatchedSweeps:
    from sweeps.actions.row_filters import filter_rows
    from sweeps.notification.watch_mark import is_watched
    from sweeps.state.manifest import load_manifest
    from sweeps.watch.watch_loop import WatchedSweeps

    names = list(dict.fromkeys(load_manifest(runs, given)["name"] for given in definitions))
    return WatchedSweeps(
        runs,
        names,
        lambda rows: filter_rows(rows, filters or ()),
        lambda name: is_watched(runs, name, time.time()),
    )


def _page_writer(page: Path | None) -> Callable[[WatchView], None]:
    """Return the function that writes the page of a view; it does nothing without a page.

    Raises:
        InputError: the path is no .html file of an existing folder.
    """
    if page is None:
        return lambda view: None
    from c2d.core.disk import DiskError
    from c2d.core.errors import InputError
    from c2d.core.run_folder import atomic_write_text
    from sweeps.watch.watch_page import watch_page

    path = page.absolute()
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--page {page} is no page; give a path that ends with .html")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--page {page}: {path.parent} is no folder, or the path is one; make the folder first")
    failed = ""

    def write(view: WatchView) -> None:
        nonlocal failed
        try:
            atomic_write_text(path, watch_page(view))
            failed = ""
        except DiskError as error:  # a disk that is full now may have room later
            if str(error) != failed:
                print(f"warning: {error}", file=sys.stderr)
            failed = str(error)

    return write


def _print_changes(sweeps: WatchedSweeps, write_page: Callable[[WatchView], None], every_s: float) -> WatchView:
    """Print a line for each change until the end."""
    from c2d.core.process.stop_signals import exit_on_close_signals
    from sweeps.watch.change_lines import change_lines
    from sweeps.watch.watch_loop import watch

    last: WatchView | None = None

    def show(view: WatchView) -> None:
        nonlocal last
        write_page(view)
        for line in change_lines(last, view):
            print_line(line)
        last = view

    try:
        with exit_on_close_signals():
            return watch(sweeps, show, every_s)
    finally:
        if last is not None:
            write_page(replace(last, every_s=0.0))  # which does not reload any more


def _watch_on_screen(
    sweeps: WatchedSweeps, console: Console, write_page: Callable[[WatchView], None], every_s: float
) -> WatchView:
    """Show the table on a screen of its own; the last one stays on the terminal afterwards, also after Ctrl-C."""
    from rich.live import Live

    from c2d.core.process.stop_signals import exit_on_close_signals
    from sweeps.watch.terminal_table import WatchTable
    from sweeps.watch.watch_loop import watch

    table = WatchTable(is_screen=True)
    try:
        with (
            exit_on_close_signals(),
            Live(
                table, console=console, screen=True, refresh_per_second=1, redirect_stdout=False, redirect_stderr=False
            ) as live,
        ):

            def show(view: WatchView) -> None:
                table.view = view
                live.refresh()
                write_page(view)

            return watch(sweeps, show, every_s)
    finally:
        if table.view is not None:
            table.view = replace(table.view, every_s=0.0)
            console.print(table)
            write_page(table.view)  # which does not reload any more
