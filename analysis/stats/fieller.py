"""Fieller's interval of a ratio of two means.

E. C. Fieller (1954, Journal of the Royal Statistical Society B 16, 175-185): a ratio rho is in the interval when the
paired t test of numerator - rho denominator does not reject 0 at 5 %. That is exact for normal noise, whatever the
spreads and their correlation are, from two pairs on. The interval is bounded exactly when the denominator itself is
significant; where it is not, the ratio has no meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.stats.permutation import LEVEL
from analysis.stats.seed_statistics import SAME
from c2d.metrics.coco_data import Array

INTERVAL = "95 % Fieller"


@dataclass(frozen=True)
class Ratio:
    """A ratio of two differences of rows, over seeds.

    Attributes:
        value: of the means; None where there is none.
        n: number of seeds that all rows have.
        low, high: 95 % interval of the ratio; None where there is none.
        interval: its name, or why there is none.
        reason: why there is no ratio; "" where there is one.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    interval: str = ""
    reason: str = ""


def ratio_of_means(numerator: Array, denominator: Array) -> Ratio:
    """Return mean(numerator) / mean(denominator) with its interval.

    Args:
        numerator, denominator: (n,) pairs, n >= 2; the denominator is significant in a paired t test at 5 %.
    """
    value, n = float(numerator.mean() / denominator.mean()), len(numerator)
    bounds = fieller(numerator, denominator)
    if bounds is None:
        return Ratio(value, n, interval="none: no spread")
    return Ratio(value, n, *bounds, interval=INTERVAL if n > 2 else f"{INTERVAL}, n = 2: very wide")


def fieller(numerator: Array, denominator: Array) -> tuple[float, float] | None:
    """Return the interval of mean(numerator) / mean(denominator); None where neither varies.

    The ratio rho is inside where (a - rho b)^2 <= t^2 (s_aa - 2 rho s_ab + rho^2 s_bb).

    Args:
        numerator, denominator: (n,) pairs, n >= 2; the denominator is significant in a paired t test at 5 %.
    """
    from scipy.special import stdtrit

    n, a, b = len(numerator), float(numerator.mean()), float(denominator.mean())
    (s_aa, s_ab), (_, s_bb) = (np.cov(numerator, denominator) / n).tolist()
    scale = max(abs(a), abs(b))
    if max(s_aa, s_bb) <= (SAME * scale) ** 2:
        return None
    square = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) ** 2
    of_square, of_line, rest = b * b - square * s_bb, a * b - square * s_ab, a * a - square * s_aa
    root = math.sqrt(max(of_line * of_line - of_square * rest, 0.0))
    return (of_line - root) / of_square, (of_line + root) / of_square
