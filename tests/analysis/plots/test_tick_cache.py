"""Ticks that are kept during a layout and while a figure is saved: the same figure, fewer computations."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from analysis.plots import figure_files, figure_layout, tick_cache
from analysis.plots.style import paper_style
from analysis.plots.tick_cache import settled_ticks

AXIS: Any = Axis
OWN = AXIS._update_ticks


def drawn() -> Figure:
    """Two rows of panels: linear and logarithmic, long labels, a colour bar, a title."""
    with paper_style():
        figure, grid = figure_layout.new_figure(5.0, 3.0, 2, 2)
        for axes, high in zip(grid.flat, (1.0, 12_345.0, 3e-4, 70.0), strict=True):
            axes.plot([1, 10, 90_000], np.array([0.1, 0.4, 1.0]) * high)
            axes.set_ylabel("AP (%)")
            axes.set_title(f"up to {high}")
        grid[0, 1].set_yscale("log")
        figure.colorbar(grid[1, 1].imshow([[0.0, 1.0]], aspect="auto"), ax=grid[1, 1], label="difference")
        figure_layout.add_legend_and_notes(figure, ["A note."])
    return figure


def test_kept_ticks_change_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pd.DataFrame({"x": [1.0]})
    kept = figure_files.encode_figure(drawn(), data)
    for module in (figure_files, figure_layout):
        monkeypatch.setattr(module, "settled_ticks", nullcontext)
    assert figure_files.encode_figure(drawn(), data) == kept


def test_ticks_are_computed_once_for_each_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def counted(self: Any) -> Any:
        asked.append(self)
        return OWN(self)

    axis: Any = drawn().axes[0].xaxis
    monkeypatch.setattr(Axis, "_update_ticks", counted)
    with settled_ticks():
        first = axis._update_ticks()
        assert axis._update_ticks() == first
        assert len(asked) == 1
        axis.axes.set_xlim(0, 5)
        assert max(tick.get_loc() for tick in axis._update_ticks()) <= 5
        assert len(asked) == 2
        axis.axes.set_position((0.1, 0.1, 0.05, 0.5))
        axis._update_ticks()
        assert len(asked) == 3
    assert AXIS._update_ticks is counted


def test_other_methods_of_matplotlib_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tick_cache.KNOWN, "_update_ticks", ["self", "more"])
    with settled_ticks():
        assert AXIS._update_ticks is OWN
