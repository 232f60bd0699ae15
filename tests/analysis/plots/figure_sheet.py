"""Draw every kind of figure with 1, 4, 12 and 36 series from synthetic runs, to look at them as pictures.

    python -m tests.analysis.plots.figure_sheet FOLDER [KIND ...]

writes FOLDER/KIND-N[-PART].png, and beside each the picture as a deuteranope sees it and in grey.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.plots import FIGURES
from analysis.plots.figure_parts import figure_parts
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_store import make_store
from tests.analysis.plots.figures import add_latency

METHODS = ("baseline", "kd_cls", "loc", "loc+kd_loc", "icod", "fitnets", "fgfi", "defeat", "gid", "pkd", "cwd", "mgd")
STUDENTS = ("ssd300", "retinanet-mv2", "frcnn-qr50")
COUNTS = (1, 4, 12, 36)
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
"""Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB."""


def value(labels: dict[str, str], seed: int) -> float:
    """Return an AP that depends on student, method and seed."""
    method = METHODS.index(labels["method"]) if labels.get("method") in METHODS else 0
    student = STUDENTS.index(labels["model"]) if "model" in labels else 0
    noise = np.random.default_rng([method, student, seed, 7]).normal(0, 0.004)
    curve = 0.01 * np.log10(1 + 10 * float(labels.get("lambda", 1)))
    return float(0.22 + 0.05 * student + 0.02 * np.sin(2.1 * method) + curve + noise)


def study_of(folder: Path, axes: dict[str, Sequence[str]]) -> Study:
    """A finished sweep with detections and latencies."""
    record = make_store(folder / "runs", axes, value=value, with_detections=True)
    runs = {cell["run"]: 4.0 + 9 * value(cell["labels"], 0) + k % 7 for k, cell in enumerate(record["cells"])}
    add_latency(folder / "runs", runs)
    return read_study(folder / "runs", ["made"], cache=folder / "cache")


def figures_of(kind: str, count: int, folder: Path) -> Iterator[tuple[pd.DataFrame, Figure, Any]]:
    """Yield (data, figure, spec) of each part of a figure with `count` series."""
    axes: dict[str, Sequence[str]] = {"method": METHODS[: min(count, 12)]}
    spec: dict[str, Any] = {"kind": kind, "sweep": "made"}
    if count == 36:
        axes = {"model": STUDENTS, **axes}
        spec["series"] = ["model", "method"]
    if kind == "per_class":  # gains of `count` rows over their baseline
        axes["method"] = METHODS[: min(count + 1, 12)]
    if kind == "per_class" or (kind == "iou" and count > 1):
        spec["baseline"] = {"method": "baseline"}
    if kind == "curve":
        axes["lambda"] = ["0.1", "0.2", "0.4", "0.8"]
        spec |= {"x": "lambda", "series": [axis for axis in axes if axis != "lambda"]}
    if kind == "heatmap":
        spec.pop("series", None)
        other = [str(k) for k in range(max(count // 4, 1))]
        axes = {"lambda": other, "method": METHODS[: min(count, 4)]}
        if count == 36:
            axes = {"lambda": [str(0.1 * k) for k in range(36)], "method": METHODS}
        spec |= {"x": "lambda", "y": "method"}
    study = study_of(folder, axes)
    asked = parse(spec)
    module = FIGURES[kind]
    data = module.data(study, asked, "made")
    for part in figure_parts(data, module.limits(data, asked)):
        yield part, module.draw(part, asked), asked


def pictures(figure: Figure) -> dict[str, np.ndarray]:
    """Return {suffix: RGB picture (h, w, 3) uint8} as printed, for a deuteranope and in grey."""
    figure.set_dpi(170)
    figure.canvas.draw()
    shown = np.asarray(figure.canvas.buffer_rgba())[..., :3] / 255  # type: ignore[attr-defined]
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    seen = {"": linear, "-deuteranopia": np.clip(linear @ DEUTERANOPIA.T, 0, 1)}
    seen["-grey"] = np.repeat((linear @ [0.2126, 0.7152, 0.0722])[..., None], 3, axis=2)
    srgb = {name: np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) for name, x in seen.items()}
    return {name: (255 * x + 0.5).astype(np.uint8) for name, x in srgb.items()}


def main(folder: Path, kinds: Sequence[str]) -> None:
    """Write all pictures."""
    from PIL import Image

    from analysis.plots.style import paper_style

    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        for count in COUNTS:
            with tempfile.TemporaryDirectory() as made:
                for number, (_, figure, _) in enumerate(figures_of(kind, count, Path(made)), 1):
                    with paper_style():
                        for suffix, picture in pictures(figure).items():
                            name = f"{kind}-{count}-{number}{suffix}.png"
                            Image.fromarray(picture).save(folder / name)
                    print(f"{kind}-{count}-{number}", *np.round(figure.get_size_inches(), 2), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(FIGURES))
