"""Dunnett's many-to-one distribution: the largest |t| of several rows that are compared with one baseline.

C. W. Dunnett (1955), Journal of the American Statistical Association 50, 1096-1121. The differences of k rows to one
baseline share the baseline's noise, so their t statistics have a correlation rho (1/2 where all rows have the same
seeds) and one estimate s of the standard deviation with df degrees of freedom:

    P(max |T_i| > c) = E_s E_z [1 - (Phi(u + w) - Phi(u - w))^k],  u = z sqrt(rho / (1 - rho)),  w = c s / sqrt(1 - rho)

with z standard normal and df s^2 chi-square of df degrees of freedom. `scipy.stats.dunnett` is for one-way designs,
whose degrees of freedom are others. Both integrals are Gauss-Legendre sums here, s on a logarithmic axis; compared with
`scipy.stats.multivariate_t` and published tables in tests/analysis/stats/test_dunnett.py.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from c2d.metrics.coco_data import Array

SAME_SEEDS = 0.5
"""Correlation of the differences of two rows that have the same seeds as the baseline."""
_NEGLIGIBLE = 35.0  # densities below exp(-35) of their largest value are left out
_NODES = 10


def family_p(t: float, tests: int, df: float, correlation: float = SAME_SEEDS) -> float:
    """Return P(max |T_i| > |t|): the p value of one row, adjusted for all rows of its family.

    Args:
        t: statistic of the row.
        tests: number of rows that are compared with the baseline, at least 1.
        df: degrees of freedom of the common standard deviation, above 0.
        correlation: of any two of the statistics, 0 to below 1.
    """
    from scipy.special import ndtr

    s, s_weights = _spread_nodes(df)
    z, z_weights = _panel_nodes(-math.sqrt(2 * _NEGLIGIBLE), math.sqrt(2 * _NEGLIGIBLE), 5)
    shift, width = math.sqrt(correlation) * z[:, None], math.sqrt(1 - correlation)
    reach = abs(t) * s
    outside = ndtr((shift - reach) / width) + ndtr((-shift - reach) / width)
    # 1 - (1 - outside)^k without the loss of digits where it is small; `outside` rounds to 1 or more at t = 0.
    any_outside = -np.expm1(tests * np.log1p(-np.minimum(outside, 1 - 1e-16)))
    density = z_weights * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return float(min(1.0, density @ any_outside @ s_weights))


@lru_cache(maxsize=4096)
def critical_value(tests: int, df: float, correlation: float = SAME_SEEDS, level: float = 0.95) -> float:
    """Return c with P(max |T_i| > c) = 1 - level.

    Args:
        tests, df, correlation: as in `family_p`.
        level: of the simultaneous intervals, 0-1.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    alone, bonferroni = (float(stdtrit(df, 1 - (1 - level) / 2 / share)) for share in (1, tests))
    if tests == 1:
        return alone
    return float(brentq(lambda c: family_p(c, tests, df, correlation) - (1 - level), alone, bonferroni, xtol=1e-10))


@lru_cache(maxsize=256)
def _spread_nodes(df: float) -> tuple[Array, Array]:
    """Nodes s (N,) and their weights (N,) of the density of s = sqrt(chi-square / df).

    The density of x = log s is exp(df (x - exp(2 x) / 2)) but for a constant, with its largest value at x = 0.
    """
    reach = math.sqrt(_NEGLIGIBLE / df)
    x, weights = _panel_nodes(-reach - reach**2, reach, 24 if df < 4 else 10)
    density = np.exp(df * (x - 0.5 * np.expm1(2 * x)))
    return np.exp(x), weights * density / (weights @ density)


@lru_cache(maxsize=256)
def _panel_nodes(low: float, high: float, panels: int) -> tuple[Array, Array]:
    """Nodes (N,) and weights (N,) of Gauss-Legendre sums over equal panels."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = (high - low) / panels / 2
    middles = low + half * (2 * np.arange(panels) + 1)
    return (middles[:, None] + half * nodes).ravel(), np.tile(half * weights, panels)
