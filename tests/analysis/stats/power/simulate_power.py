"""Simulate plans of seeds: the power that they reach under the whole rule of the table, and the interval of the spread.

    python -m tests.analysis.stats.power.simulate_power [--repeats 2000]

Rows and baseline share an effect of each seed that is five times the noise, which is normal with standard deviation 1.
The first row is truly better by what the design detects with 80 %, and is compared by `compare_with_baseline`, which
also tests for equal variances. Then pilots of few seeds: how often the interval of the residual standard deviation
holds 1, and that of the seeds needed holds the number that the true deviation needs. `make simulate`, 3 minutes.
Results: docs/results/statistics.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from analysis.stats.baseline_comparisons import compare_with_baseline
from analysis.stats.power.comparison_power import FamilyTest, seeds_needed, smallest_difference
from analysis.stats.power.residual_spread import residual_spread
from c2d.metrics.coco_data import Array

POWER, DIFFERENCE_SD = 0.8, 1.5
ROWS, SEEDS = (1, 3, 7, 11), (3, 5, 8)


def draw(rows: int, seeds: int, repeats: int, difference: float = 0.0) -> Array:
    """Values (repeats, 1 + rows, seeds); row 0 is the baseline, and row 1 is better by the difference."""
    rng = np.random.default_rng([rows, seeds])
    values = rng.normal(size=(repeats, 1 + rows, seeds)) + 5 * rng.normal(size=(repeats, 1, seeds))
    values[:, 1] += difference
    return values


def detected(rows: int, seeds: int, repeats: int) -> float:
    """Share of tables in which the row that the design detects with 80 % is significantly better."""
    difference = smallest_difference(FamilyTest(rows), seeds, POWER)
    found = 0
    for values in draw(rows, seeds, repeats, difference):
        one = compare_with_baseline(*_rows(values))["row 1"]
        found += bool(one.significant) and one.mean > 0
    return found / repeats


def coverage(rows: int, seeds: int, repeats: int) -> tuple[float, float]:
    """(share of pilots whose interval holds the true deviation, whose interval of seeds holds the true number)."""
    true = seeds_needed(FamilyTest(rows), DIFFERENCE_SD, POWER)
    assert true is not None
    of_sd = of_seeds = 0
    for values in draw(rows, seeds, repeats):
        found = residual_spread(*_rows(values), rows)
        of_sd += found.low <= 1 <= found.high
        fewest, most = (seeds_needed(found.test, DIFFERENCE_SD / end, POWER) for end in (found.low, found.high))
        of_seeds += fewest is not None and most is not None and fewest <= true <= most
    return of_sd / repeats, of_seeds / repeats


def _rows(values: Array) -> tuple[dict[str, dict[int, float]], dict[int, float]]:
    baseline, *rows = (dict(enumerate(row)) for row in values.tolist())
    return {f"row {number}": row for number, row in enumerate(rows, 1)}, baseline


def lines(repeats: int) -> Iterator[str]:
    """Yield the lines of the table of docs/results/statistics.md."""
    yield f"| rows compared | {' | '.join(f'{seeds} seeds' for seeds in SEEDS)} |"
    yield f"|{'---|' * (1 + len(SEEDS))}"
    for rows in ROWS:
        cells = []
        for seeds in SEEDS:
            shares = (detected(rows, seeds, repeats), *coverage(rows, seeds, repeats))
            cells.append(" / ".join(f"{100 * share:.1f}" for share in shares))
        yield f"| {rows} | {' | '.join(cells)} |"


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repeats", type=int, default=2000, help="tables and pilots of each design")
    began = time.perf_counter()
    for line in lines(options.parse_args().repeats):
        print(line, flush=True)
    print(f"{time.perf_counter() - began:.0f} s")
