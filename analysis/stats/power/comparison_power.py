"""Power of one row's comparison with the baseline, over the seeds of a table that is still to be trained.

A table of m rows and their baseline over the same n seeds tests all differences at once (Dunnett,
`analysis.stats.dunnett`): a row is detected where its t exceeds the critical value c of m rows with
df = m (n - 1) degrees of freedom. A true difference of d moves its t to a noncentral t distribution,

    t ~ T(df, lambda),  lambda = (d / sd) sqrt(n / 2),  power = P(T > c)

with sd the residual standard deviation of one run, so that sd sqrt(2 / n) is the standard error of a difference. This
is the chance that this row is detected, with the right sign, whatever the other rows do: the per-comparison power. The
chance of the wrong sign, which other formulas add, is below 1e-5 at a power of 50 % and more. For m = 1 this is the
power of the paired t test, as R's power.t.test and statsmodels' TTestPower have it with the standard deviation of the
differences, sd sqrt(2).

Rows that are tested by themselves (`analysis.stats.baseline_comparisons`) share the 5 % by Holm; the power is that of
Holm's first step, 5 % / m, which is the smallest it can have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.stats.dunnett import SAME_SEEDS, critical_value
from analysis.stats.permutation import ALPHA

FEWEST_SEEDS = 2
MOST_SEEDS = 1_000_000
"""More seeds than this are no plan; `seeds_needed` returns None."""


@dataclass(frozen=True)
class FamilyTest:
    """The test of each row of a family.

    Attributes:
        rows: number of rows that share one residual (Dunnett); 1 for a t test of a row by itself.
        share: of the error probability of 5 % that these rows have, 0-1; 1 where the family has no other test.
    """

    rows: int
    share: float = 1.0

    def df(self, seeds: int) -> int:
        """Return the degrees of freedom of the residual."""
        return self.rows * (seeds - 1)

    def critical(self, seeds: int) -> float:
        """Return the value that |t| has to exceed."""
        return critical_value(self.rows, float(self.df(seeds)), SAME_SEEDS, 1 - ALPHA * self.share)


def power_of_difference(test: FamilyTest, seeds: int, difference_sd: float) -> float:
    """Return the probability that a row is significantly different from its baseline, with the right sign.

    Args:
        seeds: of every row and the baseline, at least 2.
        difference_sd: true difference over the residual standard deviation, at least 0.
    """
    return _exceeds(test.critical(seeds), test.df(seeds), difference_sd * math.sqrt(seeds / 2))


def smallest_difference(test: FamilyTest, seeds: int, power: float) -> float:
    """Return the true difference, in residual standard deviations, that is detected with this power.

    Args:
        seeds: of every row and the baseline, at least 2.
        power: above 0.05 and below 1.
    """
    from scipy.optimize import brentq

    critical, df = test.critical(seeds), test.df(seeds)
    high = critical + 1
    while _exceeds(critical, df, high) < power:
        high *= 2
    shift = brentq(lambda found: _exceeds(critical, df, found) - power, 0.0, high, xtol=1e-9)
    return float(shift) / math.sqrt(seeds / 2)


def seeds_needed(test: FamilyTest, difference_sd: float, power: float) -> int | None:
    """Return the smallest number of seeds that detects a difference with this power; None above `MOST_SEEDS`.

    Args:
        difference_sd: true difference over the residual standard deviation, above 0.
        power: above 0.05 and below 1.
    """

    def detects(seeds: int) -> bool:
        return power_of_difference(test, seeds, difference_sd) >= power

    high = FEWEST_SEEDS
    while not detects(high):
        if high >= MOST_SEEDS:
            return None
        high = min(2 * high, MOST_SEEDS)
    low = max(FEWEST_SEEDS - 1, high // 2)  # too few, or below the fewest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if detects(middle) else (middle, high)
    return high


def _exceeds(critical: float, df: int, shift: float) -> float:
    """P(T > critical) of a noncentral t with that noncentrality."""
    from scipy.special import nctdtr

    below = float(nctdtr(df, shift, critical))
    # scipy gives NaN for some probabilities below 1e-15, where the shift is far above the critical value.
    return float(shift > critical) if math.isnan(below) else 1 - below
