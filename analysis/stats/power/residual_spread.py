"""Residual standard deviation behind the differences of one baseline, with its interval, from a few seeds.

What is left of a run's number when the effects of its row and of its seed are taken away is the noise of every
difference (`analysis.stats.block_design`). It comes from the best of three sources that there is:

  rows           all rows that share two seeds or more with the baseline: the residual that their tests use
  differences    the baseline varies more than its rows, so that each is tested by itself: the mean variance of the
                 paired differences, halved; seeds - 1 degrees of freedom, because all differences have its noise
  baseline       there is no such row yet: the baseline's own spread over seeds. It contains the effect of the seed on
                 all rows, which a paired difference loses: too large if there is such an effect, never too small

The interval of the standard deviation is that of chi-square: s sqrt(df / q), q the quantiles 2.5 and 97.5 %. With few
degrees of freedom it is wide, and that is what a plan of seeds has to know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.stats.common_residual import Seeds, common_residual
from analysis.stats.permutation import LEVEL
from analysis.stats.power.comparison_power import FamilyTest
from analysis.stats.seed_statistics import SAME, finite_array, summary

Source = Literal["rows", "differences", "baseline"]
_ONE_ROW = FamilyTest(1)


@dataclass(frozen=True)
class ResidualSpread:
    """The noise of one run beside the others of its seed, in the unit of the values.

    Attributes:
        sd: residual standard deviation; None where there is none.
        low, high: its 95 % interval; 0 where there is none.
        df: degrees of freedom.
        seeds: number of seeds; of rows that lack some the smallest.
        rows: names of the rows that it comes from.
        source: what it comes from, see the module.
        test: of the differences of this family.
        notes: sentences on rows that vary more and on outlying seeds.
        reason: why there is none; "" where there is one.
    """

    sd: float | None
    low: float = 0.0
    high: float = 0.0
    df: int = 0
    seeds: int = 0
    rows: tuple[str, ...] = ()
    source: Source = "rows"
    test: FamilyTest = _ONE_ROW
    notes: tuple[str, ...] = ()
    reason: str = ""


def residual_spread(rows: Mapping[str, Seeds], baseline: Seeds, family: int) -> ResidualSpread:
    """Return the residual standard deviation of one baseline and its rows.

    Args:
        rows: {row: {seed: value}}; a row may have no seed yet.
        baseline: {seed: value}; it may have none yet.
        family: number of rows that the planned table compares with the baseline, at least 1.

    Raises:
        InputError: a value that is not finite.
    """
    paired = {row: values for row, values in rows.items() if len(values.keys() & baseline.keys()) > 1}
    for name, values in {**paired, "baseline": baseline}.items():
        if values:
            finite_array(list(values.values()), name)
    if not paired:
        return _of_baseline(baseline, family)
    largest = max(abs(value) for values in (*paired.values(), baseline) for value in values.values())
    pool = common_residual(paired, baseline)
    notes = tuple(dict.fromkeys(f"{row}: {text}" for row, texts in pool.notes.items() for text in texts))
    seeds = min(len(values.keys() & baseline.keys()) for values in paired.values())
    if pool.baseline_varies_more:
        variance = float(np.mean([_difference_variance(values, baseline) for values in paired.values()]))
        notes = tuple(dict.fromkeys(text for texts in pool.notes.values() for text in texts))
        return _with_interval(math.sqrt(variance / 2), seeds - 1, largest, ResidualSpread(
            None, seeds=seeds, rows=tuple(paired), source="differences", test=FamilyTest(1, 1 / family), notes=notes,
        ))  # fmt: skip
    pooled = max(1, family - len(pool.separate))
    return _with_interval(math.sqrt(float(pool.fit.variance[0])), pool.design.df, largest, ResidualSpread(
        None, seeds=seeds, rows=pool.rows, test=FamilyTest(pooled, pooled / family), notes=notes,
    ))  # fmt: skip


def _of_baseline(baseline: Seeds, family: int) -> ResidualSpread:
    if len(baseline) < 2:
        seeds = "no finished seed" if not baseline else "one finished seed, which shows no spread"
        return ResidualSpread(None, source="baseline", reason=f"the baseline has {seeds}")
    sd = summary(list(baseline.values())).sd
    assert sd is not None
    found = ResidualSpread(None, seeds=len(baseline), source="baseline", test=FamilyTest(family))
    return _with_interval(sd, len(baseline) - 1, max(map(abs, baseline.values())), found)


def _difference_variance(row: Seeds, baseline: Seeds) -> float:
    """Sample variance of the paired differences."""
    return float(np.var([row[seed] - baseline[seed] for seed in row.keys() & baseline.keys()], ddof=1))


def _with_interval(sd: float, df: int, largest: float, found: ResidualSpread) -> ResidualSpread:
    """The spread with its numbers, or with a reason where it is rounding of values as large as `largest`."""
    from scipy.special import chdtri

    if sd <= SAME * largest:
        return replace(found, df=df, reason="the same number in every seed: there is no spread to plan with")
    upper, lower = (float(chdtri(df, tail)) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return replace(found, sd=sd, low=sd * math.sqrt(df / upper), high=sd * math.sqrt(df / lower), df=df)
