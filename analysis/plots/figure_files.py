"""The files of a figure: PDF, SVG, and a CSV from which `read_csv` returns the frame that was drawn, without loss.

In the CSV text is in quotes and numbers are not, so the label "0.10" remains text and 0.1 a number (RFC 4180; any
program reads it). Numbers are written so that they parse back to the same bits. An empty field is a missing number, ""
is empty text. Text that a spreadsheet would run has an apostrophe in front (`c2d.markup.formula_guard`), which
`read_csv` removes.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.plots.pdf_fonts import small_fonts
from analysis.plots.style import paper_style
from analysis.plots.tick_cache import settled_ticks
from c2d.core.errors import InputError
from c2d.markup.formula_guard import guard, unguard

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|\Z)')
_WHOLE = re.compile(r"-?\d+")


def encode_figure(figure: Figure, data: pd.DataFrame) -> dict[str, bytes]:
    """Return {".pdf": ..., ".svg": ..., ".csv": ...} of a figure and its data (full precision, see `read_csv`).

    Equal figures and data give equal bytes.
    """
    files = {".pdf": io.BytesIO(), ".svg": io.BytesIO()}
    with paper_style(), small_fonts(), settled_ticks():
        # Dates would make the bytes differ; matplotlib leaves out metadata that is None.
        figure.savefig(files[".pdf"], format="pdf", metadata={"CreationDate": None, "Creator": "c2d", "Producer": None})
        figure.savefig(files[".svg"], format="svg", metadata={"Date": None, "Creator": "c2d"})
    return {**{suffix: file.getvalue() for suffix, file in files.items()}, ".csv": csv_text(data).encode()}


def csv_text(data: pd.DataFrame) -> str:
    """Return a frame as CSV text. Missing text becomes "".

    Half a surrogate pair, which no file can hold, becomes a question mark.

    Args:
        data: columns hold text, whole numbers, numbers or truth values.
    """
    lines = [",".join(_quoted(str(name)) for name in data.columns)]
    columns = [_fields(data[name]) for name in data.columns]
    lines += [",".join(fields) for fields in zip(*columns, strict=True)]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace").decode()


def read_csv(path: Path) -> pd.DataFrame:
    """Read the frame of a CSV of `csv_text`.

    A column is text where a field is in quotes, truth values where all are True or False, whole numbers where all are,
    else numbers.

    Raises:
        InputError: the file is not such a CSV.
    """
    import pandas as pd

    rows = _parse(path.read_bytes().decode(), path)  # bytes: \r inside a field stays
    header, body = rows[0], rows[1:]
    if any(len(row) != len(header) for row in body):
        raise InputError(f"{path}: rows of different lengths; make the figure again, its CSV was edited")
    try:
        columns = {name: _typed([row[i] for row in body]) for i, (_, name) in enumerate(header)}
    except ValueError as error:
        raise InputError(f"{path}: {error}; make the figure again, its CSV was edited") from None
    return pd.DataFrame(columns)


def _quoted(text: str) -> str:
    return '"' + guard(text).replace('"', '""') + '"'


def _fields(column: pd.Series) -> list[str]:
    if column.dtype.kind == "f":
        return ["" if np.isnan(value) else repr(float(value)) for value in column]
    if column.dtype.kind in "iub":
        return [str(value) for value in column]
    return [_quoted("" if value is None or value != value else str(value)) for value in column]


def _parse(text: str, path: Path) -> list[list[tuple[bool, str]]]:
    """Rows of (was it quoted, text)."""
    rows: list[list[tuple[bool, str]]] = []
    row: list[tuple[bool, str]] = []
    at = 0
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None:
            raise InputError(f"{path}: no CSV at character {at}; make the figure again, its CSV was edited")
        quoted, plain, end = found.groups()
        row.append((quoted is not None, plain if quoted is None else unguard(quoted.replace('""', '"'))))
        at = found.end()
        if end != ",":
            rows.append(row)
            row = []
    if not rows:
        raise InputError(f"{path}: empty; make the figure again")
    return rows


def _typed(fields: list[tuple[bool, str]]) -> object:
    import pandas as pd

    texts = [text for _, text in fields]
    if any(quoted for quoted, _ in fields):
        return pd.Series(texts, dtype="str")
    if texts and all(text in ("True", "False") for text in texts):
        return pd.Series([text == "True" for text in texts], dtype=bool)
    if texts and all(_WHOLE.fullmatch(text) for text in texts):
        return pd.Series([int(text) for text in texts], dtype="int64")
    return pd.Series([float(text) if text else np.nan for text in texts], dtype="float64")
