"""Drawing of the sheet of detections; `analysis.plots.detections` selects its contents.

Line style and lightness differ where colour differs, and every line has a dark edge, so it is visible on any picture.
All pictures of a line have one height, and widths by their own proportions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from analysis.plots.box_labels import LINE, PAD, POINTS, BoxLabel, place_box_labels
from analysis.plots.figure_layout import add_legend_and_notes, draw_as_math, message_figure, new_figure
from analysis.plots.figure_text import shorten_distinct, text_width_in
from analysis.plots.image_files import read_pixels
from analysis.plots.rows import row_notes, unique_values
from analysis.plots.style import DOUBLE_IN, GREY, MOST_HEIGHT_IN, paper_style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from c2d.metrics.coco_data import Array

MARKS: dict[str, tuple[str, Any, str]] = {
    "truth": ("#FFFFFF", "-", "an object of the ground truth"),
    "right": ("#FFFFFF", "-", "right: an object of this class"),
    "class": ("#FFB000", (0, (3.2, 1.2)), "place right, class wrong"),
    "place": ("#7CC8FF", (0, (1.1, 1.1)), "no object here (IoU < 0.5)"),
}
"""verdict: (colour, line style, in words)."""
PLAIN = "#4A4A4A"
ACROSS = 6
"""Pictures side by side; more go on below."""
LABEL_IN, GAP_IN, EDGE_IN = 0.36, 0.045, 0.02
MOST_PICTURE_IN, LEAST_PICTURE_IN = 2.2, 1.1
TEXT_IN = 1.0
"""Height kept for legend and notes."""
DPI = 220
BUDGET = 700_000
"""Pixels of all pictures of a figure together: 0.6 MB in the PDF, 1.7 MB in the SVG."""


def draw_image_grid(
    data: pd.DataFrame, root: Path, min_objects: int, min_score: float, math: Mapping[str, str]
) -> Figure:
    """Draw the sheet of detections.

    Args:
        data: frame of `analysis.plots.detections.data`.
        root: the data root.
        min_objects, min_score: of the spec, for the notes.
        math: of `analysis.spec.labels.math_of`.
    """
    heads, entries = data[data["part"] == "row"], _records(data[data["part"] == "image"])
    names = [str(row) for row, n in zip(heads["row"], heads["n"], strict=True) if n]
    notes = row_notes(heads)
    if not names or not entries:
        why = notes or ["No runs to draw: the report selects cells without runs."]
        return message_figure(" ".join(["No detections to show.", *why]), DOUBLE_IN)
    truth, found = data[data["part"] == "truth"], data[data["part"] == "found"]
    lines = [("ground truth", truth), *((name, found[found["row"] == name]) for name in names)]
    panels, height_in = _panels(lines, entries)
    most = int((BUDGET / (len(lines) * len(entries))) ** 0.5)
    most = min(most, int(max(max(panel.width, panel.height) for panel in panels) * DPI))
    pictures = [read_pixels(root, str(entry["file"]), most) for entry in entries]
    with paper_style():
        figure, placeholder = new_figure(DOUBLE_IN, height_in)
        placeholder.remove()
        legend = [(_handle(verdict), MARKS[verdict][2]) for verdict in _verdicts(found)]
        sentences = _selection_sentences(
            min_objects, min_score, heads, pictures, sum(panel.unlabelled for panel in panels)
        )
        add_legend_and_notes(figure, [*sentences, *notes], legend, math=math)
        size = tuple(float(side) for side in figure.get_size_inches())
        labels = dict(zip((name for name, _ in lines), shorten_distinct([name for name, _ in lines], 22), strict=True))
        for panel in panels:
            _draw_panel(figure, panel, pictures[panel.column], size)
            if panel.column % column_count(len(entries)) == 0:
                middle = size[1] - panel.top - panel.height / 2
                texts = [labels[panel.name], _score(panel.line, dict(lines)[panel.name], len(truth))]
                _row_label(figure, texts, middle, size, panel.height, math)
    return figure


@dataclass(frozen=True)
class Panel:
    """One picture of the sheet.

    Attributes:
        line: number of its line of pictures, the ground truth first.
        name: of the line.
        column: number of its image.
        left, top, width, height: inches, from the upper left corner of the figure.
        entry: the image: file, width and height in pixels.
        boxes: x, y, w, h in pixels of the image, class, score, verdict.
        labels: of the boxes.
        unlabelled: number of boxes without a label, because there is no room.
    """

    line: int
    name: str
    column: int
    left: float
    top: float
    width: float
    height: float
    entry: dict[str, Any]
    boxes: list[dict[str, Any]]
    labels: list[BoxLabel]
    unlabelled: int


def _panels(
    lines: Sequence[tuple[str, pd.DataFrame | None]], entries: Sequence[dict[str, Any]]
) -> tuple[list[Panel], float]:
    """All pictures, and the height they need."""
    panels = []
    top = EDGE_IN
    across = column_count(len(entries))
    before = _picture_in(len(entries), len(lines))
    for first in range(0, len(entries), across):
        block = entries[first : first + across]
        shapes = [min(max(entry["width"] / entry["height"], 0.25), 4.0) for entry in block]
        room = DOUBLE_IN - LABEL_IN - EDGE_IN - GAP_IN * (len(block) - 1)
        before = height = min(room / sum(shapes), before)
        for line, (name, boxes) in enumerate(lines):
            left = LABEL_IN
            for column, (entry, shape) in enumerate(zip(block, shapes, strict=True), first):
                width = height * shape
                mine = [] if boxes is None else _records(boxes[boxes["image"] == entry["image"]])
                mine.sort(key=lambda box: -box["score"] if box["score"] == box["score"] else 0)
                labels = place_box_labels(
                    mine, width * 72 / entry["width"], height * 72 / entry["height"], width * 72, height * 72
                )
                panels.append(Panel(line, name, column, left, top, width, height, entry, mine, labels,
                                    len(mine) - len(labels)))  # fmt: skip
                left += width + GAP_IN
            top += height + GAP_IN
        top += 2 * GAP_IN
    return panels, top


def _picture_in(images: int, lines: int) -> float:
    """Largest height of a picture with which all lines fit on a page; one that can be seen, unless two lines need less.

    Args:
        images: columns of the sheet.
        lines: lines of pictures, that of the ground truth included.
    """
    blocks = math.ceil(images / column_count(images))
    fits = (MOST_HEIGHT_IN - TEXT_IN) / (lines * blocks) - 2 * GAP_IN
    for_two = (MOST_HEIGHT_IN - TEXT_IN) / (2 * blocks) - 2 * GAP_IN
    return min(MOST_PICTURE_IN, max(fits, LEAST_PICTURE_IN), for_two)


def rows_per_page(entries: Sequence[dict[str, Any]]) -> int:
    """Return the number of rows that fit on a page beside the ground truth, at least 1.

    Args:
        entries: the images, with width and height in pixels.
    """
    if not entries:
        return 1_000
    rows = 1
    while _panels([("", None)] * (rows + 2), entries)[1] <= MOST_HEIGHT_IN - TEXT_IN:
        rows += 1
    return rows


def column_count(images: int) -> int:
    """Return the number of pictures side by side: at most `ACROSS`, in blocks of nearly equal length."""
    return math.ceil(images / math.ceil(images / ACROSS))


def _records(lines: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in line.items()} for line in lines.to_dict("records")]


def _draw_panel(figure: Figure, panel: Panel, picture: Array | None, size: Sequence[float]) -> None:
    wide, high = panel.entry["width"], panel.entry["height"]
    axes = figure.add_axes((panel.left / size[0], 1 - (panel.top + panel.height) / size[1], panel.width / size[0],
                            panel.height / size[1]))  # fmt: skip
    if picture is None:
        axes.set_facecolor(PLAIN)
    else:
        axes.imshow(picture, extent=(0, wide, high, 0), interpolation="none", aspect="auto")
    axes.set_xlim(0, wide)
    axes.set_ylim(high, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    for box in reversed(panel.boxes):  # the best on top
        colour, style, _ = MARKS[box["verdict"] or "truth"]
        for edge, width, dash, alpha in (("black", 2.0, "-", 0.55), (colour, 1.0, style, 1.0)):
            axes.add_patch(Rectangle((box["x"], box["y"]), box["w"], box["h"], fill=False, edgecolor=edge,
                                     linewidth=width, linestyle=dash, alpha=alpha))  # fmt: skip
    for label in panel.labels:
        x, y = label.left / (panel.width * 72) * wide, label.top / (panel.height * 72) * high
        axes.add_patch(Rectangle((x, y), label.width / (panel.width * 72) * wide, LINE / (panel.height * 72) * high,
                                 facecolor="black", alpha=0.6, linewidth=0, zorder=3))  # fmt: skip
        axes.annotate(label.text, (x, y), (PAD, -LINE / 2 - 0.2), textcoords="offset points", va="center", ha="left",
                      fontsize=POINTS, color=MARKS[label.verdict or "truth"][0], zorder=4)  # fmt: skip


def _row_label(
    figure: Figure, texts: Sequence[str], middle: float, size: Sequence[float], height: float, math: Mapping[str, str]
) -> None:
    """Name and score of a line of pictures, upright on the left."""
    for text, left, points, colour in zip(texts, (0.11, 0.27), (7.5, 5.2), ("#222222", GREY), strict=True):
        fits = min(1.0, (height - 0.02) / max(text_width_in(text, points), 1e-6))
        written = figure.text(left / size[0], middle / size[1], text, rotation=90, ha="center", va="center",
                              fontsize=max(points * fits, 3.5), color=colour)  # fmt: skip
        draw_as_math(written, math)


def _score(line: int, boxes: pd.DataFrame, objects: int) -> str:
    """ "9 of 21 found, 6 wrong class, 2 no object"; two right detections of one object count once."""
    if not line:
        return f"{objects} objects"
    right = boxes[boxes["verdict"] == "right"]
    tally = boxes["verdict"].value_counts()
    found = len(right.drop_duplicates(["image", "object"]))
    return f"{found} of {objects} found · {tally.get('class', 0)} wrong class · {tally.get('place', 0)} nowhere"


def _verdicts(found: pd.DataFrame) -> list[str]:
    seen = set(found["verdict"])
    return ["right", *(verdict for verdict in ("class", "place") if verdict in seen)]


def _handle(verdict: str) -> tuple[Patch, Line2D]:
    """A line on a dark ground, as in the pictures: white on white paper would not be seen."""
    colour, style, _ = MARKS[verdict]
    return Patch(facecolor=PLAIN, linewidth=0), Line2D([], [], color=colour, linestyle=style, linewidth=1.2)


def _selection_sentences(
    min_objects: int, min_score: float, heads: pd.DataFrame, pictures: Sequence[Array | None], unlabelled: int
) -> list[str]:
    seeds = ", ".join(seed for seed in unique_values(heads, "seeds") if seed)
    whose = "all rows" if (heads["n"] > 0).all() else "most rows"
    lost = sum(picture is None for picture in pictures)
    where = "under the data root (C2D_DATA)"
    return [
        f"The first {len(pictures)} validation images with at least {min_objects} objects, without manual selection; "
        f"seed {seeds}, the lowest that {whose} have finished. At each place (IoU 0.5) the detection of the highest "
        f"score, if it is at least {min_score:g}; compared with the ground truth at IoU 0.5.",
        f"Boxes without their images: {'none' if lost == len(pictures) else len(pictures) - lost} of {len(pictures)} "
        f"{'was' if lost == len(pictures) else 'were'} found {where}."
        if lost
        else "",
        f"No room for the labels of {unlabelled} of the boxes; the CSV has all." if unlabelled else "",
    ]
