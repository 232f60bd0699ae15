"""Quantiles of latency samples with 95 % intervals. The unit of repetition is a launch: one process.

Samples of one process share its memory layout, clocks and chosen kernels. So from three launches on, a quantile is the
mean of the launches' quantiles, with a t interval from the spread between them. With fewer launches it is the quantile
of all samples, and its interval comes from their order statistics. That interval holds for these processes only, and
its name says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LAUNCHES = 3
"""Smallest number of launches for a t interval over launches."""
CONFIDENCE = 0.95
BY_LAUNCHES = "t over launches"
WITHIN = "order statistics within one launch; not valid for another launch"
WITHIN_TWO = "order statistics of two launches taken together; too few to show how launches differ"


def launch_quantiles(launches: Sequence[np.ndarray]) -> dict[str, Any]:
    """Compute the quantiles of all launches with their 95 % intervals.

    Args:
        launches: one array (N,) of float64 for each process: its samples in ms, at least one.

    Returns:
        launches, n_samples, p50_ms, p50_low_ms, p50_high_ms (and so on for `QUANTILES`), interval (its method) and
        note. An interval that too few samples allow is NaN.
    """
    import numpy as np

    n = len(launches)
    pooled = np.concatenate(launches)
    how = BY_LAUNCHES if n >= LAUNCHES else WITHIN if n == 1 else WITHIN_TWO
    row: dict[str, Any] = {"launches": n, "n_samples": len(pooled), "interval": how}
    notes = [] if n >= LAUNCHES else [f"measured in {n} launch{'es' * (n > 1)}: {how}"]
    for name, q in QUANTILES.items():
        if n >= LAUNCHES:
            value, low, high = mean_interval([float(np.quantile(samples, q)) for samples in launches])
            size = min(len(samples) for samples in launches)
        else:
            value, (low, high), size = float(np.quantile(pooled, q)), order_statistic_interval(pooled, q), len(pooled)
        needed = round(1 / (1 - q))  # with fewer samples the quantile is the largest one
        if size < needed:
            notes.append(f"{name} is of {size} samples and needs {needed} to be more than the slowest")
        elif math.isnan(low):
            notes.append(f"{size} samples are too few for an interval of {name}")
        row |= {f"{name}_ms": value, f"{name}_low_ms": low, f"{name}_high_ms": high}
    return {**row, "note": "; ".join(notes)}


def order_statistic_interval(samples: np.ndarray, q: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the distribution-free interval of a quantile: two of the samples, by rank.

    The number of samples below the quantile is binomial, whatever the distribution.

    Args:
        samples: (N,) float64, ms.
        q: quantile, 0-1.
        confidence: coverage, 0-1.

    Returns:
        (low, high) in ms; (NaN, NaN) where there are too few samples.
    """
    import numpy as np
    from scipy.stats import binom

    n, tail = len(samples), (1 - confidence) / 2
    # Ranks from 1: between these two samples lies the quantile with at least this confidence.
    low, high = int(binom.ppf(tail, n, q)), int(binom.ppf(1 - tail, n, q)) + 1
    if low < 1 or high > n:
        return math.nan, math.nan
    ranked = np.sort(samples)
    return float(ranked[low - 1]), float(ranked[high - 1])


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return (mean, low, high) in ms of the launches' quantiles, by t; low is at least 0, because no time is below."""
    import numpy as np
    from scipy.stats import t

    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * error
    return mean, max(0.0, mean - half), mean + half


def coefficient_of_variation(launches: Sequence[np.ndarray]) -> float:
    """Return the repeatability: standard deviation over mean of the launches' medians, 0-1; NaN for one launch.

    Args:
        launches: one array (N,) of float64 for each process: its samples in ms.
    """
    import numpy as np

    if len(launches) < 2:
        return math.nan
    medians = [float(np.median(samples)) for samples in launches]
    return float(np.std(medians, ddof=1) / np.mean(medians))
