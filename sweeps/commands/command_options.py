"""Option types of the `c2d sweep` commands, the workspace that they name, and printed lines."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sweeps.actions.workspace import Workspace
    from sweeps.state.plan import Row

LONGEST_S = 86_400
"""Longest time between two readings, a day: a system sleeps no infinity."""


class Where(StrEnum):
    """Launchers."""

    dry = "dry"
    local = "local"
    slurm = "slurm"


DefinitionArg = Annotated[
    str, typer.Argument(metavar="DEF.yaml", help="a definition, or the name of a shipped or submitted one")
]
RunsOption = Annotated[
    Path | None, typer.Option("--runs", help="the store of all runs (default: C2D_RUNS, else ./runs)")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA, else ./data)")
]
WhereOption = Annotated[
    Where | None,
    typer.Option(
        "--where",
        help="dry: print; local: this machine; slurm: a cluster (default: slurm if the sweep was there, else local)",
        show_choices=False,
    ),
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="the machine's settings: name or YAML (default: C2D_PROFILE)")
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="AXIS=LABEL", help="only these cells; same axis again: or, another axis: and"),
]
TrackOption = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="NAME[:PLACE]",
        help="tensorboard[:FOLDER], mlflow[:URI], wandb[:PROJECT]; several with a comma (default: the profile's)",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask for confirmation")]
ForwardOption = Annotated[
    bool, typer.Option("--forward/--no-forward", help="dry run: one training step of every structure")
]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="one line for every run, whatever their number")]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object")]
MAX_LINES = 200
"""Runs up to which `plan` and `submit` print one line each; for more, counts by state (-v: all lines)."""


def open_workspace(runs: Path | None, data: Path | None, where: Where, profile: str | None) -> Workspace:
    """Return the absolute paths and the profile that the options and the environment name.

    Args:
        runs: the store; None: C2D_RUNS, else ./runs.
        data: root of the data cards; None: C2D_DATA, else ./data.
        where: launcher; `local` has the profile `cpu` by default.
        profile: name or path; None: C2D_PROFILE, else the default.

    Raises:
        InputError: unknown profile, or a wrong key in it.
    """
    from c2d.core.store_folder import runs_folder
    from sweeps.actions.workspace import Workspace
    from sweeps.definition.profile import load_profile

    name = profile or os.environ.get("C2D_PROFILE") or ("cpu" if where is Where.local else None)
    root = data or Path(os.environ.get("C2D_DATA") or "data")
    return Workspace(runs_folder(runs).absolute(), root.absolute(), where.value, load_profile(name))


def with_known_launcher(workspace: Workspace, sweep: str, profile: str | None) -> Workspace:
    """Return the workspace with the launcher of a sweep that was submitted to SLURM: nothing trains here unless asked.

    Args:
        workspace: of a command without --where.
        sweep: name of the sweep.
        profile: what the person gave; None: the profile of the submission is used.
    """
    from dataclasses import replace

    from c2d.core.sweep_manifest import read_manifest
    from sweeps.definition.profile import load_profile, stored_profile

    manifest = read_manifest(workspace.runs, sweep)
    if not isinstance(manifest, dict) or manifest.get("where") != "slurm":
        return workspace
    name = profile or os.environ.get("C2D_PROFILE")
    machine = load_profile(name) if name else stored_profile(workspace.runs, sweep, str(manifest["profile"]))
    print_line(f"--where slurm, profile {machine.name}, as before; --where local would train on this machine")
    return replace(workspace, where="slurm", profile=machine)


def print_line(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def print_lines(lines: list[str], verbose: bool) -> None:
    """Print one line per run, or their counts by state when there are more than MAX_LINES; then clear the list."""
    if lines and (verbose or len(lines) <= MAX_LINES):
        print("\n".join(lines), flush=True)
    elif lines:
        counts: dict[str, int] = {}
        for line in lines:
            key = " ".join(line.split()[:2] if line.startswith("->") else line.split()[:1])
            counts[key] = counts.get(key, 0) + 1
        text = "\n".join(f"{count:7} {key}" for key, count in counts.items())
        print(f"{text}\n(-v: a line for every run)", flush=True)
    lines.clear()


def print_plan(rows: list[Row], verbose: bool) -> None:
    """Print one line per run and the number of runs in each state."""
    from sweeps.actions.submit import plan_lines

    print_lines(plan_lines(rows, {row.run.id for row in rows if row.launch}), verbose)
    counts = {state: sum(row.state == state for row in rows) for state in dict.fromkeys(row.state for row in rows)}
    print(", ".join(f"{count} {state}" for state, count in counts.items()) or "no run matches")
