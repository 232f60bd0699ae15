"""What a row gains over its baseline for each unit of what it costs more, over seeds, with Fieller's interval.

gain per cost = (row - baseline) / (cost of the row - cost of the baseline), of the means over the seeds of both
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.stats.common_residual import Seeds
from analysis.stats.fieller import fieller, name_of_interval
from analysis.stats.seed_statistics import SAME, finite_array, paired


@dataclass(frozen=True)
class GainPerCost:
    """The ratio of one row.

    Attributes:
        ratio: gain for each unit of cost; None where there is none.
        n: number of seeds that the row and its baseline have with both numbers.
        low, high: 95 % interval of the ratio; None where there is none.
        interval: its name, or why there is none.
        reason: why there is no ratio; "" where there is one.
    """

    ratio: float | None
    n: int
    low: float | None = None
    high: float | None = None
    interval: str = ""
    reason: str = ""


def gain_per_cost(row: Seeds, baseline: Seeds, row_cost: Seeds, baseline_cost: Seeds) -> GainPerCost:
    """Return what a row gains for each unit that it costs more than its baseline.

    Args:
        row, baseline: {seed: number}.
        row_cost, baseline_cost: {seed: cost}.

    Raises:
        InputError: a value that is not finite.
    """
    seeds = sorted(row.keys() & baseline.keys() & row_cost.keys() & baseline_cost.keys())
    if not seeds:
        return GainPerCost(None, 0, reason="the row and its baseline have no seed in common")
    arrays = [finite_array([of[seed] for seed in seeds], "values") for of in (row, baseline, row_cost, baseline_cost)]
    gain, more, n = arrays[0] - arrays[1], paired(arrays[2], arrays[3]), len(seeds)
    if n == 1:
        return GainPerCost(None, 1, reason="one seed cannot tell whether the row costs more than its baseline")
    if more.mean <= SAME * float(np.abs(arrays[2:]).max()):
        return GainPerCost(None, n, reason=f"the row costs no more than its baseline ({more.mean:+.3g} over {n} seeds)")
    if more.low is not None and more.high is not None and more.low <= 0 <= more.high:
        between = f"[{more.low:.3g}, {more.high:.3g}]"
        return GainPerCost(
            None, n, reason=f"the row does not clearly cost more: {more.mean:+.3g}, 95 % interval {between}, {n} seeds"
        )
    extra = arrays[2] - arrays[3]
    bounds = fieller(gain, extra)
    ratio = float(gain.mean() / extra.mean())
    if bounds is None:
        return GainPerCost(ratio, n, interval="none: no spread")
    return GainPerCost(ratio, n, *bounds, interval=name_of_interval(n))
