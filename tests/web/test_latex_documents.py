"""Tables compile unedited in a real LaTeX, stay on the page, and the PDF shows every number."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st

from analysis.formats import latex
from analysis.formats.texchars import escape
from analysis.formats.text import table_text
from analysis.tables.table import Table
from c2d.markup.composed_text import math_labels
from c2d.markup.math_symbols import ARGUMENTS, SYMBOLS
from tests.analysis.formats import tables

NEEDED = ("pdflatex", "pdftotext", "pdffonts")
missing = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.web,
    pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)} here; .ci/web installs them"),
]
NUMBER = re.compile(r"[+−]?\d+\.\d+")


def compiled(text: str, folder: Path) -> tuple[Path, str]:
    """(PDF, log) of a document; it has to compile at the first go."""
    (folder / "paper.tex").write_text(text, encoding="utf-8", newline="")
    # Log lines are cut at this length, and fonts must not be drawn to order: what is no outline font is a mistake.
    environment = {**os.environ, "HOME": str(folder), "max_print_line": "1000", "MKTEXPK": "0"}
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300, check=False)
    log = (folder / "paper.log").read_text(errors="replace")
    errors = re.findall(r"^!.*(?:\n.*){0,6}", log, re.MULTILINE)
    assert done.returncode == 0, errors or done.stdout[-2000:]
    return folder / "paper.pdf", log


def overfull(log: str, allowed_pt: float = 0) -> list[str]:
    """What sticks out of its box or of the page."""
    lines = re.findall(r"Overfull .*|.*Float too large.*", log)
    sizes = [re.search(r"\(([\d.]+)pt too", line) for line in lines]
    return [line for line, size in zip(lines, sizes, strict=True) if size is None or float(size[1]) > allowed_pt]


def shown_by(pdf: Path) -> str:
    return subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout


def numbers_of(given: Sequence[Table]) -> Counter[str]:
    cells = [shown for table in given for shown in table_text(table).cells.values()]
    return Counter(number for shown in cells for number in NUMBER.findall(shown.plain))


def test_the_paper_table(tmp_path: Path) -> None:
    table = tables.paper()
    pdf, log = compiled(latex.document([table]), tmp_path)
    assert overfull(log) == []
    assert "Warning: Unused" not in log
    text = shown_by(pdf)
    assert numbers_of([table]) - Counter(NUMBER.findall(text)) == Counter()
    line = next(line for line in text.splitlines() if "loc + kd" in line)
    wanted = "27.0 ± 0.2 (3) +1.4 [0.5, 2.3] (3)* 27.0 +1.4 45.8 ± 0.3 (3) 4.8 ± 0.1 (3) 34.31"
    assert re.sub(r"\s+", "", wanted) in re.sub(r"\s+", "", line)
    fonts = subprocess.run(["pdffonts", pdf], capture_output=True, text=True, check=True).stdout
    assert "Type 3" not in fonts  # journals refuse bitmap fonts
    assert "CMBX" in fonts


def test_wide_and_long_tables_stay_on_the_page(tmp_path: Path) -> None:
    given_tables = [tables.wide(), tables.long(), tables.complete()]
    pdf, log = compiled(latex.document(given_tables), tmp_path)
    assert overfull(log) == []
    assert numbers_of(given_tables) - Counter(NUMBER.findall(shown_by(pdf))) == Counter()


def test_a_two_column_paper_inputs_it(tmp_path: Path) -> None:
    """With nothing but the packages that the file's first lines name."""
    text = latex.write(tables.paper())
    (tmp_path / "table.tex").write_text(text, newline="")
    packages = "\n".join(line.removeprefix("%").strip() for line in text.splitlines()[:6] if "usepackage" in line)
    paper = "\\documentclass[twocolumn]{article}\n%s\n\\begin{document}\nSee \\ref{tab:icod-table1}.\n"
    paper += "\\input{table}\n\\end{document}\n"
    pdf, log = compiled(paper % packages, tmp_path)
    assert overfull(log) == []
    assert numbers_of([tables.paper()]) - Counter(NUMBER.findall(shown_by(pdf))) == Counter()


def test_labels_with_math_compile_with_the_named_packages(tmp_path: Path) -> None:
    """Every math command that a label may have, in a header of a table of a two-column paper."""
    written = [rf"$x \{name} y$" for name in SYMBOLS]
    written += [rf"$\{name}" + "{a}" * number + r"_\beta$" for name, number in ARGUMENTS.items()]
    written += [r"weight $\lambda_{kc}$ & co", "$λ_{β}^{你}$"]
    math = math_labels(written)
    rows = tuple(replace(tables.complete().rows[1], key=label, labels=(label, f"{label}/{label}")) for label in math)
    table = replace(tables.complete(), rows=rows, axis_labels={"method": "weight λ_kc & co"}, math=math)
    text = latex.write(table)
    packages = "\n".join(line.removeprefix("%").strip() for line in text.splitlines()[:6] if "usepackage" in line)
    paper = "\\documentclass[twocolumn]{article}\n%s\n\\begin{document}\n%s\n\\end{document}\n"
    _, log = compiled(paper % (packages, text), tmp_path)
    assert "Missing character" not in log


@pytest.mark.parametrize("tex_p", ["stars", "column", "sentences"])
def test_p_values_compile_and_the_width_is_estimated(tex_p: Any, tmp_path: Path) -> None:
    for table in (tables.paper(), tables.wide(), tables.complete()):
        shown = replace(table, tex_p=tex_p)
        text = latex.document([shown])
        where = r"\ifdim\wd0>\linewidth"
        _, log = compiled(text.replace(where, rf"\typeout{{table width \the\wd0}}{where}", 1), tmp_path)
        (real,) = re.findall(r"table width ([\d.]+)pt", log)
        estimate = float(latex.too_wide(shown).split()[1])
        assert 0.9 < estimate / float(real) < 1.1


@pytest.mark.parametrize("name", [tables.NASTY, tables.LONG_WORD, "", "\\"], ids=["nasty", "long", "empty", "slash"])
def test_hostile_names_compile(name: str, tmp_path: Path) -> None:
    table = tables.hostile(name)
    pdf, log = compiled(latex.document([table]), tmp_path)
    assert overfull(log) == []
    assert numbers_of([table]) - Counter(NUMBER.findall(shown_by(pdf))) == Counter()


def test_every_character_of_the_first_blocks_compiles(tmp_path: Path) -> None:
    """Latin, Greek, Cyrillic, punctuation, arrows, mathematics: each one upright, bold and in italics."""
    codes = [*range(0x530), *range(0x1E00, 0x1F00), *range(0x2000, 0x2400), 0xFB01, 0xFFFD, 0x1F600]
    chars = [escape(chr(code)) for code in codes]
    body = "\n\n".join(rf"{char}x \textbf{{{char}}} \textit{{{char}}}" for char in chars)
    head = "\n".join([r"\documentclass{article}", *latex.PACKAGES, r"\begin{document}"])
    pdf, log = compiled(f"{head}\n{body}\n\\end{{document}}\n", tmp_path)
    assert "Missing character" not in log
    text = shown_by(pdf)
    assert all(char in text for char in [*"αλ±×≤−†", "[U+0416]"])


@seed(1)
@settings(max_examples=3, deadline=None, database=None, phases=[Phase.generate])
@given(given_tables=st.lists(tables.tables(), min_size=10, max_size=10))
def test_any_table_compiles(given_tables: list[Table], tmp_path_factory: pytest.TempPathFactory) -> None:
    _, log = compiled(latex.document(given_tables), tmp_path_factory.mktemp("any"))
    assert overfull(log, allowed_pt=3) == []  # a bold number of seven digits is wider than siunitx reserves
