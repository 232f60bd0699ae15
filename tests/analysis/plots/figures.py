"""What the tests of figures share: made-up studies, hostile names, and the two promises that every figure keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.plots import FIGURES
from analysis.plots.figure_files import encode_figure, read_csv
from analysis.plots.style import paper_style
from analysis.report.report_spec import parse
from benchmarks.suite.synthetic_run import write_json
from benchmarks.suite.synthetic_store import make_store

HOSTILE = ("baseline", "icod $\\alpha_1$", "c2d + fgfi_v2", "100 % mimic", "_hidden", "日本語", "<b>x</b>", "a,b;\"c'",
           "a very long name_with_many_underscores & $$ and more of it", "fgd {\\bf x}", "mgd", "0.10")  # fmt: skip


def save(figure: Figure, data: pd.DataFrame, path_without_suffix: Path) -> list[Path]:
    """Write `<path>.pdf`, `.svg` and `.csv` and return the three paths; missing folders are made."""
    path_without_suffix.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, content in encode_figure(figure, data).items():
        paths.append(path_without_suffix.with_name(path_without_suffix.name + suffix))
        paths[-1].write_bytes(content)
    return paths


def study_of(folder: Path, axes: Mapping[str, Sequence[str]], **made: Any) -> Study:
    """A read store with one sweep, "made"."""
    make_store(folder / "runs", axes, **made)
    return read_study(folder / "runs", ["made"], cache=folder / "cache")


def drawn(study: Study, tmp: Path, **spec: Any) -> tuple[Any, Figure]:
    """Data frame and figure of a spec; both promises were kept: the CSV is the data, and draws the same figure."""
    asked = parse(spec)
    module = FIGURES[asked.kind]
    data = module.data(study, asked, "made")
    figure = module.draw(data, asked)
    first = save(figure, data, tmp / "first" / asked.kind)
    again = read_csv(first[2])
    if len(data):
        pd.testing.assert_frame_equal(again, data)
    second = save(module.draw(again, asked), again, tmp / "second" / asked.kind)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.suffix
    return data, figure


def texts(figure: Figure) -> list[str]:
    return [found.get_text() for found in figure.findobj(Text) if found.get_text() and found.get_visible()]


def all_text(figure: Figure) -> str:
    return " ".join(" ".join(texts(figure)).split())


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of a figure whose boxes meet, and texts that leave it (paired with "edge")."""
    with paper_style():
        figure.draw_without_rendering()
    inside = figure.bbox.padded(1.5)
    hidden = _hidden(figure)
    found = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    found = [text for text in found if text not in hidden]
    boxes = [(text.get_text(), text.get_window_extent()) for text in found]
    pairs = [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.padded(-0.7).overlaps(other.padded(-0.7))]
    out = [(a, "edge") for a, box in boxes if not (inside.containsx(box.x0) and inside.containsx(box.x1))]
    out += [(a, "edge") for a, box in boxes if not (inside.containsy(box.y0) and inside.containsy(box.y1))]
    return pairs + out


def _hidden(figure: Figure) -> list[Text]:
    """Labels that keep their text but are not drawn: of ticks outside the limits, and of axes that are off."""
    out: list[Text] = []
    for axes in figure.axes:
        for axis, at in ((axes.xaxis, 0), (axes.yaxis, 1)):
            low, high = sorted(axis.get_view_interval())
            labels = axis.get_ticklabels(which="both")
            off = not axes.axison or not axis.get_visible()
            out += [label for label in labels if off or not low <= label.get_position()[at] <= high]
    return out


def add_latency(runs: Path, p50_ms: Mapping[str, float], device: str = "made-up GPU") -> None:
    """Latency files of finished runs: three launches of a hundred equal samples, a little apart. {run: p50}."""
    for run, value in p50_ms.items():
        launches = [{"samples_ms": [value + shift] * 100} for shift in (-0.1, 0.0, 0.1)]
        write_json(runs / run / "latency" / "gpu-0.json", {
            "format": 1, "device": device, "conditions": {"precision": "fp32", "batch": 1}, "launches": launches,
            "disturbed": None, "artefact": {"sha256": "a" * 64, "AP": 0.25}, "flops": 2_000_000_000,
            "macs": 1_000_000_000, "params": 1_300_000,
        })  # fmt: skip
