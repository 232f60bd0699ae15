r"""Labels with math: math in LaTeX, Unicode with <sub> in HTML and Markdown, plain Unicode in CSV and JSON."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from analysis.formats import FORMATS, csvfile, jsonfile
from analysis.tables.table import Table
from c2d.markup.composed_text import math_labels
from tests.analysis.formats import tables


def labelled() -> Table:
    table = tables.complete()
    written = [r"$\lambda_{kc}$ & co", r"$\mathrm{KD}_\mathrm{cls}$", r"$\mathrm{AP}^{β}$", r"$T$"]
    rows = tuple(
        replace(row, labels=(r"<b> $x$", label))
        for row, label in zip(table.rows, ["T", "KD_cls", "loc/KD_cls"], strict=True)
    )
    columns = (
        replace(table.columns[0], label="AP^β"),
        replace(table.columns[1], label="ΔAP^β"),
        *table.columns[2:],
    )
    return replace(
        table,
        row_axes=("student", "method.icod.lambda_kc"),
        axis_labels={"method.icod.lambda_kc": "λ_kc & co"},
        rows=rows,
        columns=columns,
        math=math_labels(written),
    )


EXPECTED = {
    "tex": (r"$\lambda_{kc}$ \& co", r"$\mathrm{KD}_{\mathrm{cls}}$", r"loc/$\mathrm{KD}_{\mathrm{cls}}$",
            r"{$\mathrm{AP}^{{\beta}}$}", r"{\ensuremath{\Delta}$\mathrm{AP}^{{\beta}}$}",
            r"\usepackage{amsmath,amssymb}",
            r"\textless{}b\textgreater{} \ensuremath{\$}x\ensuremath{\$}"),
    "html": ("λ<sub>kc</sub> &amp; co", "KD<sub>cls</sub>", "loc/KD<sub>cls</sub>", "AP<sup>β</sup> [%]",
             "ΔAP<sup>β</sup> [%]", "&lt;b&gt; $x$"),
    "md": ("λ<sub>kc</sub> &amp; co", "| KD<sub>cls</sub> |", "AP<sup>β</sup> \\[%\\]", r"&lt;b&gt; \$x\$"),
    "csv": ("method.icod.lambda_kc", ",KD_cls,", ",loc/KD_cls,", ",AP^β,", "<b> $x$"),
}  # fmt: skip


@pytest.mark.parametrize("extension", EXPECTED)
def test_a_label_is_shown_as_the_format_can(extension: str) -> None:
    text = FORMATS[extension](labelled())
    assert [part for part in EXPECTED[extension] if part not in text] == []


def test_json_keeps_the_math() -> None:
    assert jsonfile.read(jsonfile.write(labelled())) == labelled()
    assert {cell["label"] for cell in csvfile.read(csvfile.write(labelled()))} >= {"AP^β", "ΔAP^β"}


def test_without_math_no_package_is_named() -> None:
    assert "amsmath" not in FORMATS["tex"](tables.complete())
    # A name that looks like math is a name: only labels of people are read as math.
    named = replace(tables.complete(), row_axes=("student", r"$\lambda$"))
    assert re.search(r"\\ensuremath\{\\\$\}\\textbackslash\{\}lambda", FORMATS["tex"](named))
