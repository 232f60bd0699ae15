"""Fonts in PDF files are the same bytes as matplotlib's own, and figures with other characters or functions too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.backends import _backend_pdf_ps as fonts
from matplotlib.figure import Figure

from analysis.plots import pdf_fonts
from analysis.plots.figure_files import encode_figure
from analysis.plots.style import paper_style

OWN = fonts.get_glyphs_subset
DATA = pd.DataFrame({"x": [1.0]})
TEXTS = ["AP (%) − 0.5 ≥ λ … “a” ~ é", "name with Ő and … ∑ ⇒"]


def figure_of(text: str) -> Figure:
    with paper_style():
        figure = Figure(figsize=(3, 1))
        figure.text(0.05, 0.6, text, fontsize=7)
        figure.text(0.05, 0.2, "bold", fontsize=7, weight="bold")
        figure.text(0.4, 0.2, r"$\lambda_{\mathrm{kd}} \times T^2$", fontsize=7, parse_math=True)
    return figure


def pdf_with(own: object, text: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A figure as PDF, its glyphs cut by matplotlib's own function where `own` is given."""
    with monkeypatch.context() as patch:
        if own is not None:
            patch.setattr(pdf_fonts, "_subset", lambda _, __, fontfile, glyphs: OWN(fontfile, glyphs))
        return encode_figure(figure_of(text), DATA)[".pdf"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_pdf_has_the_bytes_of_matplotlibs_own_way(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = pdf_with(None, text, monkeypatch)
    assert ours == pdf_with(OWN, text, monkeypatch)
    assert ours == pdf_with(None, text, monkeypatch)  # the second time from the kept font
    assert b"/Type3" not in ours
    assert fonts.get_glyphs_subset is OWN


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs pdftotext (poppler-utils)")
def test_the_text_of_a_pdf_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(encode_figure(figure_of(TEXTS[0]), DATA)[".pdf"])
    shown = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    assert TEXTS[0] in shown
    assert "bold" in shown


def test_usual_characters_are_cut_once_from_the_whole_font(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def counted(fontfile: object, glyphs: set[int]) -> object:
        asked.append(fontfile)
        return OWN(fontfile, glyphs)

    monkeypatch.setattr(fonts, "get_glyphs_subset", counted)
    pdf_fonts._usual_font.cache_clear()
    for _ in range(3):
        encode_figure(figure_of(TEXTS[0]), DATA)
    whole = [fontfile for fontfile in asked if not isinstance(fontfile, pdf_fonts._Font)]
    assert len(whole) == len({str(fontfile) for fontfile in whole})
    assert len(asked) == 4 * len(whole)


def test_other_functions_of_matplotlib_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def other(fontfile: object, glyphs: set[int], more: int = 0) -> object:
        asked.append(more)
        return OWN(fontfile, glyphs)

    monkeypatch.setattr(fonts, "get_glyphs_subset", other)
    with pdf_fonts.small_fonts():
        assert fonts.get_glyphs_subset is other
    assert encode_figure(figure_of(TEXTS[0]), DATA)[".pdf"].startswith(b"%PDF")
    assert asked
