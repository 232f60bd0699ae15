"""How much of the gap between a control and a reference a row closes, over seeds, with Fieller's interval.

    gap closed = (row - control) / (reference - control), of the means over the seeds that all three have

The interval (`fieller.py`) is exact for normal noise, whatever the three spreads and correlations are, from two seeds
on. It is bounded exactly when the gap itself is significant; where it is not, the share has no meaning and there is
none.

A percentile bootstrap over 3 seeds would cover 63 to 69 %, and the residual of all rows together, which a table's
differences use, would take the spread of the noise control for that of trained rows (docs/results/statistics.md).
"""

from __future__ import annotations

import numpy as np

from analysis.stats.common_residual import Seeds
from analysis.stats.fieller import Ratio, ratio_of_means
from analysis.stats.seed_statistics import SAME, finite_array, paired
from c2d.metrics.coco_data import Array


def gap_closed(row: Seeds, control: Seeds, reference: Seeds, better: str) -> Ratio:
    """Return the share of the gap between control and reference that a row closes.

    Args:
        row, control, reference: {seed: value}.
        better: "higher" or "lower", the direction in which the reference must be ahead; "" for either.

    Raises:
        InputError: a value that is not finite.
    """
    seeds = sorted(row.keys() & control.keys() & reference.keys())
    if not seeds:
        return Ratio(None, 0, reason="row, control and reference have no seed in common")
    x, low, high = (finite_array([of[seed] for seed in seeds], "values") for of in (row, control, reference))
    if reason := _no_gap(high, low, better):
        return Ratio(None, len(seeds), reason=reason)
    return ratio_of_means(x - low, high - low)


def _no_gap(reference: Array, control: Array, better: str) -> str:
    """Why the reference is not clearly ahead of the control; "" where it is."""
    found = paired(reference, control)
    ahead = {"higher": found.mean, "lower": -found.mean, "": abs(found.mean)}[better]
    if found.n == 1:
        return "the gap is of one seed, which cannot tell whether the reference is ahead of the control"
    if ahead <= SAME * float(np.abs([*reference, *control]).max()):
        return f"the reference is not ahead of the control ({found.mean:+.3g} over {found.n} seeds)"
    if found.low is not None and found.high is not None and found.low <= 0 <= found.high:
        return (
            f"the reference is not clearly ahead of the control: {found.mean:+.3g}, 95 % interval "
            f"[{found.low:.3g}, {found.high:.3g}] over {found.n} seeds, so there is no gap to close a share of"
        )
    return ""
