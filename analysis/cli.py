"""`c2d report` and `c2d explain`: parse, call, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands.extra_packages import check_extra

Runs = Annotated[
    Path | None,
    typer.Option("--runs", help="the store of all runs, or an archive of it (default: C2D_RUNS, else ./runs)"),
]


def report(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder of tables, figures and report.html")],
    specs: Annotated[
        list[str] | None,
        typer.Argument(metavar="SPEC.yaml", help="tables and figures (docs/analysis.md), or names of shipped ones"),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", metavar="NAME", help="a submitted sweep; again for more (default: all)"),
    ] = None,
    runs: Runs = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="root of the data cards, for pictures (default: C2D_DATA, else ./data)"),
    ] = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="rows under different protocols in one table, with a footnote")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="what was read before (default: C2D_CACHE, else ~/.cache/c2d)")
    ] = None,
) -> None:
    """Write tables, figures and a page from finished and unfinished runs. Needs no torch. Run folders never change."""
    check_extra("reports")
    from c2d.core.errors import InputError

    if data and not data.is_dir():
        raise InputError(f"--data {data} is no folder; give the root of the data cards")
    if data:  # figures find pixels by the same variable as the rest of the suite
        os.environ["C2D_DATA"] = str(data)
    from analysis.report.report import write_report
    from analysis.report.report_contents import ReportRequest

    # Figures and frames are some hundred thousand small objects that live briefly: Python's own thresholds search all
    # of them again and again, up to a fifth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    request = ReportRequest(_store(runs), out, tuple(sweep or ()), tuple(specs or ()), allow_mixed, cache)
    contents = write_report(request, lambda line: print(line, flush=True))
    if contents.skipped:
        raise typer.Exit(1)


def explain(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="any file of a table of a report")],
    row: Annotated[str, typer.Argument(metavar="ROW", help='its name ("method=c2d"), labels or number from 1')],
    column: Annotated[str, typer.Argument(metavar="COLUMN", help='its key ("AP", "delta.AP"), or header')],
    runs: Runs = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Show the runs, commits, configs and files behind one number of a table."""
    check_extra("reports")
    from analysis.report.explain import explain_cell

    explanation = explain_cell(table, row, column, _store(runs))
    print(explanation.to_json() if as_json else explanation.text())


def _store(runs: Path | None) -> Path:
    from c2d.core.store_folder import named_store

    return named_store(runs)
