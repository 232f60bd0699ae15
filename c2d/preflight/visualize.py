"""`c2d inspect`: draw masks, boxes and crops of each method over the first training images, before a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from c2d.core.errors import InputError, first_line
from c2d.detectors.batch import Batch
from c2d.detectors.normalization import Normalization, renormalize
from c2d.methods.base import Visualization
from c2d.training.build import TrainingRun

MOST_CROPS = 9
MOST_COLUMNS = 6
PANEL_INCHES = 2.2
PLAIN = Normalization((0.0,) * 3, (1.0,) * 3, "rgb")


def draw_methods(run: TrainingRun, images: int, path: Path) -> list[str]:
    """Draw one picture: a band for each method with a row for each image.

    Args:
        run: built, in training mode.
        images: number of images.
        path: of the PNG.

    Returns:
        Lines to print.

    Raises:
        InputError: the run has no method, or the picture cannot be written.
    """
    model = run.model
    if not getattr(model, "distillers", None):
        raise InputError("this spec has no method, so there is nothing to draw; give one with `method`")
    inputs, samples = next(run.batches(1, images))
    view = model.view(inputs, samples)
    bands: list[tuple[str, list[Visualization]]] = []
    lines = []
    for name, method in model.distillers.items():
        view.generator = model.generator(name)  # the random numbers that `forward` would draw in this step
        with torch.no_grad():
            visualizations = method.visualize(view)
        bands += [(name, visualizations[i : i + MOST_COLUMNS]) for i in range(0, len(visualizations), MOST_COLUMNS)]
        lines.append(f"{name}: {'; '.join(s.name for s in visualizations) or 'uses every cell alike'}")
    _figure(view.batch, bands, path)
    return lines


def _figure(batch: Batch, bands: list[tuple[str, list[Visualization]]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pixels = (renormalize(batch.images, batch.normalization, PLAIN) / 255).clamp(0, 1).cpu()
    count, width = len(pixels), 1 + max((len(visualizations) for _, visualizations in bands), default=0)
    rows = count * max(len(bands), 1)
    figure = Figure(figsize=(PANEL_INCHES * width, (PANEL_INCHES + 0.1) * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, width, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for band, (name, visualizations) in enumerate(bands or [("", [])]):
        for image in range(count):
            row = axes[band * count + image]
            picture, first = pixels[image].permute(1, 2, 0).numpy(), image == 0
            _panel(row[0], picture, f"{name}: ground truth".strip(": ") if first else "")
            _boxes(row[0], batch.boxes[image], "#ffd500")
            for axis, visualization in zip(row[1:], visualizations, strict=False):
                _panel(axis, picture, visualization.name if first else "")
                _draw_visualization(axis, visualization, image, batch)
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {first_line(error)}; give --out another place") from error


def _panel(axes: Any, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture)
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=8)


def _draw_visualization(axes: Any, visualization: Visualization, row: int, batch: Batch) -> None:
    height, width = batch.images.shape[-2:]
    if visualization.crops is not None:
        axes.images[0].set_visible(False)
        _mosaic(axes, visualization.crops[row], batch)
    if visualization.heat is not None:
        heat = visualization.heat[row].detach().float().cpu()
        top = max(float(visualization.heat.max()), 1e-12)
        shown = F.interpolate(heat[None, None], size=(height, width), mode="nearest")[0, 0].numpy() / top
        axes.images[0].set_alpha(0.45)
        axes.imshow(shown, cmap="viridis", vmin=0, vmax=1, alpha=0.6)
        axes.text(2, height - 3, f"max {float(heat.max()):.3g}", fontsize=6, color="white",
                  bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "linewidth": 0})  # fmt: skip
    if visualization.boxes is not None:
        _boxes(axes, visualization.boxes[row], "#ff5c8a")


def _boxes(axes: Any, boxes: Tensor, colour: str) -> None:
    from matplotlib.patches import Rectangle

    for x1, y1, x2, y2 in boxes.detach().cpu().tolist():
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.0))


def _mosaic(axes: Any, crops: Tensor, batch: Batch) -> None:
    """The first crops in a square."""
    chosen = (renormalize(crops[:MOST_CROPS], batch.normalization, PLAIN) / 255).clamp(0, 1).detach().cpu()
    side = max(1, int(np.ceil(np.sqrt(max(len(chosen), 1)))))
    size = crops.shape[-1] if len(crops) else 1
    canvas = np.ones((side * (size + 2), side * (size + 2), 3), dtype=np.float32)
    for place, one in enumerate(chosen):
        y, x = divmod(place, side)
        top, left = y * (size + 2), x * (size + 2)
        canvas[top : top + size, left : left + size] = one.permute(1, 2, 0).numpy()
    axes.imshow(canvas)
    axes.set_xlim(0, canvas.shape[1])
    axes.set_ylim(canvas.shape[0], 0)
