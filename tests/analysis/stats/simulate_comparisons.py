"""Simulate the comparison of rows with a baseline: coverage, false differences, power. `make simulate`, minutes.

Every setting draws `repeats` tables of m rows (the baseline is one of them) and n seeds and compares them with
`analysis.stats.baseline_comparisons`. Tables whose variances pass the test of equal variances are computed together,
which the first of them are compared with; the others one by one. Results: docs/results/statistics.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr

from analysis.stats.baseline_comparisons import Comparison, compare_with_baseline
from analysis.stats.block_design import BlockDesign, BlockFit, null_distribution, upper_p
from analysis.stats.common_residual import FEWEST_DF, GROSSLY_UNEQUAL, OUTLYING, UNEQUAL
from analysis.stats.dunnett import critical_value
from analysis.stats.multiple_comparisons import holm
from analysis.stats.permutation import smallest_p
from c2d.metrics.coco_data import Array

EFFECT = 3.0  # of every second row, in standard deviations, where coverage is counted
RATIO = 3.0
COLLAPSE = -20.0  # standard deviations
ROWS, SEEDS = (2, 4, 8, 16), (3, 5, 8, 10)

NOISE: dict[str, Callable[[np.random.Generator, Any], Array]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails (t, 3 df)": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
    "one run in ten collapsed": lambda rng, shape: rng.normal(size=shape) + COLLAPSE * (rng.random(shape) < 0.1),
    "one run collapsed": lambda rng, shape: _one_collapsed(rng.normal(size=shape)),
}
SPREAD: dict[str, Callable[[int], Array]] = {
    "equal": np.ones,
    "every second row x 3": lambda m: np.where(np.arange(m) % 2, RATIO, 1.0),
    "one row x 3": lambda m: np.where(np.arange(m) == 1, RATIO, 1.0),
    "baseline x 3": lambda m: np.where(np.arange(m) == 0, RATIO, 1.0),
}
SETTINGS = (
    ("normal", "equal", False), ("normal", "equal", True), ("heavy tails (t, 3 df)", "equal", False),
    ("normal", "every second row x 3", False), ("normal", "one row x 3", False), ("normal", "baseline x 3", False),
    ("heavy tails (t, 3 df)", "every second row x 3", False), ("one run in ten collapsed", "equal", False),
    ("one run collapsed", "equal", False),
)  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """Shares of the simulated tables, 0-1.

    Attributes:
        covered: all intervals hold their true difference, every second row being `EFFECT` better.
        each: intervals that hold their true difference.
        false: some difference is significant where none is real.
        separate: some row was tested by itself.
        flagged: some row has a note.
    """

    covered: float
    each: float
    false: float
    separate: float
    flagged: float


def _one_collapsed(noise: Array) -> Array:
    noise[:, 1, 0] += COLLAPSE
    return noise


def some_missing(m: int, n: int) -> Array:
    """A design (m, n) in which every third row, from the second on, lacks the last seed."""
    present = np.ones((m, n), bool)
    present[1::3, -1] = False
    return present


def draw(noise: str, spread: str, present: Array, repeats: int, seed: int = 0) -> Array:
    """Values (repeats, m, n) without effect: an effect of each seed, and noise."""
    rng = np.random.default_rng([seed, *present.shape])
    values = SPREAD[spread](present.shape[0])[:, None] * NOISE[noise](rng, (repeats, *present.shape))
    values += 5 * rng.normal(size=(repeats, 1, present.shape[1]))
    return np.where(present, values, np.nan)


def rates(noise: str, spread: str, present: Array, repeats: int) -> Rates:
    """Simulate one setting."""
    values = draw(noise, spread, present, repeats)
    design = BlockDesign(present)
    fit = design.fit(values)
    true = EFFECT * SPREAD[spread](len(present))[1:] * (np.arange(1, len(present)) % 2 == 0)
    alone, flagged = _needs_a_closer_look(design, fit)
    half = np.empty_like(fit.difference)
    half[:] = _half_width(design, fit)
    held: Any = np.abs(fit.difference) <= half
    false = ~held.all(axis=1)
    for at in np.flatnonzero(alone):
        of_effect = compared(values[at], true)
        held[at] = [one.low is not None and one.low <= t <= one.high for one, t in zip(of_effect, true, strict=True)]
        false[at] = any(one.significant for one in compared(values[at], 0 * true))
        flagged[at] |= any(one.notes for one in of_effect)
    for at in np.flatnonzero(~alone & ~flagged)[:3]:
        for one, mean, width in zip(compared(values[at], 0 * true), fit.difference[at], half[at], strict=True):
            assert one.low is not None
            assert one.high is not None
            assert np.allclose((one.low, one.high), (mean - width, mean + width)), one
    return Rates(*(float(part.mean()) for part in (held.all(axis=1), held, false, alone, flagged)))


def compared(values: Array, effects: Array) -> list[Comparison]:
    """The comparisons of one table (m, n), with effects (m - 1,) added to its rows."""
    moved = values + np.array([0.0, *effects])[:, None]
    rows = {str(i): {s: float(v) for s, v in enumerate(row) if np.isfinite(v)} for i, row in enumerate(moved)}
    found = compare_with_baseline({row: of for row, of in rows.items() if row != "0"}, rows["0"])
    return list(found.values())


def _needs_a_closer_look(design: BlockDesign, fit: BlockFit) -> tuple[Array, Array]:
    """(tables whose variances are not equal, tables with an outlying seed), each (R,) bool."""
    null = null_distribution(design)

    def p(ordered: Array, largest: Array) -> Array:
        return np.array([upper_p(ordered, float(value)) for value in largest])

    unequal = p(null.ratio, fit.ratio.max(axis=1)) < UNEQUAL
    unequal |= p(null.share, fit.share.max(axis=1)) < GROSSLY_UNEQUAL
    if len(design.pairs) == 1:
        unequal[:] = False
    outlying = p(null.residual, np.abs(fit.residual).max(axis=(1, 2))) < OUTLYING
    return unequal, outlying & (design.df >= FEWEST_DF)


def _half_width(design: BlockDesign, fit: BlockFit) -> Array:
    critical = critical_value(len(design.pairs), float(design.df), design.correlation)
    return critical * np.sqrt(2 * fit.variance[:, None] / design.pairs)


def power(m: int, n: int, effect: float, repeats: int) -> dict[str, float]:
    """Share of the rows, all `effect` standard deviations better, that each test finds."""
    design = BlockDesign(np.ones((m, n), bool))
    values = draw("normal", "equal", design.present, repeats)
    values[:, 1:] += effect
    fit = design.fit(values)
    found = np.abs(fit.difference) > _half_width(design, fit)
    for at in np.flatnonzero(_needs_a_closer_look(design, fit)[0]):
        found[at] = [one.significant for one in compared(values[at], np.zeros(m - 1))]
    ps = 2 * stdtr(n - 1, -np.abs(fit.difference) / (fit.sd / math.sqrt(n)))
    by_holm = np.array([[p < 0.05 for p in holm(row)] for row in ps.tolist()])  # type: ignore[operator]
    reach = min(1.0, (m - 1) * smallest_p(n, 9_999))
    return {"default": float(found.mean()), "paired t, Holm": float(by_holm.mean()), "smallest p of sign flips": reach}


def lines(repeats: int) -> Iterator[str]:
    """The tables of docs/results/statistics.md, in %."""
    by_seeds = " | ".join(f"{n} seeds" for n in SEEDS)
    coverage = [f"| noise | rows | {by_seeds} |", "|---" * (2 + len(SEEDS)) + "|"]
    found_out = list(coverage)
    for noise, spread, missing in SETTINGS:
        for m in ROWS:
            name = f"{noise}, {spread}{', every third row lacks a seed' * missing} | {m}"
            designs = [some_missing(m, n) if missing else np.ones((m, n), bool) for n in SEEDS]
            found = [rates(noise, spread, design, repeats) for design in designs]
            parts = [(one.covered, one.each, one.false) for one in found]
            coverage.append(f"| {name} | " + " | ".join(_percent(*part) for part in parts) + " |")
            found_out.append(f"| {name} | " + " | ".join(_percent(one.separate, one.flagged) for one in found) + " |")
            print(coverage[-1], flush=True)
    yield from ("", "all intervals hold / one interval holds / a false difference", "", *coverage)
    yield from ("", "a row tested by itself / a note", "", *found_out)
    yield from ("", "| seeds | default | paired t, Holm | smallest p of sign flips, 7 tests |", "|---|---|---|---|")
    for n in range(3, 13):
        shares = power(8, n, 3.0, repeats)
        yield (
            f"| {n} | {_percent(shares['default'])} | {_percent(shares['paired t, Holm'])} | "
            f"{shares['smallest p of sign flips']:.2g} |"
        )


def _percent(*shares: float) -> str:
    return " / ".join(f"{100 * share:.1f}" for share in shares)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    clock = time.process_time()
    for line in lines(parser.parse_args().repeats):
        print(line, flush=True)
    print(f"\n{time.process_time() - clock:.0f} s of a core")


if __name__ == "__main__":
    main()
