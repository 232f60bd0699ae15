"""Statistics over seeds: by paper and pencil, against scipy, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.stats import seed_statistics
from c2d.core.errors import InputError


def test_summary_by_paper_and_pencil():
    three = seed_statistics.summary([37.0, 38.0, 39.0])
    assert (three.mean, three.sd, three.n, three.interval) == (38.0, 1.0, 3, "95 % t")
    # t quantile of 2 degrees of freedom: 4.303
    assert (three.low, three.high) == pytest.approx((38 - 4.303 / math.sqrt(3), 38 + 4.303 / math.sqrt(3)), abs=1e-3)
    assert seed_statistics.summary([37.0]) == seed_statistics.Summary(37.0, None, 1, None, None, "none: one seed")
    two = seed_statistics.summary([0.0, 2.0])
    assert (two.low, two.high) == pytest.approx((1 - 12.706, 1 + 12.706), abs=1e-3)
    assert two.interval == "95 % t, n = 2: very wide"
    assert seed_statistics.summary([0.4, 0.4, 0.4]).interval == "none: no spread"


def test_one_more_run_by_paper_and_pencil():
    found = seed_statistics.one_more_run([37.0, 38.0, 39.0])
    half = 4.303 * math.sqrt(1 + 1 / 3)
    assert (found.low, found.high) == pytest.approx((38 - half, 38 + half), abs=1e-3)
    assert (found.mean, found.sd, found.n, found.interval) == (38.0, 1.0, 3, "95 % t prediction of one run")
    assert seed_statistics.one_more_run([37.0]) == seed_statistics.summary([37.0])
    assert seed_statistics.one_more_run([0.4, 0.4]).interval == "none: no spread"


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]]])
def test_values_that_are_no_numbers_are_refused(values):
    for call in (
        seed_statistics.summary,
        lambda v: seed_statistics.paired(v, v),
        lambda v: seed_statistics.unpaired([1.0], v),
    ):
        with pytest.raises(InputError, match=r"value number|expected a list of numbers"):
            call(values)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12])
def test_two_rows_are_the_paired_t_test_of_scipy(n):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    found, theirs = seed_statistics.paired(a, b), scipy_stats.ttest_rel(a, b)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert found.interval_at(0.99) == pytest.approx(tuple(theirs.confidence_interval(0.99)))
    assert (found.n, found.test) == (n, "paired t, n = 2: almost no power" if n == 2 else "paired t")
    assert found.mean == pytest.approx((a - b).mean())
    assert found.sd == pytest.approx((a - b).std(ddof=1))


def test_no_spread_gives_no_p():
    for n in (2, 3, 8):
        base = np.linspace(0.3, 0.5, n)
        for shift in (0.0, 0.1):
            found = seed_statistics.paired(base + shift, base)
            assert (found.p, found.low, found.high, found.sd) == (None, None, None, 0.0)
            assert found.test == found.interval == "none: no spread"
            assert found.mean == pytest.approx(shift)
    one = seed_statistics.paired([0.4], [0.3])
    assert (one.p, one.sd, one.test, one.interval) == (None, None, "none: one seed", "none: one seed")


def test_unequal_numbers_of_seeds_are_refused():
    with pytest.raises(InputError, match="3 values against 2: a paired comparison needs the same seeds"):
        seed_statistics.paired([0.1, 0.2, 0.3], [0.1, 0.2])


def test_unpaired_is_welch():
    a, b = np.random.default_rng(4).normal(size=6), np.random.default_rng(5).normal(1, 3, 4)
    found, theirs = seed_statistics.unpaired(a, b), scipy_stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (found.n, found.sd, found.test) == (4, None, "Welch t, unpaired, n = 6 and 4")
    assert seed_statistics.unpaired([1.0, 2.0], [3.0]).test == "none: one seed on one side"
    assert seed_statistics.unpaired([1.0, 1.0], [3.0, 3.0]).test == "none: no spread"
