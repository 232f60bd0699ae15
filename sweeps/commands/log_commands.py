"""`c2d sweep logs`: the output of one run, all of its attempts and ranks, once or until it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.command_options import DefinitionArg, RunsOption, Where, open_workspace, print_line

if TYPE_CHECKING:
    from sweeps.actions.run_logs import LogPart
    from sweeps.state.plan import Row


def logs_command(
    definition: DefinitionArg,
    cell: Annotated[
        list[str] | None,
        typer.Argument(metavar="CELL", help="a run id, its beginning, or AXIS=LABEL (several: and)"),
    ] = None,
    runs: RunsOption = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="print new lines until the run ends, across requeues")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="this attempt, counted from 1 over all launches; default: the newest")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=0, help="only this process of the run; default: all")] = None,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="last lines of each file")] = 50,
) -> None:
    """Print the end of the logs of one run, path first. Without CELL, or where several runs fit: their paths."""
    from c2d.core.errors import InputError
    from sweeps.actions.run_logs import attempt_parts, last_lines, log_files

    workspace = open_workspace(runs, None, Where.local, None)
    rows = _rows(workspace.runs, definition, cell or [])
    if follow and attempt is not None:
        raise InputError("--attempt names a part that has ended, -f follows the newest one; give one of them")
    if len(rows) > 1:
        if follow:
            listed = ", ".join(row.run.id for row in rows[:5])
            raise InputError(f"-f follows one run, and {len(rows)} fit: {listed}, ...; give a run id or its beginning")
        _print_paths(rows)
        return
    [row] = rows
    logs = log_files(row.run, workspace.runs)
    if rank is not None and logs and not any(log.rank == rank for log in logs):
        ranks = sorted({log.rank for log in logs if log.rank is not None})
        raise InputError(f"{row.run.id} has no log of rank {rank}; ranks with one: {', '.join(map(str, ranks))}")
    if not logs:
        print_line(f"{row.run.id} has no log yet: {row.state}, {row.reason}")
    # Before anything is read: -f continues here.
    sizes = {log.path: log.path.stat().st_size for log in logs}
    try:
        parts, count = attempt_parts(logs, attempt)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}; ask its owner") from None
    if attempt is not None and attempt > count and logs:
        raise InputError(f"{row.run.id} has no attempt {attempt}; it has {count}, counted from 1")
    parts = [
        part if part.end is not None else replace(part, end=sizes[part.log.path])
        for part in parts
        if rank is None or part.log.rank == rank
    ]
    for part in parts:
        print_line(f"==> {part.log.title}{_of_attempts(part, attempt, count)}")
        for line in last_lines(part, lines):
            _print_log_line(line)
    if follow:
        _follow(row, workspace.runs, definition, sizes, rank)


def _print_log_line(line: str) -> None:
    """Print a line of a log; `setup:` lines and programs of the user may have printed a secret into it."""
    from c2d.core.masking import mask_text

    print_line(mask_text(line))


def _of_attempts(part: LogPart, attempt: int | None, count: int) -> str:
    return f", attempt {attempt or count} of {count}" if part.log.attempts and count > 1 else ""


def _rows(runs: Path, definition: str, cell: list[str]) -> list[Row]:
    """Return the rows that the words name: ids or their beginnings, and filters.

    Raises:
        InputError: no run fits.
    """
    from c2d.core.errors import InputError, unknown_name
    from sweeps.actions.row_filters import filter_rows
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import read_plan

    rows, _ = read_plan(load_manifest(runs, definition), runs)
    filters, ids = [word for word in cell if "=" in word], [word for word in cell if "=" not in word]
    fitting = filter_rows(rows, filters)
    for text in ids:
        exact = [row for row in rows if row.run.id == text]
        begun = exact or [row for row in rows if text and row.run.id.startswith(text)]
        if not begun:
            hint = "write a run id, its beginning, or axis=label"
            raise unknown_name("run of this sweep", text, [row.run.id for row in rows], hint)
        fitting = [row for row in fitting if row in begun]
    if not fitting:
        raise InputError(f"no run of this sweep fits {' '.join(cell)}; `c2d sweep status {definition}` lists its runs")
    return fitting


def _print_paths(rows: list[Row]) -> None:
    from sweeps.actions.run_logs import path_line

    for row in rows:
        print_line(path_line(row))
    print_line(f"{len(rows)} runs; give one of them to see its log")


def _follow(row: Row, runs: Path, definition: str, read: dict[Path, int], rank: int | None) -> None:
    from sweeps.actions.follow_logs import follow

    newest = row

    def has_ended() -> bool:
        nonlocal newest
        [newest] = _rows(runs, definition, [row.run.id])
        return newest.state in ("done", "failed", "blocked") or newest.launch

    follow(row.run, runs, read, has_ended, _print_log_line, rank)
    print_line(f"{newest.run.id}: {newest.state}, {newest.reason}")
    if newest.state in ("failed", "blocked"):
        raise typer.Exit(1)
