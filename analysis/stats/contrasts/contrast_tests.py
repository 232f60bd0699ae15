"""Tests of several linear contrasts as one family: p values by Holm, and the interval that belongs to each verdict.

The null hypothesis of a contrast is that its size is at most a bound: 0 for "more", the margin for "the same". Each has
one null hypothesis, so that with Holm's correction the probability that any true one of the family is rejected stays
below 5 %.

The adjusted interval of a rejected contrast has the level of its Holm step; it leaves out the whole null hypothesis
exactly if that is rejected. The others have Bonferroni's level, 1 - 0.05 / family. It is a little wider than that of
Holm's last step, and with it the probability that any interval inside the margins is there by chance, while the true
difference is as large as the margin, stays below 2.5 %, half of 5 % since only one end can miss it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.stats.contrasts.linear_contrasts import ContrastEstimate
from analysis.stats.multiple_comparisons import holm_steps
from analysis.stats.permutation import ALPHA, LEVEL

POWER = 0.8
MOST_SEEDS = 1_000
"""More seeds than this are not counted."""


@dataclass(frozen=True)
class ContrastTest:
    """The test of one contrast of a family, in the unit of its values.

    Attributes:
        p: two-sided p value by itself.
        p_adjusted: after Holm's correction for the family.
        significant: whether `p_adjusted` is below 0.05.
        level: of the adjusted interval, 0-1.
        low, high: adjusted interval.
        single_low, single_high: 95 % interval of this contrast by itself.
        family: number of tests of the family.
    """

    p: float
    p_adjusted: float
    significant: bool
    level: float
    low: float
    high: float
    single_low: float
    single_high: float
    family: int


def family_tests(estimates: Sequence[ContrastEstimate | None], bounds: Sequence[float]) -> list[ContrastTest | None]:
    """Test the contrasts of one family, in the order given.

    Args:
        estimates: None, or an estimate without a variance, is no test and is not counted.
        bounds: largest size under the null hypothesis of each, 0 or more.
    """
    ps = [
        None if one is None or not one.parts else _p(one, bound) for one, bound in zip(estimates, bounds, strict=True)
    ]
    family = sum(p is not None for p in ps)
    out: list[ContrastTest | None] = []
    for one, p, step in zip(estimates, ps, holm_steps(ps), strict=True):
        if one is None or p is None or step is None:
            out.append(None)
            continue
        significant = step.p < ALPHA
        level = step.level if significant else 1 - ALPHA / family
        single, adjusted = _interval(one, LEVEL), _interval(one, level)
        out.append(ContrastTest(p, step.p, significant, level, *adjusted, *single, family))
    return out


def seeds_for_power(
    found: ContrastEstimate, margin: float, level: float, same: bool = False, power: float = POWER
) -> int | None:
    """Return the smallest number of seeds with which the interval tells a difference of the size of the margin from 0.

    The variances are taken as found, so the number is as uncertain as they are.

    Args:
        margin: in the unit of the contrast, above 0.
        level: of the interval, 0-1.
        same: the interval has to be inside the margin if the true value is 0; else it has to be above 0 if the true
            value is the margin.
        power: probability of that, 0-1.

    Returns:
        None where more than `MOST_SEEDS` are needed.
    """
    low, high = 2, MOST_SEEDS
    if _power(found, high, margin, level, same) < power:
        return None
    while low < high:  # the power rises with every seed
        middle = (low + high) // 2
        if _power(found, middle, margin, level, same) < power:
            low = middle + 1
        else:
            high = middle
    return low


def _power(found: ContrastEstimate, seeds: int, margin: float, level: float, same: bool) -> float:
    from scipy.special import nctdtr, stdtr, stdtrit

    error, df = found.after_seeds(seeds)
    critical = stdtrit(df, 0.5 + level / 2)
    if same:  # the estimate has to be as near to 0 as the interval leaves room in the margin
        return float(max(2 * stdtr(df, margin / error - critical) - 1, 0.0))
    # Beyond 50 standard errors it is certain, and the noncentral t is not computed accurately.
    return float(1 - nctdtr(df, min(margin / error, 50.0), critical))


def _p(found: ContrastEstimate, bound: float) -> float:
    from scipy.special import stdtr

    assert found.value is not None
    beyond = max(abs(found.value) - bound, 0.0) / found.error
    return min(1.0, float(2 * stdtr(found.df, -beyond)))


def _interval(found: ContrastEstimate, level: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    assert found.value is not None
    half = float(stdtrit(found.df, 0.5 + level / 2)) * found.error
    if not math.isfinite(half):
        return -math.inf, math.inf
    return found.value - half, found.value + half
