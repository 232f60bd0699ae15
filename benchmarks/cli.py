"""`c2d bench`: what distillation costs. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="Measure: the cost of a distilled training step.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def step(
    questions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SPEC.yaml|RUN]...", help="questions to measure, instead of the shipped cases"),
    ] = None,
    student: Annotated[
        list[str] | None, typer.Option(help="students to measure; repeat it (default: the three of the table)")
    ] = None,
    repeats: Annotated[int, typer.Option(min=3, help="counted pairs of steps (plain, distilled)")] = 5,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads")] = None,
    out: Annotated[Path | None, typer.Option(help="where to write all samples (JSON)")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", help="the store (default: C2D_RUNS, else ./runs)")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="root of the data cards (default: C2D_DATA)")] = None,
) -> None:
    """Time plain and distilled training steps in turn, of questions or of the shipped ICOD cases; print their ratio."""
    if questions:
        if student:
            from c2d.errors import InputError

            raise InputError("give questions or --student, not both: --student chooses among the shipped cases")
        from benchmarks import questions as asked

        found = asked.measure(questions, runs, data, repeats, threads)
        print(asked.markdown(found))
        _keep(out, found)
        return
    from benchmarks.step import CASES, markdown, measure, peak_mib

    cases = [case for case in CASES if not student or case.student in student]
    if student and len(cases) < len(set(student)):
        from c2d.errors import unknown

        raise unknown(
            "student of the step table",
            next(name for name in student if name not in {case.student for case in CASES}),
            [case.student for case in CASES],
        )
    # A process of its own for each measurement: memory that one leaves behind must not count for the next.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        records = []
        for case in cases:
            record = pool.submit(measure, case, repeats, threads).result()
            for variant in ("plain", "distilled"):
                record[f"{variant}_mib"] = round(pool.submit(peak_mib, case, variant, threads).result(), 1)
            records.append(record)
    print(markdown(records))
    _keep(out, records)


def _keep(out: Path | None, records: list[dict[str, Any]]) -> None:
    if out is not None:
        from c2d.runfolder import atomic_write_json

        atomic_write_json(out, {"format": 1, "records": records})
