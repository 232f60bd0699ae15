"""What a row gains over its baseline for each unit of what it costs more, over seeds, with Fieller's interval.

gain per cost = (row - baseline) / (cost of the row - cost of the baseline), of the means over the seeds of both
"""

from __future__ import annotations

import numpy as np

from analysis.stats.common_residual import Seeds
from analysis.stats.fieller import Ratio, ratio_of_means
from analysis.stats.seed_statistics import SAME, finite_array, paired


def gain_per_cost(row: Seeds, baseline: Seeds, row_cost: Seeds, baseline_cost: Seeds) -> Ratio:
    """Return what a row gains for each unit that it costs more than its baseline.

    Args:
        row, baseline: {seed: number}.
        row_cost, baseline_cost: {seed: cost}.

    Raises:
        InputError: a value that is not finite.
    """
    seeds = sorted(row.keys() & baseline.keys() & row_cost.keys() & baseline_cost.keys())
    if not seeds:
        return Ratio(None, 0, reason="the row and its baseline have no seed in common")
    arrays = [finite_array([of[seed] for seed in seeds], "values") for of in (row, baseline, row_cost, baseline_cost)]
    gain, more, n = arrays[0] - arrays[1], paired(arrays[2], arrays[3]), len(seeds)
    if n == 1:
        return Ratio(None, 1, reason="one seed cannot tell whether the row costs more than its baseline")
    if more.mean <= SAME * float(np.abs(arrays[2:]).max()):
        return Ratio(None, n, reason=f"the row costs no more than its baseline ({more.mean:+.3g} over {n} seeds)")
    if more.low is not None and more.high is not None and more.low <= 0 <= more.high:
        between = f"[{more.low:.3g}, {more.high:.3g}]"
        return Ratio(
            None, n, reason=f"the row does not clearly cost more: {more.mean:+.3g}, 95 % interval {between}, {n} seeds"
        )
    return ratio_of_means(gain, arrays[2] - arrays[3])
