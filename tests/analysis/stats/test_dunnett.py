"""Dunnett's distribution against published tables, scipy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis.stats.dunnett import critical_value, family_p

# Two-sided 5 % points of Dunnett (1964), Biometrics 20, 482-491: {degrees of freedom: values for 1, 2, 3, ... rows}.
PUBLISHED = {
    5: (2.57, 3.03, 3.29, 3.48, 3.62, 3.73, 3.82, 3.90, 3.97),
    10: (2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24),
    20: (2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95),
    1_000_000: (1.96, 2.21, 2.35, 2.44, 2.51, 2.57, 2.61, 2.65, 2.69),
}


@pytest.mark.parametrize("df", PUBLISHED)
def test_published_tables(df):
    assert [critical_value(k, df) for k in range(1, 10)] == pytest.approx(list(PUBLISHED[df]), abs=0.0055)


@pytest.mark.parametrize("df", [1, 2, 4, 14, 135, 2000])
def test_one_row_is_student_t(df):
    for t in (0.0, 0.3, 2.0, 6.0, 40.0):
        assert family_p(t, 1, df) == pytest.approx(2 * scipy_stats.t.sf(t, df), rel=2e-6, abs=1e-15)


def test_the_multivariate_t_of_scipy():
    """`multivariate_t` integrates by quasi-random points, with an error near 1e-5."""
    for tests, df, t, correlation in ((2, 2, 4.3, 0.5), (3, 5, 3.29, 0.5), (4, 14, 2.8, 0.35)):
        shape = np.full((tests, tests), correlation) + (1 - correlation) * np.eye(tests)
        inside = scipy_stats.multivariate_t.cdf(
            [t] * tests, shape=shape, df=df, lower_limit=[-t] * tests, random_state=np.random.default_rng(0)
        )
        assert family_p(t, tests, df, correlation) == pytest.approx(1 - inside, abs=1e-4)


def test_the_one_way_design_of_scipy():
    """Three groups of four against a control of four: 12 degrees of freedom, correlation 1/2."""
    rng = np.random.default_rng(3)
    control, *groups = rng.normal(size=(4, 4)) + np.array([[0.0], [0.5], [1.0], [2.0]])
    theirs = scipy_stats.dunnett(*groups, control=control, rng=np.random.default_rng(0))
    ours = [family_p(float(t), 3, 12) for t in theirs.statistic]
    assert ours == pytest.approx(theirs.pvalue.tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("tests", "df", "correlation", "level"), [(7, 14, 0.5, 0.95), (3, 4, 0.4, 0.95), (2, 9, 0.5, 0.98)]
)
def test_simulation(tests, df, correlation, level):
    rng, repeats = np.random.default_rng(0), 200_000
    z = np.sqrt(1 - correlation) * rng.normal(size=(repeats, tests)) + np.sqrt(correlation) * rng.normal(
        size=(repeats, 1)
    )
    largest = np.abs(z).max(axis=1) / np.sqrt(rng.chisquare(df, repeats) / df)
    beyond = np.mean(largest > critical_value(tests, df, correlation, level))
    assert beyond == pytest.approx(1 - level, abs=4 * np.sqrt(level * (1 - level) / repeats))


def test_more_rows_and_fewer_degrees_of_freedom_need_more():
    by_rows = [critical_value(k, 14) for k in (1, 2, 4, 8, 16)]
    by_df = [critical_value(7, df) for df in (2, 4, 8, 16, 64)]
    assert by_rows == sorted(by_rows)
    assert by_df == sorted(by_df, reverse=True)
    bonferroni = scipy_stats.t.isf(0.025 / 7, 14)
    assert by_rows[0] < critical_value(7, 14) < critical_value(7, 14, 0.0) < bonferroni
    assert family_p(critical_value(7, 14), 7, 14) == pytest.approx(0.05, abs=1e-9)
