"""Colours of the cells of a heat map, and of the numbers written on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.loading.columns import Quantity

MEAN_MAP = "cividis"
"""Even in lightness, and readable with colour blindness."""
DIFFERENCE_MAP = "PuOr"
"""Purple is better, orange is worse, white is no difference."""


def color_scale(values: np.ndarray, metric: Quantity, difference: bool) -> Any:
    """Return the colour scale of some values; symmetric around 0 for differences.

    Args:
        values: (n,) float64 in the shown unit; NaN is ignored.
        metric: its direction decides which end of the scale is better.
        difference: whether the values are differences to a baseline.

    Returns:
        A matplotlib ScalarMappable.
    """
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if difference:
        most = max(abs(low), abs(high)) or 1.0
        name = DIFFERENCE_MAP if metric.better != "lower" else f"{DIFFERENCE_MAP}_r"
        return ScalarMappable(Normalize(-most, most), matplotlib.colormaps[name])
    if low == high:
        low, high = low - 0.5, high + 0.5
    return ScalarMappable(Normalize(low, high), matplotlib.colormaps[MEAN_MAP])


def readable_color(face: Any) -> str:
    """Return black or white, whichever has more contrast with `face` by WCAG 2; it is at least 4.5."""
    from matplotlib.colors import to_rgb

    def light(color: Any) -> float:
        # Relative luminance of sRGB, WCAG 2.
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    back = light(face)
    return "black" if (back + 0.05) / 0.05 >= 1.05 / (back + 0.05) else "white"
