"""`c2d sweep hold`, `release`, `nice` and `cap`: change jobs that wait in SLURM's queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.command_options import DefinitionArg, FilterOption, RunsOption, Where, open_workspace, print_line

if TYPE_CHECKING:
    from sweeps.actions.change_waiting import Change
    from sweeps.state.plan import Row


def hold_command(definition: DefinitionArg, runs: RunsOption = None, filters: FilterOption = None) -> None:
    """Hold waiting jobs. They stay in the queue and do not start before `release`; running ones continue."""
    from sweeps.actions import change_waiting

    _change(definition, runs, filters, lambda rows, store: change_waiting.hold(rows))


def release_command(definition: DefinitionArg, runs: RunsOption = None, filters: FilterOption = None) -> None:
    """Release held jobs. Also those that SLURM holds after a failed launch."""
    from sweeps.actions import change_waiting

    _change(definition, runs, filters, lambda rows, store: change_waiting.release(rows))


def nice_command(
    definition: DefinitionArg,
    value: Annotated[int, typer.Argument(min=-2147483645, max=2147483645, help="subtracted from the priority")],
    runs: RunsOption = None,
    filters: FilterOption = None,
) -> None:
    """Lower the priority of waiting jobs by VALUE. 0: not at all; a value below 0 raises it: SLURM operators only."""
    from sweeps.actions import change_waiting

    _change(definition, runs, filters, lambda rows, store: change_waiting.set_nice(rows, value))


def cap_command(
    definition: DefinitionArg,
    count: Annotated[int, typer.Argument(min=1, help="runs at once")],
    runs: RunsOption = None,
    filters: FilterOption = None,
) -> None:
    """Change how many submitted runs may run at once. Later submissions take `array_cap` of their profile."""
    from sweeps.actions import change_waiting
    from sweeps.actions.workspace import submission_lock

    def change(rows: list[Row], store: Path) -> Change:
        with submission_lock(store):
            return change_waiting.set_cap(rows, count)

    _change(definition, runs, filters, change)


def _change(
    definition: str, runs: Path | None, filters: list[str] | None, change: Callable[[list[Row], Path], Change]
) -> None:
    """Apply a change to the rows that the filters select, and print its lines; exit code 1 where SLURM refused some."""
    from sweeps.actions.row_filters import filter_rows
    from sweeps.state.manifest import load_manifest
    from sweeps.state.plan import read_plan

    store = open_workspace(runs, None, Where.local, None).runs
    rows, _ = read_plan(load_manifest(store, definition), store)
    outcome = change(filter_rows(rows, filters or ()), store)
    for line in outcome.lines:
        print_line(line)
    if outcome.refused:
        raise typer.Exit(1)
