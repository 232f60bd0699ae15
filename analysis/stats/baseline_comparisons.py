"""Several rows of a table against one baseline, over seeds: the rows share their seeds, so they share their noise.

The rule, and why (simulated in docs/results/statistics.md):

  Dunnett       two rows or more: the residual of rows and seeds together (`analysis.stats.block_design`) measures the
                noise of every difference, with (rows - 1)(seeds - 1) degrees of freedom; one level for all rows
  paired t      one row, where both are the same test
  paired t,     rows whose differences vary more than the common residual allows; all rows if it is the baseline that
  Holm          varies more
  Welch, Holm   rows without a common seed with the baseline, which keep their share of the 5 % too

`analysis.stats.common_residual` has the test of equal variances. Rows that are tested by themselves keep their share of
the 5 %, so that the probability of any false difference of a family stays below 5 %. Every interval belongs to its
test: it leaves out 0 exactly when the adjusted p value is below 0.05.

A sign-flip test of each row is a cross-check without normality. It never decides: with n seeds its smallest p value is
2 / 2^n, which no correction for several rows may reach below 0.05 however large the effect is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.stats.block_design import BlockDesign
from analysis.stats.common_residual import CommonResidual, Seeds, common_residual, outlying_seed
from analysis.stats.dunnett import critical_value, family_p
from analysis.stats.multiple_comparisons import holm_steps
from analysis.stats.permutation import ALPHA, sign_flip_test, smallest_p
from analysis.stats.seed_statistics import SAME, Difference, finite_array, paired, unpaired

FLIPS = 9_999
"""Random sign patterns where all are too many."""


@dataclass(frozen=True)
class Comparison:
    """One row minus the baseline, in the unit of their values.

    Attributes:
        mean: mean difference over the common seeds; over all seeds of both where there are none.
        sd: sample standard deviation of the paired differences (ddof 1); None where there are no pairs or only one.
        n: number of common seeds; without any the smaller number of seeds.
        low, high: interval of the test; None where there is none.
        p: p value of this row by itself; None without a test.
        p_adjusted: p value after the adjustment for all tests of the family.
        significant: whether `p_adjusted` is below 0.05, which is when the interval leaves out 0; None without a test.
        family: number of tests that are adjusted together; 0 without a test.
        test, interval: names of both, or why there is none.
        cross_check: sentence on the sign-flip test of this row; "" where there is none.
        notes: sentences on outlying seeds and unequal variances.
    """

    mean: float
    sd: float | None
    n: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    significant: bool | None = None
    family: int = 0
    test: str = ""
    interval: str = ""
    cross_check: str = ""
    notes: tuple[str, ...] = ()


def compare_with_baseline(rows: Mapping[str, Seeds], baseline: Seeds) -> dict[str, Comparison]:
    """Compare every row with the baseline; see the module for the test that each row gets.

    Args:
        rows: {row: {seed: value}}, each with at least one seed.
        baseline: {seed: value}, at least one.

    Raises:
        InputError: no value, or one that is not finite.
    """
    finite_array(list(baseline.values()), "baseline")
    for row, values in rows.items():
        finite_array(list(values.values()), row)
    common = {row: sorted(values.keys() & baseline.keys()) for row, values in rows.items()}
    alone = {row: _alone(rows[row], baseline, seeds) for row, seeds in common.items()}
    several = [row for row, seeds in common.items() if len(seeds) > 1]
    found = {row: _untested(difference) for row, difference in alone.items()}
    apart = {row: alone[row] for row in rows if not common[row]}
    if not any(alone[row].p is not None for row in several):
        several = []
    found |= _by_holm(apart, len(several) + _tests(apart))
    if several:
        found |= _paired_rows({r: rows[r] for r in several}, baseline, {r: alone[r] for r in several}, _tests(apart))
    return {row: _with_cross_check(found[row], rows[row], baseline, common[row]) for row in rows}


def _alone(row: Seeds, baseline: Seeds, common: Sequence[int]) -> Difference:
    if common:
        return paired([row[seed] for seed in common], [baseline[seed] for seed in common])
    return unpaired(list(row.values()), list(baseline.values()))


def _untested(found: Difference) -> Comparison:
    return Comparison(found.mean, found.sd, found.n, test=found.test, interval=found.interval)


def _tests(alone: Mapping[str, Difference]) -> int:
    return sum(found.p is not None for found in alone.values())


def _paired_rows(
    rows: Mapping[str, Seeds], baseline: Seeds, alone: Mapping[str, Difference], others: int
) -> dict[str, Comparison]:
    """The comparisons of rows with two common seeds or more; `others`: number of tests of rows without."""
    if len(rows) == 1:
        return _noted(_by_holm(alone, 1 + others), outlying_seed(rows, baseline))
    pool = common_residual(rows, baseline)
    family = len(rows) + others
    if pool.baseline_varies_more:
        return _noted(_by_holm(alone, _tests(alone) + others), pool.notes)
    found = _by_dunnett(pool, family, alone)
    found |= _by_holm({row: alone[row] for row in pool.separate}, family)
    return _noted(found, pool.notes)


def _by_dunnett(pool: CommonResidual, family: int, alone: Mapping[str, Difference]) -> dict[str, Comparison]:
    """Dunnett's test; rows that were left out keep their share of the error probability."""
    from scipy.special import stdtr

    if all(alone[row].p is None for row in pool.rows):  # nothing measures the noise of these rows
        return {row: _untested(alone[row]) for row in pool.rows}
    design, k = pool.design, len(pool.rows)
    share = k / family
    critical = critical_value(k, float(design.df), design.correlation, 1 - ALPHA * share)
    name = f"Dunnett, {k + 1} rows x {int(design.pairs.max())} seeds{_missing(design)}, {design.df} df"
    errors = design.standard_error(float(pool.fit.variance[0])).tolist()
    out = {}
    for row, mean, error, n in zip(
        pool.rows, pool.fit.difference[0].tolist(), errors, design.pairs.tolist(), strict=True
    ):
        t = mean / error
        p = min(1.0, family_p(t, k, design.df, design.correlation) / share)
        out[row] = Comparison(
            mean, alone[row].sd, n, mean - critical * error, mean + critical * error,
            float(2 * stdtr(design.df, -abs(t))), p, p < ALPHA, family, name, "95 % simultaneous, Dunnett",
        )  # fmt: skip
    return out


def _missing(design: BlockDesign) -> str:
    return "" if design.present.all() else " (some missing)"


def _by_holm(alone: Mapping[str, Difference], family: int) -> dict[str, Comparison]:
    """Each row by its own test, adjusted by Holm.

    Args:
        family: number of tests of the whole family, these among them.
    """
    tests = {row: found for row, found in alone.items() if found.p is not None}
    steps = holm_steps([found.p for found in tests.values()], len(tests) / family if tests else 1.0)
    out = {row: _untested(found) for row, found in alone.items()}
    for (row, found), step in zip(tests.items(), steps, strict=True):
        assert step is not None
        low, high = found.interval_at(step.level)
        many = ", Holm" * (family > 1)
        out[row] = replace(
            out[row], low=low, high=high, p=found.p, p_adjusted=step.p, significant=step.p < ALPHA, family=family,
            test=found.test + many, interval=f"{found.interval} at Holm's level" if many else found.interval,
        )  # fmt: skip
    return out


def _noted(found: Mapping[str, Comparison], notes: Mapping[str, Sequence[str]]) -> dict[str, Comparison]:
    return {row: replace(one, notes=tuple(notes.get(row, ()))) for row, one in found.items()}


def _with_cross_check(found: Comparison, row: Seeds, baseline: Seeds, common: Sequence[int]) -> Comparison:
    if found.p is None or not common:
        return found
    d = np.array([row[seed] - baseline[seed] for seed in common])
    p, _, _, name = sign_flip_test(d, FLIPS, seed=0)
    least = smallest_p(len(d), FLIPS)
    text = f"{name}, which does not decide: p {p:.3g}"
    text += f", the smallest that {len(d)} seeds can give" if p <= least * (1 + SAME) else ""
    if least * found.family >= ALPHA:
        over = f" over {found.family} tests" if found.family > 1 else ""
        text += f"; never below {min(1.0, least * found.family):.2g}{over}, so it cannot reach 0.05"
    return replace(found, cross_check=text)
