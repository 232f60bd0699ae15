"""Figures: one module a kind, each with `data(study, spec, sweep)` -> DataFrame and `draw(data, spec)` -> Figure.

`data` is tidy, in shown units, and names the runs behind every point; it is what the CSV beside the figure holds.
`draw` sees nothing else, so every figure can be drawn again from its CSV. `analysis.plots.style` has the look and the
files.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from c2d.core.errors import unknown_name

PLOTS: dict[str, str] = {
    "pareto": "analysis.plots.pareto",
    "heatmap": "analysis.plots.heatmap",
    "curve": "analysis.plots.curve",
    "tide": "analysis.plots.tide_bars",
    "tide_curves": "analysis.plots.tide_curves",
    "per_class": "analysis.plots.per_class",
    "iou": "analysis.plots.iou",
    "seeds": "analysis.plots.seeds",
    "training": "analysis.plots.training",
    "detections": "analysis.plots.detections",
}


def plot(kind: str) -> ModuleType:
    """The module that makes figures of that kind; imported (with pandas and matplotlib) when first asked for."""
    if kind not in PLOTS:
        raise unknown_name("figure kind", kind, PLOTS)
    return import_module(PLOTS[kind])
