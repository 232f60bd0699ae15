"""Simulate files of claims: false verdicts, coverage, power. Part of `make simulate`, for docs/results/statistics.md.

    python -m tests.analysis.stats.contrasts.simulate_claims --repeats 400

A file has two students with four cells each (a baseline and three methods, n seeds) and seven lines: every method
against its baseline, and the gain of the last method in one student against that in the other.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.claims.claim_verdicts import line_verdict
from analysis.stats.contrasts import seed_group
from analysis.stats.contrasts.contrast_tests import ContrastTest, family_tests
from analysis.stats.contrasts.linear_contrasts import Component, ContrastEstimate, estimate_contrast
from analysis.stats.contrasts.seed_group import SeedGroup
from c2d.metrics.coco_data import Array

METHODS = 3
CELLS = METHODS + 1
SEEDS = (3, 5, 8)
EFFECT = 3.0
"""Standard deviations, where power is counted."""
MARGIN = 2.0
"""Standard deviations: the true difference where a false "no difference" is counted."""
SPREADS: dict[str, Callable[[], Array]] = {
    "equal": lambda: np.ones((2, CELLS)),
    "one student x 3": lambda: np.array([[1.0], [3.0]]) * np.ones((2, CELLS)),
    "one method x 3 in each": lambda: np.where(np.arange(CELLS) == 1, 3.0, 1.0) * np.ones((2, 1)),
    "both baselines x 3": lambda: np.where(np.arange(CELLS) == 0, 3.0, 1.0) * np.ones((2, 1)),
}


@dataclass(frozen=True)
class FileRates:
    """Shares, 0-1.

    Attributes:
        shown: files with a false "shown", where no cell differs.
        verdict: files with a false "shown" or "contradicted", where no cell differs.
        single, adjusted: intervals that hold their true value.
        no_difference: files with a false "no difference", where every difference is as large as the margin.
        power: lines that are shown, where every difference is `EFFECT`.
    """

    shown: float
    verdict: float
    single: float
    adjusted: float
    no_difference: float
    power: float


def present_seeds(seeds: int, missing: bool) -> Array:
    """Return (2, CELLS, seeds) bool; with `missing`, the second cell of each student lacks the last seed."""
    present = np.ones((2, CELLS, seeds), bool)
    present[:, 1, -1] = not missing
    return present


def draw(spread: str, seeds: int, repeats: int) -> Array:
    """Return values (repeats, 2, CELLS, seeds) without any effect of a cell, with one of each student's seeds."""
    rng = np.random.default_rng([seeds, len(spread)])
    noise = SPREADS[spread]()[..., None] * rng.normal(size=(repeats, 2, CELLS, seeds))
    return noise + 5 * rng.normal(size=(repeats, 2, 1, seeds))


def estimates(values: Array, present: Array) -> list[ContrastEstimate]:
    """Estimate the lines of one file.

    Args:
        values: (2, CELLS, seeds).
        present: (2, CELLS, seeds) bool.
    """
    groups = [
        SeedGroup({str(c): {s: float(v) for s, v in enumerate(cell) if there[c, s]} for c, cell in enumerate(student)})
        for student, there in zip(values, present, strict=True)
    ]
    lines = [[Component({str(c): 1.0, "0": -1.0}, group)] for group in groups for c in range(1, CELLS)]
    last = str(METHODS)
    lines.append([Component({last: 1.0, "0": -1.0}, groups[0]), Component({last: -1.0, "0": 1.0}, groups[1])])
    return [estimate_contrast(line) for line in lines]


def file_tests(found: Sequence[ContrastEstimate], effect: float) -> list[ContrastTest]:
    """Test the lines of one file with the same true difference in each; an effect of a cell changes no residual."""
    moved = [dataclasses.replace(one, value=one.value + effect) for one in found if one.value is not None]
    return [test for test in family_tests(moved, [0.0] * len(moved)) if test is not None]


def rates(spread: str, seeds: int, missing: bool, repeats: int) -> FileRates:
    """Simulate one setting."""
    present = present_seeds(seeds, missing)
    files = [estimates(values, present) for values in draw(spread, seeds, repeats)]
    none, size, large = ([file_tests(one, effect) for one in files] for effect in (0.0, MARGIN, EFFECT))
    verdicts = [[line_verdict(test, "more", None) for test in tests] for tests in none]
    at_margin = [[line_verdict(test, "more", MARGIN) for test in tests] for tests in size]
    return FileRates(
        shown=float(np.mean(["shown" in one for one in verdicts])),
        verdict=float(np.mean(["shown" in one or "contradicted" in one for one in verdicts])),
        single=float(np.mean([[t.single_low <= 0 <= t.single_high for t in tests] for tests in none])),
        adjusted=float(np.mean([[t.low <= 0 <= t.high for t in tests] for tests in none])),
        no_difference=float(np.mean(["no difference" in one for one in at_margin])),
        power=float(np.mean([[t.significant and t.low > 0 for t in tests] for tests in large])),
    )


def lines(repeats: int) -> Iterator[str]:
    """Yield the tables of docs/results/statistics.md, in %."""
    yield "false shown / false verdict / single interval holds / adjusted one holds / false no difference / power"
    yield from ("", f"| noise | {' | '.join(f'{n} seeds' for n in SEEDS)} |", "|---" * (1 + len(SEEDS)) + "|")
    for spread in SPREADS:
        for missing in (False, True):
            found = [rates(spread, seeds, missing, repeats) for seeds in SEEDS]
            shown = (" / ".join(f"{100 * share:.1f}" for share in vars(one).values()) for one in found)
            yield f"| {spread}{', a seed missing' * missing} | {' | '.join(shown)} |"
    yield from (
        "",
        "| level of the F test of a cell | equal: power | both baselines x 3: false shown |",
        "|---|---|---|",
    )
    usual = seed_group.VARIES_MORE
    for level in (0.0, 0.05, 0.1, 0.2, 0.5):
        seed_group.VARIES_MORE = level
        yield (
            f"| {100 * level:g} % | {100 * rates('equal', 3, False, repeats).power:.0f} % "
            f"| {100 * rates('both baselines x 3', 3, False, repeats).shown:.1f} % |"
        )
    seed_group.VARIES_MORE = usual


def chance(rate: float, repeats: int) -> float:
    """Return how far a share of `repeats` strays by chance: four standard errors."""
    return 4 * math.sqrt(rate * (1 - rate) / repeats)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    clock = time.process_time()
    for line in lines(parser.parse_args().repeats):
        print(line, flush=True)
    print(f"\n{time.process_time() - clock:.0f} s of a core")


if __name__ == "__main__":
    main()
