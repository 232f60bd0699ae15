"""Intervals that hold several differences together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.simultaneous import simultaneous_intervals


def test_one_difference_by_paper_and_pencil():
    # 100 draws around 0, symmetric, no two deviations equal: 1 to 50 on each side.
    drawn = np.concatenate([np.arange(1.0, 51.0), -np.arange(1.0, 51.0) - 0.5])[None]
    error = float(drawn[0].std(ddof=1))
    # 1 + n < 0.05 * 101 for n up to 4: the fifth largest deviation is the limit.
    limit = np.sort(np.abs(drawn[0]))[-5]
    [found] = simultaneous_intervals([0.0], drawn, [10**8])
    assert (found.low, found.high) == pytest.approx((-limit, limit))
    assert found.p == 1.0
    [far] = simultaneous_intervals([200.0], drawn + 200.0, [10**8])
    assert far.low == pytest.approx(200 - limit)
    assert far.p == pytest.approx(1 / 101)
    # In eight images only: Student's t of seven degrees of freedom, with Bessel's factor.
    [few] = simultaneous_intervals([0.0], drawn, [8])
    student = stats.t.ppf(stats.norm.cdf(limit / error), 7)
    assert few.high == pytest.approx(student * error * math.sqrt(8 / 7))
    assert few.high > 1.2 * found.high


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([100, 199, 500]), st.floats(0, 4))
@settings(max_examples=40, deadline=None)
def test_p_is_below_5_percent_exactly_when_the_interval_leaves_out_zero_and_signs_flip(seed, m, resamples, shift):
    rng = np.random.default_rng(seed)
    d = rng.normal(shift, 1, m)
    drawn = np.round(d[:, None] + rng.normal(size=(m, resamples)), 2)
    found = simultaneous_intervals(d.tolist(), drawn, [12] * m)
    for one in found:
        assert (one.p < 0.05) == (one.low > 0 or one.high < 0)
        assert one.low <= one.high
    flipped = simultaneous_intervals((-d).tolist(), -drawn, [12] * m)
    assert [(one.low, one.high, one.p) for one in flipped] == [(-one.high, -one.low, one.p) for one in found]


def test_what_never_varies_and_what_is_undefined():
    rng = np.random.default_rng(0)
    drawn = np.stack([np.zeros(200), np.full(200, 0.5), rng.normal(size=200)])
    drawn[2, :20] = np.nan
    zero, constant, random = simultaneous_intervals([0.0, 0.5, 0.0], drawn, [9, 9, 9])
    assert zero == (0.0, 0.0, 1.0)
    assert constant == (0.5, 0.5, pytest.approx(1 / 201))
    assert random.low < 0 < random.high
    assert math.isfinite(random.low)
    assert simultaneous_intervals([], np.zeros((0, 100)), []) == []


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_all_rows_are_held_together_whatever_their_correlation(share):
    """Normal means with a parametric bootstrap; unadjusted intervals of ten rows hold them all in 60 % (share 0)."""
    rng, repeats, m = np.random.default_rng(3), 400, 10

    def noise(shape: tuple[int, ...]) -> np.ndarray:
        common = rng.normal(size=(1, *shape[1:]))
        return math.sqrt(share) * common + math.sqrt(1 - share) * rng.normal(size=shape)

    held = wide = 0
    for _ in range(repeats):
        d = noise((m, 1))[:, 0]
        found = simultaneous_intervals(d.tolist(), d[:, None] + noise((m, 300)), [10**6] * m)
        held += all(one.low <= 0 <= one.high for one in found)
        wide += found[0].high - found[0].low > 2 * 2.81  # Bonferroni's: the 99.75 % quantile of a normal
    assert abs(held / repeats - 0.95) < 4 * math.sqrt(0.95 * 0.05 / repeats)
    if share:
        assert wide == 0  # rows that move together cost less than under Bonferroni
