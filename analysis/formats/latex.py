r"""A table as LaTeX: booktabs rules, numbers aligned on the decimal marker by siunitx.

A number is in an S column. What follows it (spread, seeds, marks) is in a column of its own in smaller type. Columns of
published numbers are grey, in italics, with "publ." in the header. p values are stars, a column, or sentences. Only a
table that is wider or taller than its page is scaled down; a comment says which will be. The file is a table
environment to \input into a paper; its first lines name the packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from analysis.formats.cell_text import DASH, MINUS, CellText, heading, source_note, with_full_stop
from analysis.formats.latex_columns import (
    FEW_PT,
    MANY_COLUMNS,
    WIDE_HEADER,
    WIDE_LABEL,
    TexColumn,
    stars_sentence,
    tex_columns,
    width_note,
)
from analysis.formats.texchars import comment, escape, identifier, label
from analysis.formats.text import LEDGER, P_OF, TableText, table_text
from analysis.tables.table import Column, Row, Table

PACKAGES = (
    r"\usepackage{array,booktabs,graphicx,xcolor}",
    r"\usepackage{siunitx} % version 3 or later (2021)",
)
MATH_PACKAGE = r"\usepackage{amsmath,amssymb}"
"""For labels with math."""
LONG_MARK = 8
_GREY = r"\color[gray]{0.4}"
_SETUP = (
    r"\renewcommand{\textminus}{\ensuremath{-}}% bold and italic numbers: text fonts, but a real minus",
    r"\sisetup{mode=text, reset-text-family=false, reset-text-series=false, reset-text-shape=false,",
    r"  retain-explicit-plus=true}",
)


def write(table: Table) -> str:
    r"""Return the table environment of a table, for \input."""
    content = table_text(table)
    parts = tex_columns(table, content)
    lines = [f"% {comment(table.title or table.name)}: written by c2d report; do not edit."]
    packages = (*PACKAGES, MATH_PACKAGE) if table.math else PACKAGES
    lines += ["% The preamble of the paper needs:", *(f"%   {package}" for package in packages)]
    if table.store:
        lines += [f"% Runs are in {comment(table.store)}; c2d explain and the CSV list them."]
    lines += [f"% {note}" for note in [width_note(table, parts)] if note]
    environment = "table*" if table.tex_wide else "table"
    lines += [rf"\begin{{{environment}}}[tbp]", r"\centering", r"\setlength{\belowcaptionskip}{6pt}"]
    lines += [rf"\caption{{{_caption(table, content)}}}"]
    lines += [rf"\label{{tab:{identifier(table.name)}}}", *_SETUP]
    lines += [r"\small", *[rf"\setlength{{\tabcolsep}}{{{FEW_PT}pt}}"] * (len(table.columns) > MANY_COLUMNS)]
    under = list(_under(table, content))
    lines += [r"\sbox0{%", *_tabular(table, parts), "}%", *_fit(under), rf"\end{{{environment}}}"]
    return "\n".join(lines) + "\n"


def too_wide(table: Table) -> str:
    """Return a sentence on a table that is wider than its place in a two-column paper; "" where it fits."""
    return width_note(table, tex_columns(table, table_text(table)))


def document(tables: Sequence[Table]) -> str:
    """Return a complete document with all tables that compiles with pdflatex."""
    lines = [r"\documentclass{article}", r"\usepackage[a4paper,margin=2cm]{geometry}", *PACKAGES, MATH_PACKAGE]
    body = "\n\\clearpage\n".join(write(table) for table in tables)
    return "\n".join([*lines, r"\begin{document}", r"\pagestyle{empty}", body, r"\end{document}"]) + "\n"


def _caption(table: Table, content: TableText) -> str:
    title = escape(with_full_stop(table.title or table.name))
    return " ".join([rf"\textbf{{{title}}}", *map(escape, content.caption)])


def _fit(under: Sequence[str]) -> Iterator[str]:
    """Box 0, the table, and below it box 2, its notes; both are scaled only where they would leave the page."""
    # Registers 0 and 2 are TeX's scratch registers. A % ends each line in a box: a line end would be a space.
    yield r"\ifdim\wd0>\linewidth \sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi"
    yield r"\dimen2=0.85\textheight"
    if under:
        yield r"\dimen0=\wd0 \ifdim\dimen0<0.75\linewidth \dimen0=0.75\linewidth \fi"
        yield from (r"\sbox2{%", *under, "}%")
        yield r"\ifdim\dimexpr\ht2+\dp2>0.5\textheight \sbox2{\resizebox*{!}{0.5\textheight}{\usebox2}}\fi"
        yield r"\advance\dimen2 by -\dimexpr\ht2+\dp2\relax"
    yield r"\ifdim\dimexpr\ht0+\dp0>\dimen2 \sbox0{\resizebox*{!}{\dimen2}{\usebox0}}\fi"
    yield r"\usebox0" + r"\par\smallskip\usebox2" * bool(under)


def _tabular(table: Table, parts: Sequence[TexColumn]) -> Iterator[str]:
    labels = [_label_column(table, axis) for axis in range(len(table.row_axes))]
    yield rf"\begin{{tabular}}{{@{{}}{''.join(labels) or 'l' * (not table.columns)}%"
    for part in parts:
        yield f"  {_number_column(part.column, part.cells, part.tailed)}%"
        yield from ["  r%"] * bool(part.p)
    yield "  @{}}"
    yield r"\toprule"
    heads = [_bounded(heading, table) for heading in table.headings]
    for part in parts:
        heads += [_head(part.column, part.tailed, table), *[r"\multicolumn{1}{c}{$p$}"] * bool(part.p)]
    yield _line(heads)
    if any(column.unit or source_note(column.kind) for column in table.columns):
        below = [text for part in parts for text in [_subhead(part.column, part.tailed), *[""] * bool(part.p)]]
        yield _line([*("" for _ in table.row_axes), *below])
    yield r"\midrule"
    for at, row in enumerate(table.rows):
        before = table.rows[at - 1] if at else None
        if before and len(row.labels) > 1 and before.labels[:1] != row.labels[:1]:
            yield r"\addlinespace"
        cells = [text for part in parts for text in [_cell(part, at), *map(escape, part.p[at : at + 1])]]
        yield _line([*_labels(table, row, before), *cells])
    yield r"\bottomrule"
    yield r"\end{tabular}%"


def _label_column(table: Table, axis: int) -> str:
    longest = max((len(row.labels[axis]) for row in table.rows if axis < len(row.labels)), default=0)
    if max(longest, len(table.headings[axis])) <= WIDE_LABEL:
        return "l"
    # TeX never hyphenates the first word of a paragraph; \hspace{0pt} in front of it allows that.
    return rf">{{\raggedright\arraybackslash\hspace{{0pt}}}}p{{{WIDE_LABEL // 2}em}}"


def _number_column(column: Column, cells: Sequence[CellText], tailed: bool) -> str:
    if column.is_text:
        return "r"
    numbers = [cell.number for cell in cells if not cell.is_missing] or ["0"]
    sign = max((number[0] for number in numbers if number[0] in f"+{MINUS}"), default="").replace(MINUS, "-")
    whole = max(len(number.lstrip(f"+{MINUS}").partition(".")[0]) for number in numbers)
    style = rf">{{\itshape{_GREY}}}" if column.is_published else ""
    number = f"{style}S[table-format={sign}{whole}.{column.digits}]"
    return number + (rf"@{{\;}}>{{\scriptsize{_GREY if column.is_published else ''}}}l" if tailed else "")


def _head(column: Column, tailed: bool, table: Table) -> str:
    # \multicolumn, because siunitx would read a header in an S column as a number.
    style = rf"\itshape{_GREY}" if column.is_published else ""
    return rf"\multicolumn{{{1 + tailed}}}{{c}}{{{style}{_bounded(heading(column), table, WIDE_HEADER)}}}"


def _subhead(column: Column, tailed: bool) -> str:
    """Unit and kind under the label."""
    parts = [f"[{column.unit}]" if column.unit else "", source_note(column.kind)]
    text = escape(" ".join(part for part in parts if part))
    style = rf"\itshape{_GREY}" if column.is_published else ""
    return rf"\multicolumn{{{1 + tailed}}}{{c}}{{\scriptsize{style} {text}}}"


def _bounded(text: str, table: Table, width: int = WIDE_LABEL) -> str:
    """A header in several lines if it is long."""
    if len(text) <= width:
        return label(text, table.math)
    return rf"\parbox[t]{{{width // 2}em}}{{\raggedright\hspace{{0pt}}{label(text, table.math)}}}"


def _labels(table: Table, row: Row, before: Row | None) -> Iterator[str]:
    """A label is blank where it and all on its left are those of the row above; the last one is always written."""
    same = before is not None
    last = len(table.row_axes) - 1
    for axis, text in enumerate(row.labels):
        same = same and before is not None and before.labels[axis : axis + 1] == (text,)
        yield "" if same and axis != last else label(text, table.math)


def _cell(part: TexColumn, row: int) -> str:
    shown = part.cells[row]
    marks = rf"\textsuperscript{{{','.join(map(escape, shown.marks))}}}" if shown.marks else ""
    if shown.is_missing:  # an S column takes text only in braces
        return f"{{{escape(DASH)}{marks}}}" + " & " * part.tailed
    if part.column.is_text:
        return escape(shown.number) + marks
    number = (r"\bfseries " if shown.bold else "") + shown.number.replace(MINUS, "-")
    if not part.tailed:
        return number
    tail = " ".join(escape(text) for text in (shown.spread, shown.n) if text)
    return f"{number} & {tail}{marks}"


def _line(fields: Iterable[str]) -> str:
    line = " & ".join(fields) + r" \\"
    # A bracket or star at the start of a line would be taken for the option of the rule or the line end before.
    return "{}" + line if line.startswith(("[", "*")) else line


def _under(table: Table, content: TableText) -> Iterator[str]:
    """Footnotes, statistics and, if wanted, p values and the ledger in small type, as wide as the table."""
    notes, stars = content.notes, stars_sentence(table)
    under = [
        (head, text)
        for head, text in content.under
        if (table.tex_ledger or head not in LEDGER) and (table.tex_p == "sentences" or not head.startswith(P_OF))
    ]
    if not notes and not under and not stars:
        return
    yield r"\begin{minipage}{\dimen0}\footnotesize\raggedright\hspace{0pt}%"
    for mark, text in notes.items():
        # A superscript is a box, and a long one would not be broken into lines.
        lead = rf"\textsuperscript{{{escape(mark)}}}\," if len(mark) <= LONG_MARK else f"{escape(mark)}: "
        yield rf"{lead}{escape(with_full_stop(text))}\quad"
    if stars:
        yield stars
    if notes or stars:
        yield r"\par"
    for head, text in under:
        yield rf"\textit{{{escape(head)}.}} {escape(text)}\par"
    yield r"\end{minipage}%"
