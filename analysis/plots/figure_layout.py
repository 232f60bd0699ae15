"""Size and layout of a figure: the axes, and below them legend and notes. Equal data give equal files.

Fill the axes of a figure of `new_figure`; then `add_legend_and_notes` adds the text and fixes the layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.plots.figure_text import shorten_distinct, wrap_text
from analysis.plots.style import GREY, PAPER, SINGLE_IN, paper_style
from analysis.plots.tick_cache import settled_ticks
from analysis.spec.labels import mathtext

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.text import Text


def new_figure(
    width_in: float, height_in: float, rows: int = 1, columns: int = 1, **subplots: Any
) -> tuple[Figure, Any]:
    """Create a Figure (constrained layout, Agg canvas) and its Axes.

    Args:
        width_in: inches.
        height_in: of the axes with their labels, inches; `add_legend_and_notes` adds the height of legend and notes.
        rows, columns: number of panels.
        subplots: keywords of `Figure.subplots`.

    Returns:
        The Figure, and its Axes or an array of them as of `Figure.subplots`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot a Figure has no canvas that can measure text
    _layout(figure, w_pad=0.02, h_pad=0.04)
    axes_array = figure.subplots(rows, columns, **subplots)
    for axes in figure.axes:
        # matplotlib chooses the number of ticks by this size when it draws; set here, it does not depend on the caller.
        axes.tick_params(labelsize=PAPER["xtick.labelsize"])
    return figure, axes_array


def add_legend_and_notes(
    figure: Figure,
    notes: Sequence[str] = (),
    legend: Sequence[tuple[Artist | tuple[Artist, ...], str]] = (),
    title: str = "",
    max_columns: int = 4,
    math: Mapping[str, str] | None = None,
) -> None:
    """Write legend and notes (grey, wrapped) below the axes, a title above; call it last and once.

    The figure grows by their height, so the axes keep their size and nothing overlaps. The legend has as many columns
    as fit the width. Afterwards the axes do not move (see `freeze_layout`).

    Args:
        notes: sentences: what a bar is, what is unfinished.
        legend: (artist, name).
        title: for a figure without a page. Plot modules leave it out: the paper and the page write `spec.title` and
            `spec.caption` beside the figure.
        max_columns: of the legend.
        math: of `analysis.spec.labels.math_of`: labels that are drawn as math, in the axes and the legend.
    """
    _set_math(figure, math or {})
    width, axes_height = (float(side) for side in figure.get_size_inches())
    edge, gap = 0.04, 0.05
    title_lines = wrap_text(title, width - 2 * edge, 8.0, "bold")
    note_lines = [text for note in notes if note for text in wrap_text(note, width - 2 * edge, 6.0)]
    title_height, notes_height = _height(title_lines, 8.0), _height(note_lines, 6.0)
    legend_artist: Legend | None = None
    legend_height = 0.0
    if legend:
        legend_artist, legend_height = _fitted_legend(figure, legend, width - 2 * edge, max_columns, math or {})
    below = notes_height + (gap if note_lines else 0) + legend_height + (gap if legend else 0)
    above = title_height + (gap if title_lines else 0)
    height = axes_height + below + above
    figure.set_size_inches(width, height)
    _layout(figure, rect=(0, below / height, 1, axes_height / height))
    if title_lines:
        figure.text(edge / width, 1 - 0.02 / height, "\n".join(title_lines), fontsize=8.0, va="top", weight="bold",
                    linespacing=1.25, in_layout=False)  # fmt: skip
    if legend_artist is not None:
        legend_artist.set_loc((edge / width, (notes_height + (gap if note_lines else 0) + 0.02) / height))
    if note_lines:
        figure.text(edge / width, (notes_height + 0.01) / height, "\n".join(note_lines), fontsize=6.0, color=GREY,
                    va="top", linespacing=1.25, in_layout=False)  # fmt: skip
    freeze_layout(figure)


def message_figure(reason: str, width_in: float = SINGLE_IN, title: str = "") -> Figure:
    """Create a figure with only a sentence on why there is nothing to draw: `No finished runs: 2 failed, 1 new.`"""
    with paper_style():
        figure, axes = new_figure(width_in, 1.2)
        axes.set_axis_off()
        text = "\n".join(wrap_text(reason, width_in - 0.4, 7.0))
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
        add_legend_and_notes(figure, title=title)
    return figure


def _layout(figure: Figure, **settings: Any) -> None:
    engine: Any = figure.get_layout_engine()
    engine.set(**settings)


def _height(lines: Sequence[str], points: float) -> float:
    """Height of lines of text with linespacing 1.25, inches."""
    return len(lines) * points * 1.25 * 1.17 / 72


def _fitted_legend(
    figure: Figure,
    entries: Sequence[tuple[Artist | tuple[Artist, ...], str]],
    width: float,
    max_columns: int,
    math: Mapping[str, str],
) -> tuple[Any, float]:
    """The legend with the most columns that fit `width` inches, and its height in inches."""
    texts = shorten_distinct([text for _, text in entries])
    handles: Any = [handle for handle, _ in entries]
    for columns in range(min(max_columns, len(entries)), 0, -1):
        # Placeholders first: a legend leaves out labels that begin with an underscore.
        legend = figure.legend(handles, ["x"] * len(entries), ncols=columns, loc="lower left")
        for text, label in zip(legend.get_texts(), texts, strict=True):
            text.set_text(label)
            draw_as_math(text, math)
        legend.set_in_layout(False)
        box = legend.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        if box.width / figure.dpi <= width or columns == 1:
            break
        legend.remove()
    return legend, box.height / figure.dpi


def _set_math(figure: Figure, math: Mapping[str, str]) -> None:
    """Draw the math in titles, labels of axes, labels of ticks, texts and legends inside the axes."""
    if not math:
        return
    drawn: set[str] = set()
    for axes in figure.axes:
        legend = axes.get_legend()
        inside = [*axes.texts, *(legend.get_texts() if legend else [])]
        titles = (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)  # type: ignore[attr-defined]
        for text in (*titles, *inside):
            draw_as_math(text, math)
        for axis in (axes.xaxis, axes.yaxis):
            _set_tick_math(axis, math, drawn)


def _set_tick_math(axis: Axis, math: Mapping[str, str], drawn: set[str]) -> None:
    """Draw the math in the names of ticks.

    Args:
        axis: of numbers (then nothing changes) or of names at fixed places.
        math: of `analysis.spec.labels.math_of`.
        drawn: what other axes of the figure, which may share their names with this one, draw as math; it is extended.
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator

    if not isinstance(axis.get_major_locator(), FixedLocator):
        return
    labels = axis.get_majorticklabels()
    names = [label.get_text() for label in labels]
    sources = [mathtext(name, math) for name in names]
    drawn.update(source for source in sources if source is not None)
    texts = [name if source is None else source for name, source in zip(names, sources, strict=True)]
    if texts != names:
        axis.set_major_formatter(FixedFormatter(texts))
    for label, text in zip(labels, texts, strict=True):
        if text in drawn:
            label.set_parse_math(True)


def draw_as_math(text: Text, math: Mapping[str, str]) -> None:
    """Draw the math of one text of a figure.

    Args:
        text: in Unicode.
        math: of `analysis.spec.labels.math_of`.
    """
    source = mathtext(text.get_text(), math)
    if source is not None:
        text.set_text(source)
        text.set_parse_math(True)


def freeze_layout(figure: Figure) -> Figure:
    """Fix the axes at the places that the layout gives them; call it inside `paper_style()`."""
    engine: Any = figure.get_layout_engine()
    if figure.axes:
        with settled_ticks():
            engine.execute(figure)  # the layout alone: drawing takes as long again
    figure.set_layout_engine(None)  # "none" leaves a placeholder, for which every file would be drawn once more
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position([round(side, 5) for side in (box.x0, box.y0, box.width, box.height)])  # type: ignore[arg-type]
    return figure
