"""`c2d bench`: what distillation costs. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure: the cost of a distilled training step.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def step(
    student: Annotated[
        list[str] | None, typer.Option(help="students to measure; repeat it (default: the three of the table)")
    ] = None,
    repeats: Annotated[int, typer.Option(min=3, help="counted pairs of steps (plain, distilled)")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads")] = None,
    out: Annotated[Path | None, typer.Option(help="where to write all samples (JSON)")] = None,
) -> None:
    """Time a plain and a distilled training step of each student in turn, and print their ratio."""
    from benchmarks.step import CASES, markdown, measure

    cases = [case for case in CASES if not student or case.student in student]
    if student and len(cases) < len(set(student)):
        from c2d.errors import unknown

        raise unknown(
            "student of the step table",
            next(name for name in student if name not in {case.student for case in CASES}),
            [case.student for case in CASES],
        )
    records = [measure(case, repeats, threads) for case in cases]
    print(markdown(records))
    if out is not None:
        from c2d.runfolder import atomic_write_json

        atomic_write_json(out, {"format": 1, "records": records})
