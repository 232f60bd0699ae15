"""Several comparisons at once: Holm's correction, and the best rows of a column.

Holm (1979, Scandinavian Journal of Statistics 6, 65-70) keeps the probability of any false difference in a table below
5 %, whatever the dependence of its tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.stats.permutation import ALPHA
from analysis.stats.seed_statistics import SAME, Difference, finite_array, paired
from c2d.core.errors import InputError, abbreviate, unknown_name


@dataclass(frozen=True)
class BestRows:
    """The bold rows of a column.

    Attributes:
        best: keys of the bold rows; empty where nothing is bold.
        reason: why these rows are bold, or why none is.
    """

    best: frozenset[str]
    reason: str


@dataclass(frozen=True)
class HolmStep:
    """One test of a family after Holm's correction.

    Attributes:
        p: adjusted p value.
        level: of the interval that leaves out 0 exactly when `p` is below 0.05, 0-1. Each such interval holds its own
            value with at least 95 %; all of them together may not, because the level falls from step to step.
    """

    p: float
    level: float


def holm_steps(ps: Sequence[float | None], share: float = 1.0) -> list[HolmStep | None]:
    """Return Holm's adjusted p values and the levels of the intervals that belong to them, in the order given.

    Args:
        ps: p values; None is no test, stays None and is not counted.
        share: of the error probability of 5 % that these tests may use, 0-1; others use the rest.

    Raises:
        InputError: a p value outside 0 to 1.
    """
    adjusted = [None if p is None else min(1.0, p / share) for p in holm(ps)]
    # The step-down stops at the first test that is not significant; the rest keep its factor.
    tests = sorted((p, at) for at, p in enumerate(ps) if p is not None)
    rejected = sum(p is not None and p < ALPHA for p in adjusted)
    out: list[HolmStep | None] = [None] * len(ps)
    for place, (_, at) in enumerate(tests):
        p = adjusted[at]
        assert p is not None
        out[at] = HolmStep(p, 1 - ALPHA * share / (len(tests) - min(place, rejected)))
    return out


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p values, in the order given. None stays None and is not counted as a test.

    Raises:
        InputError: a p value outside 0 to 1.
    """
    tests = [(p, at) for at, p in enumerate(ps) if p is not None]
    for p, at in tests:
        if not 0 <= p <= 1:
            raise InputError(f"p value number {at} is {p}; expected 0 to 1, or None where no test was made")
    out: list[float | None] = [None] * len(ps)
    worst = 0.0
    # Step-down: the factor falls from the number of tests to 1, and adjusted values never decrease.
    for place, (p, at) in enumerate(sorted(tests)):
        worst = max(worst, min(1.0, (len(tests) - place) * p))
        out[at] = worst
    return out


def best_rows(samples: Mapping[str, Mapping[int, float]], better: Literal["higher", "lower", ""]) -> BestRows:
    """Return the bold rows: the best, and every row that is not distinguishable from it.

    The best is the row with the best mean over its own seeds. Every other row is compared with it over their common
    seeds (`paired`), with Holm's correction over these comparisons; p >= 0.05 is not distinguishable. Rows that equal
    it in every seed are bold too. Nothing is bold where that cannot be decided:
      - there is one row, or `better` is "";
      - a row has fewer than 2 seeds in common with the best, or differs by the same amount in every seed;
      - the best row has fewer seeds than another: an unfinished row may lead by chance;
      - the best is behind a row over the seeds that both have: it leads by seeds that the other does not have.

    Args:
        samples: {row key: {seed: value}}; rows without a value are left out.
        better: direction in which a row is ahead; "" for numbers without direction.
    """
    if better not in ("higher", "lower", ""):
        raise unknown_name("direction", better, ("higher", "lower", ""))

    def nothing_bold(reason: str) -> BestRows:
        return BestRows(frozenset(), f"nothing is bold: {reason}")

    rows = {key: dict(values) for key, values in samples.items() if values}
    if not better:
        return nothing_bold("neither direction is better")
    if len(rows) < 2:
        return nothing_bold("there is nothing to compare with" if rows else "there are no values")
    sign = 1 if better == "higher" else -1
    means = {key: sign * float(finite_array(list(values.values()), key).mean()) for key, values in rows.items()}
    best = max(means, key=means.__getitem__)
    fullest = max(map(len, rows.values()))
    if len(rows[best]) < fullest:
        return nothing_bold(f"{best} leads with {len(rows[best])} of {fullest} seeds")
    others = [key for key in rows if key != best]
    common = {key: sorted(rows[best].keys() & rows[key].keys()) for key in others}
    if short := [key for key in others if len(common[key]) < 2]:
        return nothing_bold(
            f"fewer than 2 seeds in common with {best}, the best, so no test is possible: {abbreviate(short)}"
        )
    found = {key: paired([rows[best][s] for s in common[key]], [rows[key][s] for s in common[key]]) for key in others}
    if behind := [key for key in others if sign * found[key].mean < 0 and not _equal(found[key], rows[best])]:
        return nothing_bold(
            f"{best} has the best mean, but over the seeds that both have it is behind {abbreviate(behind)}"
        )
    if constant := [key for key in others if found[key].p is None and not _equal(found[key], rows[best])]:
        return nothing_bold(f"the difference to {best}, the best, is the same in every seed, so no test is possible: "
                      f"{abbreviate(constant)}")  # fmt: skip
    adjusted = dict(zip(others, holm([found[key].p for key in others]), strict=True))
    tied = [key for key in others if (p := adjusted[key]) is None or p >= ALPHA]
    how = sorted({f"{found[key].test}, n = {found[key].n}" for key in others})
    if not tied:
        return BestRows(frozenset([best]), f"{best} is ahead of all others ({'; '.join(how)}; Holm, p < 0.05)")
    return BestRows(
        frozenset([best, *tied]),
        f"{best} has the best mean; not distinguishable from it: {abbreviate(tied)} "
        f"({'; '.join(how)}; Holm, p >= 0.05)",
    )


def _equal(difference: Difference, values: Mapping[int, float]) -> bool:
    return abs(difference.mean) <= SAME * max(map(abs, values.values()))
