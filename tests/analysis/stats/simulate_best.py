"""Simulate how often the truly best row is ruled out, and how many worse rows stay near it. `make simulate`, minutes.

    python -m tests.analysis.stats.simulate_best [--tables 1000]

Two settings of every noise, spread, number of rows m and of seeds n: all rows are equally good (ruling out the first
one is an error, at most 2.5 % are meant), and the first row leads all others by `LEAD` standard deviations (how many of
the others still carry the mark). Results: docs/results/statistics.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.stats.baseline_comparisons import compare_with_baseline
from analysis.stats.best_rows import best_rows
from c2d.metrics.coco_data import Array

LEAD = 4.0
COLLAPSE = -20.0  # standard deviations
ROWS, SEEDS = (2, 4, 8, 16), (3, 5, 8, 10)
NOISE: dict[str, Callable[[np.random.Generator, Any], Array]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails (t, 3 df)": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
    "one run in ten collapsed": lambda rng, shape: rng.normal(size=shape) + COLLAPSE * (rng.random(shape) < 0.1),
}
SPREAD: dict[str, Callable[[int], Array]] = {
    "equal": np.ones,
    "every second row x 3": lambda m: np.where(np.arange(m) % 2, 3.0, 1.0),
    "the best row x 3": lambda m: np.where(np.arange(m) == 0, 3.0, 1.0),
}


def ruled_out(values: Array) -> bool:
    """Whether some row is significantly better than the first; values (m, n)."""
    rows = [dict(enumerate(row.tolist())) for row in values]
    found = compare_with_baseline({str(at): row for at, row in enumerate(rows[1:])}, rows[0])
    return any(one.significant and one.mean > 0 for one in found.values())


def still_near(values: Array) -> float:
    """Share of the rows behind the first that are bold or near the best; values (m, n)."""
    rows = {str(at): dict(enumerate(row.tolist())) for at, row in enumerate(values)}
    found = best_rows(rows, "higher", 9)
    return len((found.best | found.near) - {"0"}) / (len(rows) - 1)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=1000, help="simulated tables a setting")
    tables = parser.parse_args().tables
    rng, start = np.random.default_rng(0), time.process_time()
    print("| noise | spread of the rows | m | " + " | ".join(f"n = {n}" for n in SEEDS) + " |")
    print("|---|---|---:|" + "---:|" * len(SEEDS))
    for noise, draw in NOISE.items():
        for spread, scale in SPREAD.items():
            for m in ROWS:
                shares = []
                for n in SEEDS:
                    values = draw(rng, (tables, m, n)) * scale(m)[:, None]
                    out = np.mean([ruled_out(one) for one in values])
                    lead = values[: tables // 10] + LEAD * (np.arange(m) == 0)[:, None]
                    shares.append(f"{100 * out:.1f} ({100 * np.mean([still_near(one) for one in lead]):.0f})")
                print(f"| {noise} | {spread} | {m} | {' | '.join(shares)} |", flush=True)
    print(f"\n{time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
