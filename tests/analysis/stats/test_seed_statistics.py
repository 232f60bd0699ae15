"""Statistics over seeds: by paper and pencil, against scipy, and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis.stats import seed_statistics
from c2d.core.errors import InputError

value = st.one_of(st.integers(-4, 4).map(lambda v: v / 10), st.floats(-1, 1, allow_subnormal=False))


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


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0, 2.0]]])
def test_values_that_are_no_numbers_are_refused(values):
    for call in (
        seed_statistics.summary,
        lambda v: seed_statistics.paired(v, v),
        lambda v: seed_statistics.unpaired([1.0], v),
    ):
        with pytest.raises(InputError, match=r"value number|expected a list of numbers"):
            call(values)


@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_below_eight_seeds_it_is_the_paired_t_test_of_scipy(n):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    found, theirs = seed_statistics.paired(a, b), scipy_stats.ttest_rel(a, b)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (found.n, found.test) == (n, "paired t, n = 2: almost no power" if n == 2 else "paired t")
    assert found.mean == pytest.approx((a - b).mean())
    assert found.sd == pytest.approx((a - b).std(ddof=1))


@pytest.mark.parametrize("n", [8, 10, 12])
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_from_eight_seeds_it_is_the_sign_flip_test_of_scipy(n, shift):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    a = a + shift
    found = seed_statistics.paired(a, b)
    theirs = scipy_stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert found.test == f"sign-flip, exact, {2**n} patterns"
    assert found.interval == "95 %, inverts the sign-flip test"


def test_many_seeds_draw_their_patterns():
    a, b = np.random.default_rng(1).normal(size=(2, 20))
    found = seed_statistics.paired(a + 0.6, b)
    theirs = scipy_stats.permutation_test(
        (a + 0.6, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        n_resamples=9_999, rng=np.random.default_rng(3),
    )  # fmt: skip
    assert found.p == pytest.approx(theirs.pvalue, abs=5 * math.sqrt(theirs.pvalue / 9_999))
    assert found == seed_statistics.paired(a + 0.6, b)
    assert found != seed_statistics.paired(a + 0.6, b, seed=1)
    assert found.test == "sign-flip, 9999 random patterns"
    t = scipy_stats.ttest_rel(a + 0.6, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((t.low, t.high), abs=0.1)  # as wide as t's, nearly
    assert seed_statistics.paired(a + 50, b).p == pytest.approx(2 / 10_000)  # never 0


@given(st.lists(value, min_size=6, max_size=16))
@settings(max_examples=50, deadline=None)
def test_the_sign_flip_interval_leaves_out_zero_exactly_when_p_is_below_5_percent(d):
    found = seed_statistics.paired(d, np.zeros(len(d)), "sign-flip", flips=999)
    if found.p is None or found.low is None or found.high is None:
        assert (found.p, found.low, found.high, found.test) == (None, None, None, "none: no spread")
        return
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert found.low <= found.mean + 1e-12
    assert found.mean <= found.high + 1e-12


@given(st.lists(value, min_size=6, max_size=9), st.sampled_from((0.0, 0.3, -0.1, 0.7)))
@settings(max_examples=50, deadline=None)
def test_the_interval_holds_the_effects_that_a_literal_test_does_not_reject(d, effect):
    found = seed_statistics.paired(d, np.zeros(len(d)), "sign-flip")
    if found.low is None or found.high is None:
        return
    moved = np.array(d) - effect
    sums = [abs(np.dot(signs, moved)) for signs in itertools.product((1, -1), repeat=len(d))]
    p = np.mean(np.array(sums) >= abs(moved.sum()) - 1e-9)
    near_an_end = min(abs(effect - found.low), abs(effect - found.high)) < 1e-9  # there the last bit decides
    assert near_an_end or (p >= 0.05) == (found.low <= effect <= found.high)


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


def test_methods_that_cannot_keep_their_promise_refuse():
    d = np.random.default_rng(0).normal(size=10)
    for n in (1, 3, 5):
        with pytest.raises(InputError, match=f"sign-flip test of {n} seeds cannot reach 0.05, its smallest p is"):
            seed_statistics.paired(d[:n], 0 * d[:n], "sign-flip")
    for n in (3, 5, 7):
        with pytest.raises(InputError, match=r"covers far less than 95 % \(74 % at 3, 83 % at 5\)"):
            seed_statistics.paired(d[:n], 0 * d[:n], "bootstrap")
    assert seed_statistics.paired(np.arange(1.0, 7), np.zeros(6), "sign-flip").p == 2 / 64
    bootstrap = seed_statistics.paired(d, 0 * d, "bootstrap")
    assert bootstrap.interval == "percentile bootstrap over 10 seeds, covers less than 95 %"
    assert bootstrap.p is None
    assert seed_statistics.paired(d, 0 * d, "t").p == pytest.approx(scipy_stats.ttest_1samp(d, 0).pvalue)
    with pytest.raises(InputError, match="unknown method 'z'; known: auto, bootstrap, sign-flip, t"):
        seed_statistics.paired(d, d, "z")
    with pytest.raises(InputError, match="3 values against 2: a paired comparison needs the same seeds"):
        seed_statistics.paired(d[:3], d[:2])


def test_unpaired_is_welch():
    a, b = np.random.default_rng(4).normal(size=6), np.random.default_rng(5).normal(1, 3, 4)
    found, theirs = seed_statistics.unpaired(a, b), scipy_stats.ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (found.n, found.sd, found.test) == (4, None, "Welch t, unpaired, n = 6 and 4")
    assert seed_statistics.unpaired([1.0, 2.0], [3.0]).test == "none: one seed on one side"
    assert seed_statistics.unpaired([1.0, 1.0], [3.0, 3.0]).test == "none: no spread"
