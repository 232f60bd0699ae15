"""`c2d runs export|import`: finished runs as one folder or file for others, and such archives into a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands.command_options import RunsOption, print_line

app = typer.Typer(
    help="Export finished runs as one folder or file, which `c2d report --runs` reads anywhere, and import it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR|NAME.tar.xz", help="new folder, or one new file")],
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="run ids, or their beginnings")
    ] = None,
    sweeps: Annotated[
        list[str] | None, typer.Option("--sweep", metavar="NAME", help="all finished runs of a submitted sweep")
    ] = None,
    runs: RunsOption = None,
    weights: Annotated[bool, typer.Option("--weights/--no-weights", help="student.pth and classifier.pth")] = True,
    detections: Annotated[bool, typer.Option("--detections/--no-detections", help="detections.json.gz")] = True,
    places: Annotated[
        bool,
        typer.Option("--places/--no-places", help="names of folders, hosts, users; without: $RUNS, $DATA, host-1, ..."),
    ] = True,
    curve_points: Annotated[
        int | None,
        typer.Option("--curve-points", metavar="N", help="most train steps of a run's curves (default: all)"),
    ] = None,
) -> None:
    """Copy finished runs and teachers into a new folder or file, with sha256 of each file. Exit 1: some are missing."""
    from c2d.core.store_folder import runs_folder
    from sweeps.archive.export_runs import ExportRequest, export_runs

    request = ExportRequest(
        runs_folder(runs), out, run_ids or (), sweeps or (), weights, detections, places, curve_points
    )
    index = export_runs(request, print_line)
    size_mb = sum(entry.bytes for entry in index.files.values()) / 1e6
    teachers = sum(role == "teacher" for role in index.runs.values())
    files = f"{len(index.files)} files, {size_mb:.1f} MB"
    files += f", {out.stat().st_size / 1e6:.2f} MB as one file" if out.is_file() else ""
    print(f"{out}: {len(index.runs)} runs ({teachers} of them teachers), {files}")
    print(f"read it: c2d report --runs {out} --out REPORT; add it to a store: c2d runs import {out} --runs STORE")
    if index.missing:
        raise typer.Exit(1)


@app.command("reopen")
def reopen_command(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="run ids, or their beginnings")],
    runs: RunsOption = None,
) -> None:
    """Let finished runs that were imported without weights be made again; their results have to be the same again."""
    from c2d.core.archives.remade_run import reopen
    from c2d.core.store_folder import find_run, runs_folder

    for folder in [find_run(given, runs_folder(runs)) for given in run_ids]:
        reopen(folder)
        print(f"{folder.id} is made again by the next c2d train {folder.path}, or the next submit of its sweep")


@app.command("import")
def import_command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="DIR|FILE...", help="exported folders or files, or other stores")
    ],
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
