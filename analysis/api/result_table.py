"""A table in Python: shown as HTML in a notebook, and written by the same formats as the tables of a report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.tables.table import Table
from c2d.core.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("value", "sd", "n", "low", "high", "p", "p_adjusted")
CSS = """
.c2d-table { margin: 0; overflow-x: auto; }
.c2d-table table { border-collapse: collapse; border-block: 2px solid; font-variant-numeric: tabular-nums; }
.c2d-table caption { text-align: left; padding-bottom: .6rem; caption-side: top; }
.c2d-table :is(th, td) { padding: .2rem .7rem; text-align: right; white-space: nowrap; background: none; }
.c2d-table thead th { border-bottom: 1px solid; vertical-align: bottom; }
.c2d-table :is(th.axis, th.label) { text-align: left; font-weight: normal; }
.c2d-table tbody tr.group:not(:first-child) > * { border-top: 1px solid #999; }
.c2d-table :is(sub, sup) { line-height: 0; }
.c2d-table :is(.spread, .n) { font-size: .8em; }
.c2d-table :is(.published, .spread, .n, .under) { color: #767676; }
.c2d-table .under { font-size: .85em; max-width: 60rem; }
.c2d-table .under ul { list-style: none; padding: 0; margin: 0; }
""".strip()
"""The style of `analysis.formats.html`, for this table alone: a notebook has tables of its own."""


class ResultTable:
    """A table of means over seeds, with spread, intervals, tests and footnotes.

    A notebook shows it; `print` gives aligned text. All numbers are in the shown unit: AP in percent, latency in ms.

    Attributes:
        data: rows, columns, cells and notes as data (`analysis.tables.table.Table`).
    """

    def __init__(self, data: Table) -> None:
        """Wrap a table.

        Args:
            data: of `analysis.tables.build_table`.
        """
        self.data = data

    def to_frame(self, statistic: str = "value") -> pd.DataFrame:
        """Return one number of every cell as a DataFrame: the rows of the table, and a column for each of its keys.

        Args:
            statistic: `value` (the mean over seeds, or the mean paired difference), `sd`, `n`, `low` and `high` (the 95
                % interval), `p`, or `p_adjusted` (for all tests of the column).

        Returns:
            float64 in full precision, NaN where a cell has none; the index has the labels of the rows.

        Raises:
            InputError: another statistic.
        """
        import pandas as pd

        if statistic not in STATISTICS:
            raise unknown_name("statistic", statistic, STATISTICS)
        labels = [row.labels for row in self.data.rows]
        names = list(self.data.row_axes)
        index = (
            pd.MultiIndex.from_tuples(labels, names=names)
            if len(names) > 1
            else pd.Index([label for (label,) in labels], name=names[0])
        )
        columns = {
            column.key: [_number(row.cells.get(column.key), statistic) for row in self.data.rows]
            for column in self.data.columns
        }
        return pd.DataFrame(columns, index=index, dtype="float64")

    def cells(self) -> pd.DataFrame:
        """Return everything as a tidy DataFrame: one row a cell, the columns of `to_csv`.

        Returns:
            `row`, the labels, `column`, `label`, `unit`, `kind`, `value`, `sd`, `n`, `promised` (planned seeds), `low`,
            `high`, `interval`, `p`, `p_adjusted`, `test`, `family`, `cross_check`, `bold`, `near_best`, `reason` (why a
            value is missing), `notes`, `runs`, `files` and `source`; numbers as float64, the rest as text.
        """
        import pandas as pd

        from analysis.formats.csvfile import NUMBERS, read

        frame = pd.DataFrame(read(self.to_csv()), dtype=object)
        for name in NUMBERS:
            frame[name] = pd.to_numeric(frame[name].replace("", None), errors="raise").astype("float64")
        return frame

    def to_latex(self, path: str | os.PathLike[str] | None = None) -> str:
        r"""Return the table for `\input` in a paper (booktabs); write it to `path`, too, where one is given."""
        from analysis.formats import latex

        return self._text(latex.write, path)

    def to_markdown(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the table as Markdown; write it to `path`, too, where one is given."""
        from analysis.formats import markdown

        return self._text(markdown.write, path)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return one line a cell in full precision, with the runs behind it; write it to `path`, too.

        `c2d explain FILE ROW COLUMN` shows the runs, commits and files behind a number of such a file.
        """
        from analysis.formats import csvfile

        return self._text(csvfile.write, path)

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a whole page without any outside address; write it to `path`, too, where one is given."""
        from analysis.formats import html

        return self._text(html.page, path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the table as JSON in full precision; write it to `path`, too, where one is given."""
        from analysis.formats import jsonfile

        return self._text(jsonfile.write, path)

    def _text(self, write: Callable[[Table], str], path: str | os.PathLike[str] | None) -> str:
        from c2d.core.run_folder import atomic_write_text

        text = write(self.data)
        if path is not None:
            atomic_write_text(Path(path), text)
        return text

    def _repr_html_(self) -> str:
        from analysis.formats import html

        text = html.write(self.data)
        # The footnotes stay in view; statistics and provenance are long, so they open with a click.
        head, found, under = text.partition("<p><strong>")
        if found:
            under, end, rest = under.rpartition("</div>")
            under = f"<details><summary>Statistics and provenance</summary>\n{found}{under}</details>\n{end}{rest}"
        return f"<style>\n{CSS}\n</style>\n{head}{under}"

    def __repr__(self) -> str:
        from analysis.formats import terminal

        return terminal.write(self.data)


def _number(cell: object, statistic: str) -> float | None:
    return getattr(cell, statistic, None)
