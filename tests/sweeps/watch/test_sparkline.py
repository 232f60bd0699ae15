"""A curve in a few characters: its length, its order, equal values, values that are not finite."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.watch.sparkline import ASCII, BLOCKS, NOT_FINITE, bin_means, sparkline

ANY = st.lists(st.floats(), max_size=40)
FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40)


@given(ANY, st.integers(-2, 50), st.sampled_from([BLOCKS, ASCII]))
def test_every_value_or_bin_has_one_character(values: list[float], width: int, levels: str) -> None:
    shown = sparkline(values, width, levels)
    assert len(shown) == min(len(values), max(0, width))
    assert set(shown) <= {*levels, NOT_FINITE}


@given(FINITE, st.sampled_from([BLOCKS, ASCII]))
def test_a_larger_value_is_never_lower(values: list[float], levels: str) -> None:
    shown = [levels.index(sign) for sign in sparkline(values, len(values), levels)]
    ordered = sorted(zip(values, shown, strict=True))
    assert [level for _, level in ordered] == sorted(shown)
    if len(set(values)) == 1:
        assert set(shown) == {3}
    elif max(values) / 2 - min(values) / 2 > 0:
        assert (min(shown), max(shown)) == (0, 7)


@given(ANY)
def test_what_is_not_finite_is_marked_and_the_rest_is_as_without_it(values: list[float]) -> None:
    shown = sparkline(values, len(values))
    assert [sign == NOT_FINITE for sign in shown] == [not math.isfinite(value) for value in values]
    finite = [value for value in values if math.isfinite(value)]
    assert shown.replace(NOT_FINITE, "") == sparkline(finite, len(finite))


@given(ANY, st.integers(1, 50))
def test_bins_keep_the_range_and_the_order(values: list[float], width: int) -> None:
    means = bin_means(values, width)
    finite = [value for value in means if math.isfinite(value)]
    assert all(min(values) <= value <= max(values) for value in finite if all(map(math.isfinite, values)))
    assert any(map(math.isnan, means)) == any(not math.isfinite(value) for value in values)


@pytest.mark.parametrize(
    ("values", "width", "shown"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 8, "▁▂▃▄▅▆▇█"),
        ([4, 4, 2, 2], 2, "█▁"),
        ([1, 3, 5], 2, "▁█"),  # bins 1 and (3, 5)
        ([0, 0, 0], 9, "▄▄▄"),
        ([math.inf, math.nan], 9, "!!"),
    ],
)
def test_curves_by_hand(values: list[float], width: int, shown: str) -> None:
    assert sparkline(values, width) == shown
