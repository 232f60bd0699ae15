"""Rows minus their baseline over seeds, with interval and test; the rows of one baseline in one column are a family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from analysis.stats.baseline_comparisons import Comparison, compare_with_baseline
from analysis.tables.aggregate import FEW, FEW_NOTE, Samples
from analysis.tables.table import Cell

ENOUGH_FOR_VARIANCES = 8
"""Seeds from which intervals cover 92 % or more even if one row varies three times as much (results/statistics.md)."""
UNPAIRED = "no seed in common with the baseline: compared unpaired"


def missing_difference(reason: str) -> Cell:
    """Return a cell without a difference: of the baseline itself, or of a row that has none."""
    return Cell(kind="missing", reason=reason)


def seed_cells(rows: Mapping[str, Samples], baseline: Samples) -> dict[str, Cell]:
    """Return the differences of one family over the seeds that each row has in common with the baseline.

    A row without a common seed is compared over all seeds, unpaired.

    Args:
        rows: {row key: its numbers}, without the baseline.
        baseline: its numbers.
    """
    with_values = {key: found.values for key, found in rows.items() if found.values}
    compared = compare_with_baseline(with_values, baseline.values) if baseline.values else {}
    return {key: _cell(found, baseline, compared.get(key)) for key, found in rows.items()}


def _cell(row: Samples, baseline: Samples, found: Comparison | None) -> Cell:
    n_planned = len(set(row.planned_seeds) & set(baseline.planned_seeds))
    if not row.values:
        return Cell(kind="missing", n_planned=n_planned, reason=row.reason)
    if found is None:
        return Cell(kind="missing", n_planned=n_planned, reason=f"its baseline has no value ({baseline.reason})")
    common = sorted(row.values.keys() & baseline.values.keys())
    runs = [found_runs[seed] for found_runs in (row.runs, baseline.runs) for seed in common or found_runs]
    notes = [] if common else [UNPAIRED]
    if found.n < FEW:
        notes.append(FEW_NOTE)
    return Cell(
        value=found.mean,
        n=found.n,
        n_planned=n_planned or max(len(row.planned_seeds), len(baseline.planned_seeds)),
        sd=found.sd,
        low=found.low,
        high=found.high,
        interval=found.interval,
        p=found.p,
        p_adjusted=found.p_adjusted,
        significant=found.significant,
        family=found.family,
        test=found.test,
        cross_check=found.cross_check,
        notes=(*notes, *found.notes),
        runs=tuple(runs),
    )


def sentences_of_tests(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield the sentences on the tests of a table, below it.

    Args:
        cells: of all difference columns.
    """
    tested = [cell for cell in cells if cell.p is not None]
    if not tested:
        yield "No difference of this table could be tested"
        return
    names = sorted({cell.test for cell in tested})
    sizes = sorted({cell.family for cell in tested})
    yield f"Tests: {'; '.join(names)}"
    if sizes == [1]:
        yield "Every row is the only one of its baseline, so p is not adjusted"
    else:
        numbers = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        yield (
            f"p and interval of a row are adjusted for the {numbers} rows that are compared with its baseline in its "
            "column, so they depend on these rows and on no other; each column and each baseline has its own 5 %"
        )
    pooled = [cell.n for cell in tested if cell.test.startswith("Dunnett")]
    if pooled:
        yield (
            "Dunnett: one residual variance for rows and seeds together; rows for which a test at 5 % rejects equal "
            "variances are tested by themselves"
        )
    if pooled and min(pooled) < ENOUGH_FOR_VARIANCES:
        yield (
            f"With fewer than {ENOUGH_FOR_VARIANCES} seeds that test often misses one row, or a baseline, that varies "
            "three times as much as the others; if there is one, the intervals cover 85 to 92 %"
        )
