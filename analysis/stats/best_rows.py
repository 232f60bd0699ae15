"""The best row of a column, and the rows that are not distinguishable from it.

The best row is chosen by the values that it would be compared by, so tests of the other rows against it would not keep
their level. Multiple comparisons with the best (J. C. Hsu, 1981, Annals of Statistics 9, 1026-1034) ask of every row
whether it may be the best: a row is ruled out where another row is significantly better. Each row takes the place of
the baseline once, in the comparison that differences to a baseline have (`analysis.stats.baseline_comparisons`), so a
baseline that some row significantly beats is ruled out here by the same p value.

The row that is truly best is ruled out with a probability of 2.5 %, the half of the two-sided 5 %, for any number of
rows; by simulation below 5 %, unless it varies three times as much as all others over three seeds (6 to 9 %,
docs/results/statistics.md). Every row that is not ruled out is close to the best for what the seeds can tell; that does
not make it as good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from analysis.stats.baseline_comparisons import compare_with_baseline
from analysis.stats.common_residual import Seeds
from analysis.stats.seed_statistics import finite_array
from c2d.core.errors import abbreviate, unknown_name


@dataclass(frozen=True)
class BestRows:
    """The best rows of a column.

    Attributes:
        best: keys of the rows with the best mean as it is shown; empty where nothing is best.
        near: keys of the other rows that no row is significantly better than.
        tests: names of the tests behind `near`.
        reason: why nothing is best, or why rows could not be tested; "" where nothing is to be said.
    """

    best: frozenset[str] = frozenset()
    near: frozenset[str] = frozenset()
    tests: tuple[str, ...] = ()
    reason: str = ""


def best_rows(
    samples: Mapping[str, Seeds],
    better: Literal["higher", "lower"],
    digits: int,
    names: Mapping[str, str] | None = None,
) -> BestRows:
    """Return the best rows of a column, and those not distinguishable from them.

    Means that are equal at the shown digits are equal: all of them are the best, but for rows that are ruled out, and
    nothing is the best where all rows are equal. Nothing is the best either where the row with the best mean has fewer
    seeds than another: an unfinished row may lead by chance.

    Args:
        samples: {row key: {seed: value}} in the shown unit; rows without a value are left out.
        better: direction in which a row is ahead.
        digits: shown after the decimal point.
        names: {row key: what a reason calls the row}; a row without one is called by its key.

    Raises:
        InputError: an unknown direction, or a value that is not finite.
    """
    if better not in ("higher", "lower"):
        raise unknown_name("direction", better, ("higher", "lower"))
    called = {key: (names or {}).get(key, key) for key in samples}
    sign = 1 if better == "higher" else -1
    rows = {key: dict(values) for key, values in samples.items() if values}
    if len(rows) < 2:
        return BestRows()
    means = {key: float(finite_array(list(values.values()), key).mean()) for key, values in rows.items()}
    first = max(means, key=lambda key: sign * means[key])
    best = frozenset(key for key, mean in means.items() if f"{mean:.{digits}f}" == f"{means[first]:.{digits}f}")
    if len(best) == len(rows):
        return BestRows(reason="nothing is bold: all rows have the same value as shown")
    fullest = max(map(len, rows.values()))
    if len(rows[first]) < fullest:
        return BestRows(reason=f"nothing is bold: {called[first]} leads with {len(rows[first])} of {fullest} seeds")
    beaten: dict[str, str] = {}
    near, tests, untested = set(), set(), {}
    for key in rows:
        found = compare_with_baseline({other: rows[other] for other in rows if other != key}, rows[key])
        tests |= {one.test for one in found.values() if one.significant is not None}
        ahead = [other for other, one in found.items() if one.significant and sign * one.mean > 0]
        if ahead:
            beaten[key] = ahead[0]
        elif key not in best and found[first].significant is None:
            untested[key] = found[first].test.removeprefix("none: ")
        elif key not in best:
            near.add(key)
    if first in beaten:  # over the seeds that both have
        return BestRows(
            reason=f"nothing is bold: {called[first]} has the best mean, but {called[beaten[first]]} is significantly "
            "better over the seeds that both have"
        )
    why = _why_untested(untested, called, len(rows) - len(best))
    return BestRows(best.difference(beaten), frozenset(near), tuple(sorted(tests)), why)


def _why_untested(untested: Mapping[str, str], called: Mapping[str, str], others: int) -> str:
    if not untested:
        return ""
    why = ", ".join(sorted(set(untested.values())))
    if len(untested) == others:
        return f"no test against the best ({why}), so bold is the best number and nothing is marked near it"
    rows = abbreviate(sorted(called[key] for key in untested))
    return f"no test of {rows} against the best ({why}), so no mark says whether it is near"
