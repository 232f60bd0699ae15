"""Colours of the cells of a heat map, and of the numbers written on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.load.columns import Quantity

MEAN_MAP = "cividis"
"""Even in lightness and the same to colour-blind eyes."""
DIFFERENCE_MAP = "PuOr"
"""Purple is better, orange is worse, white is no difference."""


def color_scale(values: np.ndarray, metric: Quantity, difference: bool) -> Any:
    """Value -> colour; symmetric around 0 for differences."""
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
    """Black or white, by the contrast of WCAG; at least 4.5 on every background."""
    from matplotlib.colors import to_rgb

    def light(color: Any) -> float:
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    back = light(face)
    return "black" if (back + 0.05) / 0.05 >= 1.05 / (back + 0.05) else "white"
