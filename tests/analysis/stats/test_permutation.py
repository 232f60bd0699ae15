"""The sign-flip test against scipy and a literal test, and the interval that inverts it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis.stats.permutation import p_and_interval, sign_flip_test, smallest_p

value = st.one_of(st.integers(-4, 4).map(lambda v: v / 10), st.floats(-1, 1, allow_subnormal=False))


@pytest.mark.parametrize("n", [3, 8, 12])
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_all_patterns_are_the_permutation_test_of_scipy(n, shift):
    d = np.random.default_rng(n).normal(size=n) + shift
    theirs = scipy_stats.permutation_test(
        (d, np.zeros(n)), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    p, _, _, name = sign_flip_test(d, 9_999, seed=0)
    assert p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert name == f"sign-flip, exact, {2**n} patterns"


def test_many_seeds_draw_their_patterns():
    d = np.random.default_rng(1).normal(size=20) + 0.6
    p, low, high, name = sign_flip_test(d, 9_999, seed=0)
    theirs = scipy_stats.permutation_test(
        (d, np.zeros(20)), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
        n_resamples=9_999, rng=np.random.default_rng(3),
    )  # fmt: skip
    assert p == pytest.approx(theirs.pvalue, abs=5 * math.sqrt(theirs.pvalue / 9_999))
    assert (p, low, high, name) == sign_flip_test(d, 9_999, seed=0)
    assert (p, low, high) != sign_flip_test(d, 9_999, seed=1)[:3]
    assert name == "sign-flip, 9999 random patterns"


def test_no_effect_brings_p_below_its_floor():
    for n in (3, 5, 8, 10, 20):
        assert sign_flip_test(np.linspace(99, 101, n), 9_999, seed=0)[0] == pytest.approx(smallest_p(n, 9_999))
    assert [smallest_p(n, 999) for n in (1, 3, 8, 15)] == [1.0, 0.25, 2 / 256, 0.002]


@given(st.lists(value, min_size=6, max_size=16))
@settings(max_examples=50, deadline=None)
def test_the_interval_leaves_out_zero_exactly_when_p_is_below_5_percent(values):
    d = np.array(values)
    p, low, high, _ = sign_flip_test(d, 999, seed=0)
    assert (p < 0.05) == (low > 0 or high < 0)
    assert low <= d.mean() + 1e-12
    assert d.mean() <= high + 1e-12


@given(st.lists(value, min_size=6, max_size=9), st.sampled_from((0.0, 0.3, -0.1, 0.7)))
@settings(max_examples=50, deadline=None)
def test_the_interval_holds_the_effects_that_a_literal_test_does_not_reject(values, effect):
    d = np.array(values)
    if np.ptp(d) == 0:
        return
    _, low, high, _ = sign_flip_test(d, 999, seed=0)
    moved = d - effect
    sums = [abs(np.dot(signs, moved)) for signs in itertools.product((1, -1), repeat=len(d))]
    p = np.mean(np.array(sums) >= abs(moved.sum()) - 1e-9)
    near_an_end = min(abs(effect - low), abs(effect - high)) < 1e-9  # there the last bit decides
    assert near_an_end or (p >= 0.05) == (low <= effect <= high)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99, 0.998])
def test_an_interval_of_any_level_belongs_to_the_p_value(level):
    rng = np.random.default_rng(0)
    for shift in np.linspace(-4, 4, 41):
        p, low, high = p_and_interval(np.sort(rng.normal(size=1999) + shift), level)
        assert (p < 1 - level - 1e-12) == (low > 0 or high < 0)
