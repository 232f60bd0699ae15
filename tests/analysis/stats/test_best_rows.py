"""Which row of a column is bold, and which rows may be as good: by hand, and against the comparison behind the rule."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.stats.baseline_comparisons import compare_with_baseline
from analysis.stats.best_rows import best_rows
from analysis.stats.dunnett import critical_value
from c2d.core.errors import InputError

Rows = dict[str, dict[int, float]]


def seeds(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_the_limit_is_that_of_dunnett_on_the_common_residual() -> None:
    """Three rows, four seeds; the residuals of every row sum to 0 in each seed, so the design is easy by hand."""
    noise = np.array([[1.0, -1, 1, -1], [-1, 1, 1, -1], [0, 0, -2, 2]]) / 10
    variance = (noise**2).sum() / (2 * 3)
    limit = critical_value(2, 6.0) * math.sqrt(2 * variance / 4)
    for gap, near in ((0.99 * limit, {"b"}), (1.01 * limit, set[str]())):
        means = (30.0, 30.0 - gap, 20.0)
        rows = {key: seeds(*(mean + noise[at])) for at, (key, mean) in enumerate(zip("abc", means, strict=True))}
        found = best_rows(rows, "higher", 1)
        assert (found.best, found.near) == ({"a"}, near)
        assert found.tests == ("Dunnett, 3 rows x 4 seeds, 6 df",)


def test_lower_is_better_where_that_is_the_direction() -> None:
    rows = {"slow": seeds(9.0, 9.1, 9.3), "fast": seeds(5.0, 5.2, 5.3), "middle": seeds(5.1, 5.2, 5.1)}
    found = best_rows(rows, "lower", 2)
    assert (found.best, found.near) == ({"middle"}, {"fast"})


def test_means_that_are_equal_as_shown_are_all_bold() -> None:
    rows = {"a": seeds(30.01, 30.05), "b": seeds(30.02, 29.98), "c": seeds(28.0, 28.1)}
    assert best_rows(rows, "higher", 1).best == {"a", "b"}
    assert best_rows(rows, "higher", 2).best == {"a"}


def test_equal_constants_are_not_bold() -> None:
    same = {"a": seeds(12.5, 12.5), "b": seeds(12.5, 12.5)}
    found = best_rows(same, "lower", 1)
    assert (found.best, found.near) == (frozenset(), frozenset())
    assert found.reason == "nothing is bold: all rows have the same value as shown"


@pytest.mark.parametrize("values", [{"a": seeds(30.0)}, {"a": seeds(30.0), "b": {}}, {}])
def test_one_row_is_not_the_best_of_anything(values: Rows) -> None:
    assert best_rows(values, "higher", 1).best == frozenset()


def test_without_a_test_bold_is_the_best_number_and_nothing_is_marked() -> None:
    one = best_rows({"a": seeds(30.0), "b": seeds(29.9), "c": seeds(20.0)}, "higher", 1)
    assert (one.best, one.near) == ({"a"}, frozenset())
    assert one.reason.startswith("no test against the best (one seed), so bold is the best number")
    exact = best_rows({"a": seeds(30.0, 30.0), "b": seeds(29.9, 29.9)}, "higher", 1)
    assert (exact.best, exact.near) == ({"a"}, frozenset())
    assert "no spread" in exact.reason
    some = best_rows({"a": seeds(30.0, 30.2, 30.1), "b": seeds(29.9, 30.1, 30.1), "c": seeds(30.0)}, "higher", 2)
    assert (some.best, some.near) == ({"a"}, {"b"})
    assert some.reason == "no test of 'c' against the best (one seed), so no mark says whether it is near"


def test_an_unfinished_row_may_lead_by_chance() -> None:
    found = best_rows({"a": seeds(31.0), "b": seeds(30.0, 30.1), "c": seeds(29.0, 29.2)}, "higher", 1)
    assert (found.best, found.near) == (frozenset(), frozenset())
    assert found.reason == "nothing is bold: a leads with 1 of 2 seeds"


def test_a_row_that_is_beaten_on_the_common_seeds_is_never_marked() -> None:
    """b is ahead of a in each of their three seeds; a leads by seed 3, which is easy and which b does not have."""
    rows = {"a": seeds(30.0, 30.01, 30.02, 30.9), "b": seeds(30.1, 30.11, 30.121), "c": seeds(10.0, 10.01, 10.02, 10.9)}
    found = best_rows(rows, "higher", 2)
    assert "a" not in found.best | found.near
    assert "a has the best mean, but b is significantly better" in found.reason


def test_no_marked_row_is_significantly_worse_than_any_other() -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        m, n = int(rng.integers(2, 7)), int(rng.integers(2, 6))
        values = rng.normal(30, 0.3, (m, n)) + rng.normal(0, 0.5, m)[:, None]
        rows = {str(at): seeds(*row) for at, row in enumerate(values)}
        found = best_rows(rows, "higher", 6)
        for key in rows:
            others = compare_with_baseline({k: v for k, v in rows.items() if k != key}, rows[key])
            beaten = any(one.significant and one.mean > 0 for one in others.values())
            assert beaten != (key in found.best | found.near)


def test_what_is_no_direction_or_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="unknown direction"):
        best_rows({"a": seeds(1.0)}, "", 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="value number 1 is nan"):
        best_rows({"a": seeds(1.0, math.nan), "b": seeds(1.0, 2.0)}, "higher", 1)
