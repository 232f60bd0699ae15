"""Rows against their baseline: the test that a row gets, what it promises, and that more seeds never give less."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from analysis.stats import baseline_comparisons
from analysis.stats.dunnett import critical_value
from c2d.core.errors import InputError
from tests.analysis.stats import simulate_comparisons

BASE, KD, CROP = {0: 20.0, 1: 22.0, 2: 24.0}, {0: 25.0, 1: 28.0, 2: 28.0}, {0: 21.0, 1: 20.0, 2: 26.0}


def compare_with_baseline(rows: Any, baseline: Any) -> dict[str, Any]:
    """`Comparison`s as Any: mypy does not know which of them have a test."""
    return dict(baseline_comparisons.compare_with_baseline(rows, baseline))


def drawn(m, n, seed=0, sds=None, effect=0.0):
    """(baseline, {row: {seed: value}}) with a common effect of each seed."""
    rng = np.random.default_rng(seed)
    values = (
        37 + rng.normal(size=n) + (np.ones(m) if sds is None else np.asarray(sds))[:, None] * rng.normal(size=(m, n))
    )
    values[1:] += effect
    baseline, *rows = [dict(enumerate(row.tolist())) for row in values]
    return baseline, {f"row {i}": row for i, row in enumerate(rows, 1)}


def test_two_rows_by_paper_and_pencil():
    """Variance 22/9 with 4 degrees of freedom: standard error sqrt(44/27) = 1.277, t = 3.917 and 0.261."""
    found = compare_with_baseline({"kd": KD, "crop": CROP}, BASE)
    kd, crop = found["kd"], found["crop"]
    error = math.sqrt(44 / 27)
    critical = critical_value(2, 4)
    assert critical == pytest.approx(3.31, abs=0.005)  # Dunnett (1964)
    assert (kd.mean, kd.sd, kd.n) == (pytest.approx(5), pytest.approx(1), 3)
    assert (kd.low, kd.high) == (pytest.approx(5 - critical * error), pytest.approx(5 + critical * error))
    assert kd.p == pytest.approx(2 * scipy_stats.t.sf(5 / error, 4))
    assert (kd.family, kd.significant, crop.significant) == (2, True, False)
    assert kd.test == crop.test == "Dunnett, 3 rows x 3 seeds, 4 df"
    assert kd.interval == "95 % simultaneous, Dunnett"


def test_one_row_is_a_paired_t_test():
    found = compare_with_baseline({"kd": KD}, BASE)["kd"]
    theirs = scipy_stats.ttest_rel(list(KD.values()), list(BASE.values()))
    assert (found.p, found.p_adjusted) == (pytest.approx(theirs.pvalue), pytest.approx(theirs.pvalue))
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (found.test, found.interval, found.family) == ("paired t", "95 % t", 1)


def test_a_row_that_varies_more_is_tested_by_itself_and_keeps_its_share():
    """Row 2 leaves: paired t with p times 4; the other three have Dunnett's test at 1 - 0.05 * 3/4."""
    baseline, rows = drawn(5, 6, sds=[0.2, 0.2, 9, 0.2, 0.2], effect=1.0)
    found = compare_with_baseline(rows, baseline)
    alone = scipy_stats.ttest_rel(list(rows["row 2"].values()), list(baseline.values()))
    assert found["row 2"].test == "paired t, Holm"
    assert found["row 2"].p_adjusted == pytest.approx(min(1, 4 * alone.pvalue))
    ends = (found["row 2"].low, found["row 2"].high)
    assert ends == pytest.approx(tuple(alone.confidence_interval(1 - 0.05 / 4)))
    assert "varies more over seeds than the rows beside it" in found["row 2"].notes[-1]
    without = compare_with_baseline({row: of for row, of in rows.items() if row != "row 2"}, baseline)
    for row in ("row 1", "row 3", "row 4"):
        assert (found[row].test, found[row].family) == ("Dunnett, 4 rows x 6 seeds, 15 df", 4)
        assert found[row].p_adjusted == pytest.approx(without[row].p_adjusted * 4 / 3)
        assert found[row].significant
        ratio = (found[row].high - found[row].low) / (without[row].high - without[row].low)
        assert ratio == pytest.approx(critical_value(3, 15, 0.5, 1 - 0.05 * 3 / 4) / critical_value(3, 15))


def test_a_baseline_that_varies_more_leaves_paired_t_and_holm():
    baseline, rows = drawn(5, 6, sds=[9, 0.2, 0.2, 0.2, 0.2])
    found = compare_with_baseline(rows, baseline)
    assert {one.test for one in found.values()} == {"paired t, Holm"}
    assert {one.interval for one in found.values()} == {"95 % t at Holm's level"}
    assert all("the baseline varies more over seeds than its rows" in one.notes[-1] for one in found.values())


def test_missing_seeds_use_the_common_ones_of_each_row():
    baseline, rows = drawn(4, 5, effect=1.0)
    del rows["row 1"][0], rows["row 1"][4], rows["row 2"][3]
    rows["row 3"][9] = 99.0  # a seed that the baseline does not have
    found = compare_with_baseline(rows, baseline)
    assert [one.n for one in found.values()] == [3, 4, 5]
    for row, of in rows.items():
        common = of.keys() & baseline.keys()
        assert found[row].mean == pytest.approx(np.mean([of[seed] - baseline[seed] for seed in common]))
        assert found[row].test == "Dunnett, 4 rows x 5 seeds (some missing), 9 df"
    widths = [one.high - one.low for one in found.values()]
    assert widths[0] / widths[2] == pytest.approx(math.sqrt(5 / 3))


def test_rows_that_cannot_be_paired():
    rows = {"kd": KD, "crop": CROP, "one": {1: 23.0}, "apart": {7: 30.0, 8: 31.0}, "apart too": {7: 20.0, 8: 21.0}}
    found = compare_with_baseline(rows, BASE)
    assert (found["one"].p, found["one"].test, found["one"].mean) == (None, "none: one seed", 1.0)
    assert (found["one"].significant, found["one"].cross_check) == (None, "")
    assert found["apart"].test == "Welch t, unpaired, n = 2 and 3, Holm"
    # One family of four tests: the two that are paired and the two that are not have half of the 5 % each.
    assert {key: one.family for key, one in found.items() if one.p is not None} == dict.fromkeys(
        found.keys() - {"one"}, 4
    )
    alone = compare_with_baseline({"kd": KD, "crop": CROP}, BASE)["kd"]
    assert found["kd"].p_adjusted == pytest.approx(2 * alone.p_adjusted)
    assert found["kd"].high - 5 == pytest.approx(critical_value(2, 4, level=0.975) * math.sqrt(44 / 27))
    apart_alone = compare_with_baseline({"apart": rows["apart"], "apart too": rows["apart too"]}, BASE)
    assert found["apart"].p_adjusted == pytest.approx(min(1, 2 * apart_alone["apart"].p_adjusted))
    single = compare_with_baseline({"kd": KD, "apart": rows["apart"]}, BASE)
    assert (single["kd"].test, single["kd"].family, single["apart"].family) == ("paired t, Holm", 2, 2)
    for one in [*found.values(), *single.values()]:
        assert one.p is None or one.significant == (one.low > 0 or one.high < 0)
    assert compare_with_baseline({}, BASE) == {}
    for bad in ({"kd": {0: math.nan}}, {"kd": {}}):
        with pytest.raises(InputError, match=r"kd: (value number 0 is nan|expected a list)"):
            compare_with_baseline(bad, BASE)


def test_no_spread_gives_no_test():
    shifted = {"a": {seed: value + 1 for seed, value in BASE.items()}, "b": dict(BASE)}
    found = compare_with_baseline(shifted, BASE)
    assert {(one.p, one.low, one.significant, one.test) for one in found.values()} == {
        (None,) * 3 + ("none: no spread",)
    }
    baseline, rows = drawn(3, 6)
    rows = {"same": {seed: value + 1 for seed, value in baseline.items()}, "noisy": rows["row 1"]}
    found = compare_with_baseline(rows, baseline)
    assert found["same"].sd == 0
    assert all(one.p_adjusted is None or 0 <= one.p_adjusted <= 1 for one in found.values())


@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 10_000), st.floats(0, 3))
@settings(max_examples=60, deadline=None)
def test_an_interval_leaves_out_zero_exactly_when_p_is_below_5_percent(m, n, seed, effect):
    sds = np.random.default_rng(seed).choice([0.1, 1.0, 4.0], m)
    baseline, rows = drawn(m, n, seed, sds, effect)
    for one in compare_with_baseline(rows, baseline).values():
        assert one.significant == (one.p_adjusted < 0.05) == (one.low > 0 or one.high < 0)
        assert one.low <= one.mean <= one.high
        assert one.p <= one.p_adjusted * (1 + 1e-7)


def test_units_and_order_of_rows_do_not_matter():
    baseline, rows = drawn(5, 4, effect=1.5)
    found = compare_with_baseline(rows, baseline)
    scaled = {row: {seed: value / 100 for seed, value in of.items()} for row, of in reversed(rows.items())}
    again = compare_with_baseline(scaled, {seed: value / 100 for seed, value in baseline.items()})
    for row, one in found.items():
        assert (100 * again[row].low, again[row].p_adjusted) == (pytest.approx(one.low), pytest.approx(one.p_adjusted))


def test_the_cross_check_names_its_floor_and_never_decides():
    baseline, rows = drawn(17, 8, effect=9.0)
    one = compare_with_baseline(rows, baseline)["row 1"]
    assert one.significant
    assert "p 0.00781, the smallest that 8 seeds can give; never below 0.12 over 16 tests" in one.cross_check
    few = compare_with_baseline(dict(list(rows.items())[:2]), baseline)["row 1"]
    assert "never below" not in few.cross_check
    assert "which does not decide" in few.cross_check


def test_more_seeds_never_give_less_evidence():
    """One effect and spread: the power never falls from n to n + 1, whatever test the rule takes."""
    for m, effect in ((2, 2.0), (8, 2.0), (16, 2.0)):
        found = [simulate_comparisons.power(m, n, effect, 150)["default"] for n in range(3, 13)]
        assert all(after > before - 0.03 for before, after in itertools.pairwise(found)), (m, found)
        assert found[-1] > 0.9


def test_the_same_table_with_one_more_seed_like_its_mean_has_smaller_p_values():
    baseline, rows = drawn(8, 3, effect=2.0)
    before = compare_with_baseline(rows, baseline)
    for seed in range(3, 13):
        mean = np.mean([baseline[s] for s in range(3)])
        baseline[seed] = float(mean)
        for of in rows.values():
            of[seed] = float(np.mean([of[s] for s in range(3)]))
        after = compare_with_baseline(rows, baseline)
        assert all(after[row].p_adjusted <= before[row].p_adjusted for row in rows)
        before = after


def test_eight_rows_of_three_seeds_find_what_paired_t_does_not():
    """+0.6 AP at a spread of 0.2, the figures of docs/results/statistics.md."""
    found = simulate_comparisons.power(8, 3, 3.0, 500)
    assert 0.65 < found["default"] < 0.8
    assert found["paired t, Holm"] < 0.15


@pytest.mark.parametrize(
    ("m", "n", "noise", "spread"),
    [
        (4, 3, "normal", "equal"), (8, 5, "normal", "equal"), (8, 3, "normal", "every second row x 3"),
        (8, 5, "heavy tails (t, 3 df)", "equal"), (8, 5, "one run collapsed", "equal"),
    ],
)  # fmt: skip
def test_the_intervals_of_a_table_hold_all_differences_together(m, n, noise, spread):
    repeats = 400 if noise != "one run collapsed" else 150  # every table of these is computed by itself
    found = simulate_comparisons.rates(noise, spread, np.ones((m, n), bool), repeats)
    chance = 4 * math.sqrt(0.95 * 0.05 / repeats)
    assert 0.93 - chance < found.covered
    assert found.false < 0.07 + chance
    assert found.each > 0.95 - chance / 2
    if noise == "one run collapsed":
        assert found.flagged > 0.95


def test_missing_runs_cover_too():
    found = simulate_comparisons.rates("normal", "equal", simulate_comparisons.some_missing(8, 3), 400)
    assert found.covered > 0.93 - 0.044
    assert found.false < 0.07 + 0.044
