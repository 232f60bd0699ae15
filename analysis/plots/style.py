r"""How every figure looks, and the three files it becomes: PDF, SVG and the CSV it can be drawn again from.

A plot module draws inside `with paper():` on a Figure of `new_figure`, hands its words to `finish` and returns it:

    with paper():
        figure, axes = new_figure(SINGLE_IN, 2.4)
        axes.plot(x, y, **line(0))
        finish(figure, notes=["Mean of 3 seeds."], legend=[(handle, "a name")])
    return figure

Decisions:
- No pyplot: a Figure belongs to who made it, nothing is global, nothing needs a display.
- Fonts: DejaVu Sans, which comes with matplotlib. In the PDF it is embedded as TrueType (fonttype 42; type 3 is refused
  by many proceedings). In the SVG text is drawn as paths, so a figure looks the same where the font is not installed.
- No mathtext: names of methods and classes are shown as they are, `$`, `_`, `%` and `\` included.
- Colour is never alone: every series has a colour of Okabe and Ito's palette, a marker and a line style of its own, and
  any two of 24 series differ in at least two of the three.
- Equal data give equal bytes: no dates, no random ids.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.plots.data_csv import csv_text, reread, write_csv
from analysis.plots.figure_text import FONT, distinct, number, percent_or_unit, shown, width_in, wrapped
from analysis.plots.fixed_layout import settle
from analysis.tables.groups import Group

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist

__all__ = [
    "DOUBLE_IN", "GREY", "INK", "MARKERS", "PALETTE", "PAPER", "SINGLE_IN", "Look", "bar", "distinct", "finish", "line",
    "look", "new_figure", "number", "paper", "percent_or_unit", "rendered",
    "reread", "save", "series_label", "shown", "width_in",
    "words", "wrapped", "write_csv",
]  # fmt: skip

SINGLE_IN = 3.4
"""Width of one column of a two-column paper, inches."""
DOUBLE_IN = 7.0
"""Width of both columns, inches."""
INK = "#222222"
GREY = "#767676"
"""For what is not the message: notes, baselines, grids. Contrast with white 4.5, enough for text."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D00")
"""Okabe and Ito, the order by contrast with white; their yellow (#F0E442) is darkened, it vanishes on white paper."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (7, 2)))
HATCHES = ("", "////", "----", "\\\\\\\\", "xxxx")

PAPER: Any = {
    "font.family": [FONT],
    "font.size": 7.0,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "errorbar.capsize": 1.5,
    "hatch.linewidth": 0.5,
    "hatch.color": INK,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.0,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "c2d",
    "path.simplify": False,
}


@contextmanager
def paper() -> Iterator[None]:
    """The look of a paper's figure for what is made and saved inside; the settings of the caller come back after it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(PAPER)
        yield


@dataclass(frozen=True)
class Look:
    """What tells series number i from the others: each of colour, marker, line and hatch."""

    color: str
    marker: str
    line: Any
    hatch: str


def look(index: int) -> Look:
    """The look of series `index`, 0 first. Two of (colour, marker, line) differ between any two of 24 series."""
    turn = index // len(PALETTE)
    return Look(
        PALETTE[index % len(PALETTE)],
        MARKERS[index % len(MARKERS)],
        LINES[(index + turn) % len(LINES)],
        HATCHES[(index + turn) % len(HATCHES)],
    )


def line(index: int, hollow: bool = False) -> dict[str, Any]:
    """Keywords of `Axes.plot` and `errorbar` for series `index`; hollow: unfinished, or fewer than three seeds."""
    style = look(index)
    return {
        "color": style.color,
        "linestyle": style.line,
        "marker": style.marker,
        "markerfacecolor": "white" if hollow else style.color,
        "markeredgecolor": style.color,
        "markeredgewidth": 0.9,
    }


def bar(index: int, hollow: bool = False) -> dict[str, Any]:
    """Keywords of `Axes.bar` for series `index`: colour and hatch; hollow: only the outline and the hatch."""
    style = look(index)
    face = "white" if hollow else style.color
    return {
        "facecolor": face,
        "edgecolor": style.color if hollow else "white",
        "hatch": style.hatch,
        "linewidth": 0.9 if hollow else 0.4,
    }


def new_figure(
    width_in: float, height_in: float, rows: int = 1, columns: int = 1, **subplots: Any
) -> tuple[Figure, Any]:
    """A Figure (constrained layout, Agg canvas) and its Axes, or an array of them as `Figure.subplots` gives it.

    height_in is that of the axes with their labels; `finish` adds what legend and notes need.
    """
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    _layout(figure, w_pad=0.02, h_pad=0.04)
    made = figure.subplots(rows, columns, **subplots)
    for axes in figure.axes:
        # How many ticks there are is decided when drawn, by this size: said here, it does not depend on who draws.
        axes.tick_params(labelsize=PAPER["xtick.labelsize"])
    return figure, made


def finish(
    figure: Figure,
    notes: Sequence[str] = (),
    legend: Sequence[tuple[Artist | tuple[Artist, ...], str]] = (),
    title: str = "",
    max_columns: int = 4,
) -> None:
    """Write legend and notes (grey, wrapped) below the axes, a title above; call it last and once.

    The title is for figures that stand alone. Plot modules leave it out: the paper and the page write `spec.title` and
    `spec.caption` beside the figure.

    The figure becomes as much taller as they need, so the axes keep their size and nothing can lie on anything. The
    legend has as many columns as fit the width. Notes are sentences: what a bar is, what is unfinished. The axes stay
    where they are after it (see `settle`).
    """
    from matplotlib.legend import Legend

    width, axes_height = (float(side) for side in figure.get_size_inches())
    edge, gap = 0.04, 0.05
    title_lines = wrapped(title, width - 2 * edge, 8.0, "bold")
    note_lines = [text for note in notes if note for text in wrapped(note, width - 2 * edge, 6.0)]
    title_height, notes_height = _height(title_lines, 8.0), _height(note_lines, 6.0)
    made: Legend | None = None
    legend_height = 0.0
    if legend:
        made, legend_height = _fitted_legend(figure, legend, width - 2 * edge, max_columns)
    below = notes_height + (gap if note_lines else 0) + legend_height + (gap if legend else 0)
    above = title_height + (gap if title_lines else 0)
    height = axes_height + below + above
    figure.set_size_inches(width, height)
    _layout(figure, rect=(0, below / height, 1, axes_height / height))
    if title_lines:
        figure.text(edge / width, 1 - 0.02 / height, "\n".join(title_lines), fontsize=8.0, va="top", weight="bold",
                    linespacing=1.25, in_layout=False)  # fmt: skip
    if made is not None:
        made.set_loc((edge / width, (notes_height + (gap if note_lines else 0) + 0.02) / height))
    if note_lines:
        figure.text(edge / width, (notes_height + 0.01) / height, "\n".join(note_lines), fontsize=6.0, color=GREY,
                    va="top", linespacing=1.25, in_layout=False)  # fmt: skip
    settle(figure)


def words(reason: str, width_in: float = SINGLE_IN, title: str = "") -> Figure:
    """A figure that says in words why there is nothing to draw: `No finished runs: 2 failed, 1 new.`"""
    with paper():
        figure, axes = new_figure(width_in, 1.2)
        axes.set_axis_off()
        text = "\n".join(wrapped(reason, width_in - 0.4, 7.0))
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
        finish(figure, title=title)
    return figure


def rendered(figure: Figure, data: pd.DataFrame) -> dict[str, bytes]:
    """{".pdf": ..., ".svg": ..., ".csv": ...} of a figure and its data (full precision, see `reread`).

    Equal figures and data give equal bytes.
    """
    files = {".pdf": io.BytesIO(), ".svg": io.BytesIO()}
    with paper():
        figure.savefig(files[".pdf"], format="pdf", metadata={"CreationDate": None, "Creator": "c2d", "Producer": None})
        figure.savefig(files[".svg"], format="svg", metadata={"Date": None, "Creator": "c2d"})
    return {**{suffix: file.getvalue() for suffix, file in files.items()}, ".csv": csv_text(data).encode()}


def save(figure: Figure, data: pd.DataFrame, path_without_suffix: Path) -> list[Path]:
    """Write `<path>.pdf`, `.svg` and `.csv` and return the three paths; missing folders are made."""
    path_without_suffix.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, content in rendered(figure, data).items():
        paths.append(path_without_suffix.with_name(path_without_suffix.name + suffix))
        paths[-1].write_bytes(content)
    return paths


def series_label(group: Group) -> str:
    """The name of a group in a legend: its shown labels joined, those that made no difference left out."""
    return ", ".join(text for text in group.shown if text) or "all"


def _layout(figure: Figure, **settings: Any) -> None:
    engine: Any = figure.get_layout_engine()
    engine.set(**settings)


def _height(lines: Sequence[str], points: float) -> float:
    """Height of lines of text with linespacing 1.25, inches."""
    return len(lines) * points * 1.25 * 1.17 / 72


def _fitted_legend(
    figure: Figure, entries: Sequence[tuple[Artist | tuple[Artist, ...], str]], width: float, max_columns: int
) -> tuple[Any, float]:
    """The legend with the most columns that fit `width` inches, and its height in inches."""
    texts = distinct([text for _, text in entries])
    handles: Any = [handle for handle, _ in entries]
    for columns in range(min(max_columns, len(entries)), 0, -1):
        # Placeholders first: a legend leaves out labels that begin with an underscore.
        made = figure.legend(handles, ["x"] * len(entries), ncols=columns, loc="lower left")
        for text, label in zip(made.get_texts(), texts, strict=True):
            text.set_text(label)
        made.set_in_layout(False)
        box = made.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        if box.width / figure.dpi <= width or columns == 1:
            break
        made.remove()
    return made, box.height / figure.dpi
