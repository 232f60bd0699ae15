"""Several tests at once: Holm's correction, and the levels of the intervals that belong to it.

Holm (1979, Scandinavian Journal of Statistics 6, 65-70) keeps the probability of any false difference in a table below
5 %, whatever the dependence of its tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.stats.permutation import ALPHA
from c2d.core.errors import InputError


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
