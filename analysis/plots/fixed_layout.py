"""The layout of a figure, computed once and kept.

Constrained layout is solved anew at every save, and its last digits differ from process to process; rounded and fixed,
equal data give equal files, and what is placed by hand afterwards stays where it was put.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def settle(figure: Figure) -> Figure:
    """Fix the axes where the layout puts them; after `finish`, and inside `paper()`."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position([round(side, 5) for side in (box.x0, box.y0, box.width, box.height)])  # type: ignore[arg-type]
    return figure
