r"""Style of all figures: fonts, sizes, colours, markers and lines.

A plot module draws inside `with paper_style():` on a Figure of `new_figure`, adds legend and notes and returns it:

    with paper_style():
        figure, axes = new_figure(SINGLE_IN, 2.4)
        axes.plot(x, y, **line_style(color=0, marker=0))
        add_legend_and_notes(figure, notes=["Mean of 3 seeds."], legend=[(handle, "a name")])
    return figure

Decisions:
- No pyplot: no Figure is global, and nothing needs a display.
- Fonts: DejaVu Sans, which comes with matplotlib. In the PDF it is embedded as TrueType (fonttype 42; type 3 is refused
  by many proceedings). In the SVG text is drawn as paths, so a figure looks the same where the font is not installed.
- No mathtext: names of methods and classes are shown unchanged, `$`, `_`, `%` and `\` included.
- Colour and dash are the method, marker and hatch the student (`analysis.plots.series_looks`). Colour is never the only
  difference: methods whose colours are near each other for a colour-blind reader have other dashes.
- A figure is at most a page of a paper high, MOST_HEIGHT_IN.
- Equal data give equal bytes: no dates, no random ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from analysis.plots.figure_text import FONT

SINGLE_IN = 3.4
"""Width of one column of a two-column paper, inches."""
DOUBLE_IN = 7.0
"""Width of both columns, inches."""
MOST_HEIGHT_IN = 9.0
"""Height of the text of a page, inches; a figure that needs more is split."""
INK = "#222222"
GREY = "#767676"
"""For notes, baselines and grids. Contrast with white 4.5, enough for text (WCAG 2, level AA)."""
PALETTE = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#AA0044", "#8FBF3F",
           "#543311", "#7F65FF", "#000080")  # fmt: skip
"""Black, for a baseline; Okabe and Ito's without their yellow, which vanishes on white paper; then five that are far
from these for normal sight, protanopia and deuteranopia. Those that are near for one of them have other dashes."""
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
    "savefig.bbox": None,  # "tight" would change the size of the figure
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "c2d",  # without a salt the ids in an SVG are random
    "path.simplify": False,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Set the style of a paper's figure for all that is drawn and saved inside; restore the caller's settings after."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # without the user's matplotlibrc
        matplotlib.rcParams.update(PAPER)
        yield


@dataclass(frozen=True)
class SeriesStyle:
    """Style of one series.

    Attributes:
        color, marker, line, hatch: as matplotlib takes them.
    """

    color: str
    marker: str
    line: Any
    hatch: str


def series_style(color: int, marker: int = 0) -> SeriesStyle:
    """Return the style of a series.

    Args:
        color: number of the method: its colour, and its dash, which differs in the second turn of the palette.
        marker: number of the student: its marker and hatch.
    """
    turn = color // len(PALETTE)
    return SeriesStyle(
        PALETTE[color % len(PALETTE)],
        MARKERS[marker % len(MARKERS)],
        LINES[(color % len(PALETTE) + 2 * turn) % len(LINES)],
        HATCHES[(marker + turn) % len(HATCHES)],
    )


def line_style(color: int, marker: int = 0, hollow: bool = False) -> dict[str, Any]:
    """Return the keywords of `Axes.plot` and `errorbar` for a series.

    Args:
        color, marker: of `series_style`.
        hollow: white markers, for unfinished points and for fewer than three seeds.
    """
    style = series_style(color, marker)
    return {
        "color": style.color,
        "linestyle": style.line,
        "marker": style.marker,
        "markerfacecolor": "white" if hollow else style.color,
        "markeredgecolor": style.color,
        "markeredgewidth": 0.9,
    }


def bar_style(color: int, marker: int = 0, hollow: bool = False) -> dict[str, Any]:
    """Return the keywords of `Axes.bar` for a series: colour and hatch.

    Args:
        color, marker: of `series_style`.
        hollow: only the outline and the hatch.
    """
    style = series_style(color, marker)
    face = "white" if hollow else style.color
    return {
        "facecolor": face,
        "edgecolor": style.color if hollow else "white",
        "hatch": style.hatch,
        "linewidth": 0.9 if hollow else 0.4,
    }
