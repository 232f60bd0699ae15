"""Rows of a table over the same seeds as a randomised block design: value = row + seed + residual.

Seeds are the blocks: what a seed does to all rows alike (data order, start) cancels in every difference. What is left
is the residual; all rows together measure its variance with (rows - 1)(seeds - 1) degrees of freedom, where a paired t
test of one row has seeds - 1. This holds if all rows have one residual variance: `analysis.stats.common_residual`.

Seeds may be missing. The residual is then that of least squares, and a difference is the mean over the seeds that both
rows have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from c2d.metrics.coco_data import Array

DRAWS = 10_000
"""Simulated designs behind the test of equal variances; at least 1,000 where a design is large."""
_LARGEST = 2_000_000  # numbers of one array


@dataclass(frozen=True)
class BlockFit:
    """Estimates of R data sets of one design; k rows are compared with row 0, the baseline.

    Attributes:
        difference: (R, k) row minus baseline, mean over common seeds.
        sd: (R, k) sample standard deviation (ddof 1) of the paired differences.
        variance: (R,) residual variance.
        share: (R, m) each row's share of the sum of squared residuals (in units of their own standard deviations), 0-1:
            Cochran's C is the largest one.
        ratio: (R, k) variance of the paired differences over 2 `variance`, what it is under equal variances.
        residual: (R, m, n) residuals in units of their own standard deviations; 0 where a value is missing.
    """

    difference: Array
    sd: Array
    variance: Array
    share: Array
    ratio: Array
    residual: Array


class BlockDesign:
    """Which row has which seed.

    Attributes:
        df: degrees of freedom of the residual.
        pairs: (k,) number of seeds that each row shares with the baseline.
        correlation: smallest correlation of two differences; 1/2 where no seed is missing.
    """

    def __init__(self, present: Array) -> None:
        """Compute what does not depend on the values.

        Args:
            present: (m, n) bool, whether the row has the seed; row 0 is the baseline.
        """
        self.present = present
        common = present[1:] & present[0]
        self.pairs = common.sum(axis=1)
        # Two differences share the noise of the baseline on the seeds that all three rows have.
        pairs = np.maximum(self.pairs, 1)  # rows without a seed of the baseline have no difference
        shared = (common[:, None] & common).sum(axis=-1) / (2 * np.sqrt(np.outer(pairs, pairs)))
        self.correlation = float(shared.min())
        row, seed = np.nonzero(present)
        columns = np.concatenate([np.eye(present.shape[0])[row], np.eye(present.shape[1])[seed]], axis=1)
        left, size, _ = np.linalg.svd(columns, full_matrices=False)
        fitted = left[:, size > 1e-9 * size[0]]
        self.df = len(row) - fitted.shape[1]
        self._to_residual = np.eye(len(row)) - fitted @ fitted.T
        self._common = common

    def fit(self, values: Array) -> BlockFit:
        """Estimate differences and residual variance.

        Args:
            values: (R, m, n) float64; values that are not `present` are ignored.
        """
        found = np.where(self.present, values, 0.0)
        scaled = np.zeros(found.shape)
        plain = found[:, self.present] @ self._to_residual
        variance = (plain**2).sum(axis=1) / max(self.df, 1)
        own = np.sqrt(np.clip(np.diag(self._to_residual), 1e-12, None))
        scaled[:, self.present] = plain / (own * np.sqrt(_positive(variance))[:, None])
        paired = (found[:, 1:] - found[:, :1]) * self._common
        difference = paired.sum(axis=2) / np.maximum(self.pairs, 1)
        spread = ((paired - difference[..., None]) ** 2 * self._common).sum(axis=2) / np.maximum(self.pairs - 1, 1)
        squares = (scaled**2).sum(axis=2)
        share = squares / _positive(squares.sum(axis=1))[:, None]
        ratio = spread / (2 * _positive(variance))[:, None]
        return BlockFit(difference, np.sqrt(spread), variance, share, ratio, scaled)

    def standard_error(self, variance: float) -> Array:
        """Standard errors (k,) of the differences, by the residual variance."""
        return np.sqrt(2 * variance / self.pairs)


@dataclass(frozen=True)
class NullDistribution:
    """Three statistics of a design if the residuals are normal and have one variance.

    Attributes:
        share: (N,) ascending, the largest `BlockFit.share`.
        ratio: (N,) ascending, the largest `BlockFit.ratio`.
        residual: (N,) ascending, the largest absolute `BlockFit.residual`.
    """

    share: Array
    ratio: Array
    residual: Array


def null_distribution(design: BlockDesign) -> NullDistribution:
    """Simulate the statistics of a design under equal variances; the same design gives the same numbers."""
    return _simulated(design.present.shape, design.present.tobytes())


def upper_p(ordered: Array, value: float) -> float:
    """Return the share of simulated statistics that are as large, the observed one counted; never 0."""
    at_least = len(ordered) - int(np.searchsorted(ordered, value * (1 - 1e-9), side="left"))
    return (1 + at_least) / (1 + len(ordered))


@lru_cache(maxsize=64)
def _simulated(shape: tuple[int, int], present: bytes) -> NullDistribution:
    design = BlockDesign(np.frombuffer(present, bool).reshape(shape))
    draws = max(1_000, min(DRAWS, _LARGEST // math.prod(shape)))
    fit = design.fit(np.random.default_rng(0).normal(size=(draws, *shape)))
    largest = fit.share.max(axis=1), fit.ratio.max(axis=1), np.abs(fit.residual).max(axis=(1, 2))
    return NullDistribution(*map(np.sort, largest))


def _positive(variance: Array) -> Array:
    return np.where(variance > 0, variance, 1.0)
