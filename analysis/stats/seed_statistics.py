"""Mean, spread, interval and test of the numbers of several seeds, for one row and for two rows by themselves.

  one row          `summary`: mean, sample standard deviation, 95 % t interval from 2 seeds on
  one run beside   `one_more_run`: 95 % prediction interval, in which one run of another seed lies
  two rows         `paired`: t test of the differences of the same seeds
  no common seeds  `unpaired`: Welch's t

`analysis.stats.baseline_comparisons` compares several rows with one baseline.

These intervals cover 93 to 97 % for a normal spread, for heavier tails and up to a skewness of 1. With a skewness of 2
they cover 87 to 91 %, and so few values do not show the skewness. (Two rows with the same kind of noise have symmetric
differences, however skewed each row is.) A percentile bootstrap over 3 or 5 seeds would cover 74 % and 83 %
(docs/results/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.permutation import LEVEL
from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array

SAME = 1e-12  # a spread below this part of the values is rounding of float64, whose step is 2e-16


@dataclass(frozen=True)
class Summary:
    """One row over its seeds, in the unit of its values.

    Attributes:
        mean: mean over seeds.
        sd: sample standard deviation over seeds (ddof 1); None below two seeds.
        n: number of seeds.
        low, high: 95 % interval of the mean; None where there is none.
        interval: name of the interval, or why there is none.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None
    interval: str


@dataclass(frozen=True)
class Difference:
    """One row minus another, in the unit of their values.

    Attributes:
        mean: mean difference.
        sd: sample standard deviation of the differences (ddof 1); None where there are no pairs or only one.
        n: number of pairs; of `unpaired` the smaller of the two numbers.
        low, high: 95 % interval of the mean difference; None where there is none.
        p: two-sided p value; None without a test.
        test, interval: names of both, or why there is none.
        error, df: standard error and degrees of freedom of t; 0 without a test.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None
    p: float | None
    test: str
    interval: str
    error: float = 0.0
    df: float = 0.0

    def interval_at(self, level: float) -> tuple[float, float]:
        """Return the t interval (low, high) of another level (0-1) of a difference that has a test."""
        half = _t_quantile(self.df, level) * self.error
        return self.mean - half, self.mean + half


def summary(values: Sequence[float] | Array) -> Summary:
    """Compute mean, spread and 95 % t interval of one row's seeds.

    Args:
        values: (n,) values, one a seed.

    Raises:
        InputError: no value, or one that is not finite.
    """
    x = finite_array(values, "values")
    n, mean = len(x), float(x.mean())
    if n == 1:
        return Summary(mean, None, 1, None, None, "none: one seed")
    sd = _sd(x, x)
    if sd == 0:
        return Summary(mean, 0.0, n, None, None, "none: no spread")
    half = _t_quantile(n - 1) * sd / math.sqrt(n)
    return Summary(mean, sd, n, mean - half, mean + half, _t_name(n))


def one_more_run(values: Sequence[float] | Array) -> Summary:
    """Compute mean, spread and 95 % prediction interval: mean ± t sd sqrt(1 + 1/n), with n - 1 degrees of freedom.

    A published number is one run, as a rule. If only the seed differs, one run leaves the interval of the mean of three
    seeds in 16 % of the cases, and this interval in 5 %.

    Args:
        values: (n,) values, one a seed.

    Raises:
        InputError: no value, or one that is not finite.
    """
    found = summary(values)
    if not found.sd:
        return found
    half = _t_quantile(found.n - 1) * found.sd * math.sqrt(1 + 1 / found.n)
    return Summary(found.mean, found.sd, found.n, found.mean - half, found.mean + half, "95 % t prediction of one run")


def paired(a: Sequence[float] | Array, b: Sequence[float] | Array) -> Difference:
    """Compare two rows, a - b, over the same seeds in the same order by a paired t test.

    Args:
        a, b: (n,) values, aligned by seed by the caller.

    Raises:
        InputError: unequal lengths, or a value that is not finite.
    """
    x, y = finite_array(a, "first values"), finite_array(b, "second values")
    if len(x) != len(y):
        raise InputError(
            f"{len(x)} values against {len(y)}: a paired comparison needs the same seeds on both sides; "
            "pass the common ones, or use `unpaired` where there are none"
        )
    n, mean = len(x), float((x - y).mean())
    if n == 1:
        return Difference(mean, None, 1, None, None, None, "none: one seed", "none: one seed")
    sd = _sd(x - y, np.concatenate([x, y]))
    if sd == 0:  # every seed has the same difference, so nothing measures the noise
        return Difference(mean, 0.0, n, None, None, None, "none: no spread", "none: no spread")
    return _t(mean, sd, n, sd / math.sqrt(n), n - 1, "paired t" if n > 2 else "paired t, n = 2: almost no power")


def unpaired(a: Sequence[float] | Array, b: Sequence[float] | Array) -> Difference:
    """Compare two rows over different seeds, mean(a) - mean(b), by Welch's t test.

    Args:
        a, b: (n,) values, one a seed; the two lengths may differ.

    Raises:
        InputError: no value, or one that is not finite.
    """
    x, y = finite_array(a, "first values"), finite_array(b, "second values")
    mean, n = float(x.mean() - y.mean()), min(len(x), len(y))
    if n == 1:
        reason = "none: one seed on one side"
        return Difference(mean, None, n, None, None, None, reason, reason)
    u, v = _sd(x, x) ** 2 / len(x), _sd(y, y) ** 2 / len(y)
    if u + v == 0:
        return Difference(mean, None, n, None, None, None, "none: no spread", "none: no spread")
    df = (u + v) ** 2 / (u**2 / (len(x) - 1) + v**2 / (len(y) - 1))  # Welch-Satterthwaite
    name = f"Welch t, unpaired, n = {len(x)} and {len(y)}"
    return _t(mean, None, n, math.sqrt(u + v), df, name, name)


def finite_array(values: Sequence[float] | Array, what: str) -> Array:
    """Return the values as an array (n,) of float64.

    Args:
        values: one value a seed.
        what: their name in the error.

    Raises:
        InputError: no value, more than one dimension, or a value that is not finite.
    """
    x = np.asarray(values, float)
    if x.ndim != 1 or not len(x):
        raise InputError(f"{what}: expected a list of numbers, one a seed, got shape {x.shape}")
    if not np.isfinite(x).all():
        at = int(np.flatnonzero(~np.isfinite(x))[0])
        raise InputError(f"{what}: value number {at} is {x[at]}; leave out seeds without a number")
    return x


def _sd(x: Array, scale: Array) -> float:
    """Sample standard deviation; 0 where the spread is rounding of values as large as `scale`."""
    if np.ptp(x) <= SAME * np.abs(scale).max():
        return 0.0
    return float(x.std(ddof=1))


def _t_name(n: int) -> str:
    return "95 % t" if n > 2 else "95 % t, n = 2: very wide"


def _t_quantile(df: float, level: float = LEVEL) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))


def _t(mean: float, sd: float | None, n: int, error: float, df: float, test: str, interval: str = "") -> Difference:
    """Test and interval of a mean with that standard error."""
    from scipy.special import stdtr

    half = _t_quantile(df) * error
    p = float(2 * stdtr(df, -abs(mean) / error))
    name = f"95 % {interval}" if interval else _t_name(n)
    return Difference(mean, sd, n, mean - half, mean + half, p, test, name, error, df)
