"""Simulate the interval of the gap closed: how often it is given, and then holds. `make simulate`, a minute.

    python -m tests.analysis.stats.simulate_gap [--repeats 4000]

Row, control and reference share an effect of each seed. The row truly closes `SHARE` of a gap that is some standard
deviations wide. Beside it the percentile bootstrap over seeds, and the interval that takes the gap for exact. Results:
docs/results/statistics.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.special import stdtrit

from analysis.stats.gap_closed import gap_closed
from c2d.metrics.coco_data import Array

SHARE = 0.4
GAPS, SEEDS = (2.0, 5.0, 20.0), (3, 5, 8)
NOISE: dict[str, Callable[[np.random.Generator, Any], Array]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails (t, 3 df)": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
    "skewed (exponential)": lambda rng, shape: rng.exponential(size=shape) - 1,
}
SPREAD = {"equal": (1.0, 1.0, 1.0), "control x 0.1": (1.0, 0.1, 1.0), "row x 3": (3.0, 1.0, 1.0)}
"""{name: standard deviations of row, control and reference}."""


def draw(noise: str, spread: str, gap: float, n: int, repeats: int) -> Array:
    """Values (repeats, 3, n) of row, control and reference."""
    rng = np.random.default_rng([n, int(10 * gap)])
    values = NOISE[noise](rng, (repeats, 3, n)) * np.array(SPREAD[spread])[:, None] + rng.normal(size=(repeats, 1, n))
    return values + gap * np.array([SHARE, 0.0, 1.0])[:, None]


def rates(values: Array) -> tuple[float, float, float, float]:
    """(share of tables with an interval, and of these: it holds, the bootstrap's holds, that of an exact gap holds)."""
    given, held, by_bootstrap, by_exact = 0, 0, 0, 0
    n = values.shape[2]
    picks = np.array(list(itertools.product(range(n), repeat=n))) if n <= 5 else None
    rng = np.random.default_rng(0)
    quantile = float(stdtrit(n - 1, 0.975))
    for row, control, reference in values:
        of_row, of_control, of_reference = (dict(enumerate(one.tolist())) for one in (row, control, reference))
        found = gap_closed(of_row, of_control, of_reference, "higher")
        if found.value is None:
            continue
        given += 1
        held += found.low is not None and found.high is not None and found.low <= SHARE <= found.high
        gain, gap = row - control, reference - control
        drawn = picks if picks is not None else rng.integers(n, size=(1000, n))
        low, high = np.quantile(gain[drawn].mean(axis=1) / gap[drawn].mean(axis=1), (0.025, 0.975))
        by_bootstrap += low <= SHARE <= high
        half = quantile * gain.std(ddof=1) / math.sqrt(n) / gap.mean()
        by_exact += abs(found.value - SHARE) <= half
    return given / len(values), held / max(given, 1), by_bootstrap / max(given, 1), by_exact / max(given, 1)


def lines(repeats: int) -> Iterator[str]:
    """The table of docs/results/statistics.md, in %."""
    yield "| noise | spread | gap, sd | " + " | ".join(f"{n} seeds" for n in SEEDS) + " |"
    yield "|---|---|---|" + "---|" * len(SEEDS)
    for noise, spread, gap in itertools.product(NOISE, SPREAD, GAPS):
        found = [rates(draw(noise, spread, gap, n, repeats)) for n in SEEDS]
        cells = [" / ".join(f"{100 * share:.1f}" for share in one) for one in found]
        yield f"| {noise} | {spread} | {gap:g} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=4000)
    clock = time.process_time()
    print("interval given / it holds / percentile bootstrap / gap taken for exact\n")
    for line in lines(parser.parse_args().repeats):
        print(line, flush=True)
    print(f"\n{time.process_time() - clock:.0f} s of a core")


if __name__ == "__main__":
    main()
