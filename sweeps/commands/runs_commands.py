"""`c2d runs export|import`: finished runs as one folder for others, and such folders into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands.command_options import RunsOption, print_line

app = typer.Typer(
    help="Export finished runs as one folder that `c2d report --runs` reads anywhere, and import such folders.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="new folder")],
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="run ids, or their beginnings")
    ] = None,
    sweeps: Annotated[
        list[str] | None, typer.Option("--sweep", metavar="NAME", help="all finished runs of a submitted sweep")
    ] = None,
    runs: RunsOption = None,
    weights: Annotated[bool, typer.Option("--weights/--no-weights", help="student.pth and classifier.pth")] = True,
    detections: Annotated[bool, typer.Option("--detections/--no-detections", help="detections.json.gz")] = True,
) -> None:
    """Copy finished runs and their teachers into a new folder, with sha256 of every file. Exit 1: some are missing."""
    from c2d.core.store_folder import runs_folder
    from sweeps.archive.export_runs import ExportRequest, export_runs

    request = ExportRequest(runs_folder(runs), out, run_ids or (), sweeps or (), weights, detections)
    index = export_runs(request, print_line)
    size_mb = sum(entry.bytes for entry in index.files.values()) / 1e6
    teachers = sum(role == "teacher" for role in index.runs.values())
    print(f"{out}: {len(index.runs)} runs ({teachers} of them teachers), {len(index.files)} files, {size_mb:.1f} MB")
    print(f"read it: c2d report --runs {out} --out REPORT; add it to a store: c2d runs import {out} --runs STORE")
    if index.missing:
        raise typer.Exit(1)


@app.command("import")
def import_command(
    sources: Annotated[list[Path], typer.Argument(metavar="DIR...", help="exported folders, or other stores")],
    runs: RunsOption = None,
) -> None:
    """Add finished runs to a store; what it has stays. Exit 1: a conflict or a run that cannot be used, each named."""
    from c2d.core.store_folder import runs_folder
    from sweeps.archive.import_runs import import_runs

    store, has_problem = runs_folder(runs), False
    for source in sources:
        done = import_runs(source, store)
        for kind, lines in (("conflict", done.conflicts), ("refused", done.refused)):
            for line in lines:
                print(f"{kind}: {line}")
        for run, count in done.completed.items():
            print(f"{run}: {count} files added that it did not have here")
        counts = [
            f"{len(done.added)} runs added",
            f"{len(done.equal)} were there already",
            f"{len(done.left_out)} not finished",
            f"{len(done.sweeps)} sweeps added",
            f"{len(done.conflicts)} conflicts",
            f"{len(done.refused)} refused",
        ]
        print(f"{source} into {store}: {', '.join(counts)}")
        has_problem |= bool(done.conflicts or done.refused)
    if has_problem:
        raise typer.Exit(1)
