"""The demo's table, and checks of its numbers: a table of zeros must not pass for a result."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from rich.table import Table

from c2d.core.run_folder import read_json
from sweeps.demo import Demo, DemoCell, has_teacher

MIN_TOP1 = 0.90
BASELINE_AP50 = (0.20, 0.60)
"""Below, the student has not learned; above, a teacher has little left to improve."""
MAIN_ERRORS = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
COLUMNS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "AP": lambda result: result["AP"],
    "AP50": lambda result: result["AP50"],
    "AP75": lambda result: result["AP75"],
    "TIDE Cls": lambda result: result["tide"]["dAP"]["Cls"],
    "TIDE Loc": lambda result: result["tide"]["dAP"]["Loc"],
}


def table(demo: Demo) -> tuple[list[str], list[list[str]]]:
    """Return (header, rows): percent, mean ± standard deviation over several seeds; the last column is seeds n/N."""
    top1 = read_json(demo.teacher.result)["top1"]
    detector = None if demo.detector is None else read_json(demo.detector.result)["AP"]
    rows = []
    for cell in demo.cells:
        results = [read_json(run.result) for run in cell.runs]
        minutes = statistics.mean(result["seconds"]["train"] for result in results) / 60
        rows.append(
            [
                cell.name,
                *(_percent([column(result) for result in results]) for column in COLUMNS.values()),
                f"{100 * top1:.1f}" if any(has_teacher(run) for run in cell.runs) else "-",
                *([] if detector is None else [_percent([detector]) if _has_detector_teacher(cell) else "-"]),
                f"{minutes:.1f}",
                f"{len(results)}/{demo.n_seeds}",
            ]
        )
    teachers = ["teacher top-1"] if detector is None else ["teacher top-1", "teacher AP"]
    return ["method", *COLUMNS, *teachers, "minutes", "seeds"], rows


def _has_detector_teacher(cell: DemoCell) -> bool:
    return any(has_teacher(run, "detector") for run in cell.runs)


def printed_table(demo: Demo) -> Table:
    """Return the table as rich prints it."""
    header, rows = table(demo)
    printed = Table(
        title=demo.definition.question,
        title_justify="left",
        caption="percent; TIDE: AP gained if that error were fixed; one seed is no evidence: the last column is n of "
        f"{demo.n_seeds}",
        caption_justify="left",
    )
    for index, name in enumerate(header):
        printed.add_column(name, justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in rows:
        printed.add_row(*row)
    return printed


def _percent(values: list[float | None]) -> str:
    defined = [100 * value for value in values if value is not None]
    if not defined:
        return "-"
    spread = f" ± {statistics.stdev(defined):.1f}" if len(defined) > 1 else ""
    return f"{statistics.mean(defined):.1f}{spread}"


def demo_checks(demo: Demo) -> list[tuple[bool, str]]:
    """Return (passed, description) of each check, on the first seed."""
    teacher = read_json(demo.teacher.result)
    baseline = read_json(next(cell for cell in demo.cells if cell.name == "baseline").runs[0].result)
    errors = {name: baseline["tide"]["dAP"][name] for name in MAIN_ERRORS}
    largest = max(errors, key=lambda name: errors[name])
    low, high = BASELINE_AP50
    return [
        (
            teacher["top1"] >= MIN_TOP1,
            f"classifier top-1 on {teacher['n']} held-out crops {teacher['top1']:.3f} (at least {MIN_TOP1})",
        ),
        (
            low <= baseline["AP50"] <= high,
            f"baseline AP50 {100 * baseline['AP50']:.1f} (between {100 * low:.0f} and {100 * high:.0f})",
        ),
        (
            largest == "Cls",
            "largest TIDE error of the baseline: "
            + ", ".join(
                f"{name} {100 * value:.1f}" for name, value in sorted(errors.items(), key=lambda item: -item[1])
            ),
        ),
    ]
