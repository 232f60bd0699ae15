"""The sign-flip test of a mean and the interval that inverts it, and how p and interval come from ordered values.

If there is no effect and the differences d are symmetric, each sign is equally likely. Flipping the set F of seeds
raises the sum of d - theta exactly when the mean of d over F is below theta. So the one-sided p value of theta counts
subset means (Hartigan's typical values, 1969): p = (1 + #{F: mean_F <= theta}) / 2^n, and the ends of the interval are
subset means themselves. The two-sided p value is twice the smaller one.
"""

from __future__ import annotations

import math

import numpy as np

from c2d.metrics.coco_data import Array

LEVEL = 0.95
ALPHA = 0.05  # 1 - LEVEL is a little above 0.05 in float64
EXACT_TO = 14  # seeds up to which all 2^n sign patterns are tried
_ZERO = 1e-12  # sums below this part of the values are 0 but for rounding


def sign_flip_test(d: Array, flips: int, seed: int) -> tuple[float, float, float, str]:
    """Test whether the mean of the differences is 0.

    Args:
        d: (n,) float64, differences of paired seeds.
        flips: number of random sign patterns above `EXACT_TO` differences; up to there all patterns are tried.
        seed: of the random patterns.

    Returns:
        (p, low, high, name of the test); low and high are the 95 % interval of the mean, in the unit of `d`.
    """
    n = len(d)
    if n <= EXACT_TO:
        sets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1 == 1  # all but the empty set, which the 1 + counts
        name = f"sign-flip, exact, {2**n} patterns"
    else:
        sets = np.random.default_rng(seed).random((flips, n)) < 0.5
        sets = sets[sets.any(axis=1)]
        name = f"sign-flip, {len(sets)} random patterns"
    typical = np.sort(sets @ d / sets.sum(axis=1))
    typical[np.abs(typical) <= _ZERO * np.abs(d).max()] = 0.0
    return *p_and_interval(typical), name


def smallest_p(n: int, flips: int) -> float:
    """Return the smallest p value of a sign-flip test.

    Args:
        n: number of differences.
        flips: number of random sign patterns above `EXACT_TO` differences.
    """
    return min(1.0, 2 / 2**n if n <= EXACT_TO else 2 / (flips + 1))


def p_and_interval(ordered: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """Return (p of 0, low, high); p < 1 - level exactly when low > 0 or high < 0.

    Args:
        ordered: (n,) float64, subset means or resampled differences in ascending order.
        level: of the interval, 0-1.
    """
    total = len(ordered) + 1
    p = min(1.0, 2 * (1 + min(int((ordered <= 0).sum()), int((ordered >= 0).sum()))) / total)
    # theta stays while 1 + count >= (1 - level) / 2 * total: from the k-th smallest value on.
    # 1e-9: rounding of the product must not raise k by one.
    k = max(1, math.ceil((1 - level) / 2 * total - 1e-9) - 1)
    return p, float(ordered[k - 1]), float(ordered[-k])
