"""Several differences over the same images at once: intervals that hold together, by the bootstrap's largest |t|.

The differences of the m classes (or sizes, or error types) of two checkpoints are d_1 ... d_m. The bootstrap over
images (`c2d.metrics.resampling`) gives R draws of all of them together, and so their standard errors s_j and the
distribution of the largest deviation

    M = max_j |d*_j - d_j| / s_j

With c its 95 % quantile, the intervals d_j ± c s_j hold all m true differences together in 95 % of all cases, and the
adjusted p value of d_j is the share of draws whose M reaches |d_j| / s_j (Westfall & Young, Resampling-Based Multiple
Testing, 1993, in its single-step form). Because the draws are joint, differences that move together cost less than
under Bonferroni, and 1,000 draws are enough for any m, where a percentile interval of 80 classes would need 16,000.

A class is in n_j of the images only, and s_j is too small for few images, as a standard deviation without Bessel's
factor in a normal interval is. So c is taken for a normal quantile and replaced by the quantile of Student's t with
n_j - 1 degrees of freedom at the same probability, times sqrt(n_j / (n_j - 1)). By simulation
(docs/results/statistics.md) the intervals then hold together in 92 to 99 % from 15 images on.

A difference that is the same in every draw, e.g. of a class that both find completely, has the interval [d, d].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.stats.permutation import ALPHA
from c2d.metrics.coco_data import Array

_ZERO = 1e-12  # differences of AP that are rounding, not change


class SimultaneousInterval(NamedTuple):
    """The interval of one of several differences, and its adjusted p value.

    Attributes:
        low, high: in the unit of the difference.
        p: below 0.05 exactly when the interval leaves out 0.
    """

    low: float
    high: float
    p: float


def simultaneous_intervals(
    differences: Sequence[float], drawn: Array, images: Sequence[int]
) -> list[SimultaneousInterval]:
    """Return intervals that hold all differences together with 95 %, and adjusted p values.

    Args:
        differences: m values on all images.
        drawn: (m, R) float64, the same in each draw of the images; NaN where one is undefined. At least 100 draws.
        images: m numbers of images with objects behind each difference, 2 at least.
    """
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    d = np.asarray(differences, float)
    if not len(d):
        return []
    error = _standard_errors(drawn)
    varies = error > _ZERO
    scale = np.where(varies, error, np.inf)
    largest = np.where(np.isnan(drawn), 0.0, np.abs(drawn - d[:, None])) / scale[:, None]
    ordered = np.sort(largest.max(axis=0))[::-1]
    total = len(ordered) + 1
    # 1 + the number of draws at or above t stays below 5 % of `total` exactly when t is above this draw.
    # 1e-9: rounding of the product must not move the place by one.
    limit = float(ordered[max(0, math.ceil(ALPHA * total - 1e-9) - 2)])
    out = []
    for value, one, n, is_random in zip(d.tolist(), error.tolist(), images, varies.tolist(), strict=True):
        if not is_random:
            out.append(SimultaneousInterval(value, value, 1.0 if abs(value) <= _ZERO else 1 / total))
            continue
        bessel = one * math.sqrt(n / (n - 1))
        # Lower tails, because 1 - p has no digits left where p is tiny.
        half = -bessel * float(stdtrit(n - 1, ndtr(-limit)))
        low, high = value - half, value + half
        reached = int((ordered >= -float(ndtri(stdtr(n - 1, -abs(value) / bessel)))).sum())
        p = min(1.0, (1 + reached) / total)
        out.append(SimultaneousInterval(low, high, p))
    return out


def _standard_errors(drawn: Array) -> Array:
    """Return the standard deviation (m,) over the draws that are defined, ddof 1."""
    defined = ~np.isnan(drawn)
    many = np.maximum(defined.sum(axis=1), 2)
    mean = np.where(defined, drawn, 0.0).sum(axis=1) / many
    deviation = np.where(defined, drawn - mean[:, None], 0.0)
    error: Array = np.sqrt((deviation**2).sum(axis=1) / (many - 1))
    return error
