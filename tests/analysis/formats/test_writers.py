"""What each format does with marks, best and published numbers, and with hostile names."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from difflib import ndiff
from pathlib import Path

import pytest

from analysis.formats import FORMATS, csvfile, html, jsonfile, latex, markdown, texchars
from c2d.core.errors import InputError
from tests.analysis.formats import tables
from tests.analysis.formats.golden import GOLDEN
from tests.analysis.formats.parsers import latex_grid, plain


@pytest.mark.parametrize("extension", FORMATS)
def test_golden_files(extension):
    file = GOLDEN / f"paper.{extension}"
    assert FORMATS[extension](tables.paper()) == file.read_text(), (
        "meant? python -m tests.analysis.formats.golden writes them again"
    )


@pytest.mark.parametrize("extension", FORMATS)
def test_a_changed_number_is_a_small_diff(extension):
    table = tables.paper()
    before = FORMATS[extension](table)
    table.rows[1].cells["AP50"] = replace(table.rows[1].cells["AP50"], value=44.91)
    changed = [line for line in ndiff(before.splitlines(), FORMATS[extension](table).splitlines()) if line[0] in "+-"]
    assert len(changed) == 2


def test_latex_says_what_it_needs_and_aligns_on_the_decimal_marker():
    text = latex.write(tables.paper())
    assert re.match(r"(%.*\n){4}", text)
    assert all(package in text for package in ("booktabs", "siunitx", "graphicx", "xcolor", "array"))
    assert r"S[table-format=2.1]@{\;}>{\scriptsize}l" in text
    assert r"\bfseries 27.0 & \ensuremath{\pm} 0.2 (3)" in text
    assert r"\multicolumn{1}{c}{\scriptsize\itshape\color[gray]{0.4} [\%] publ.}" in text
    assert latex_grid(text, 2)[0][1] == ["", r"kd\_cls"]  # a repeated label is blank
    assert text.count(r"\addlinespace") == 1
    assert latex.document([tables.paper()]).count(text) == 1


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("kd_cls 50% & #1", r"kd\_cls 50\% \& \#1"),
        ("{a}$x$", r"\{a\}\ensuremath{\$}x\ensuremath{\$}"),
        ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("\"'`", r"\textquotedblright{}\textquoteright{}\textquoteleft{}"),
        ("--- ,,", "-{}-{}- ,{},"),
        ("é ß λ Łñ", r"\'{e} \ss{} \ensuremath{\lambda} \L{}\~{n}"),
        ("e\u0301", r"\'{e}"),
        ("你\u202e", r"[U+4F60][U+202E]"),
        ("你\u202e😀", r"[U+4F60][U+202E]\allowbreak{}[U+1F600]\allowbreak{}"),
        ("a\n\n\\end{table} b\0", r"a \textbackslash{}end\{table\} b[U+FFFD]"),
        ("a_rather_long_name", r"a\_rather\_\allowbreak{}long\_\allowbreak{}name"),
        ("x" * 20, "x" * 16 + r"\allowbreak{}" + "x" * 4),
    ],
)
def test_latex_escapes(given, written):
    assert texchars.escape(given) == written


def test_a_line_that_looks_like_the_option_of_the_line_before():
    table = tables.complete()
    rows = tuple(replace(row, labels=("[3pt]", f"*{at}")) for at, row in enumerate(table.rows))
    text = latex.write(replace(table, row_axes=("[1pt]", "*"), rows=rows))
    assert "\n{}[1pt] & *" in text
    assert "\n{}[3pt] & *0" in text


def test_latex_comments_and_identifiers_hold_nothing_hostile():
    text = latex.write(replace(tables.complete(), name="a}\\b\n", title="x\n\\input{y}", store="runs\n\\input{z}"))
    assert r"\label{tab:a--b-}" in text
    assert not re.search(r"^\\input", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a|b", r"a\|b"),
        ("\\|", r"\\\|"),
        ("kd_cls _x_", r"kd_cls \_x\_"),
        ("*`~[](<b>&amp;", r"\*\`\~\[\](&lt;b&gt;&amp;amp;"),
        ("http://a www.b c@d $x$", r"http\:\/\/a www\.b c\@d \$x\$"),
        ("1. a", r"1\. a"),
        ("- a", r"\- a"),
        ("a\nb", "a b"),
    ],
)
def test_markdown_escapes(given, written):
    assert markdown.escape(given) == written
    assert plain(written) == " ".join(given.split())


def test_markdown_marks():
    text = markdown.write(tables.paper())
    assert "| **27.0** ± 0.2 (3) | +1.4 [0.5, 2.3] (3) | *27.0* | *+1.4* |" in text
    assert "32.0 ± 0.4 (2/3)<sup>†</sup>" in text
    assert r"AP \[%\] (publ.)" in text
    assert "- <sup>c</sup> failed: out of memory (3 of 3 seeds)." in text


def test_html_marks():
    text = html.write(tables.paper())
    assert '<th scope="col" class="published" data-key="published.AP" data-unit="%" data-better="higher">' in text
    cell = next(line for line in text.splitlines() if "<b>27.0</b>" in line)
    value = tables.paper().rows[2].cells["AP"].value
    assert cell.startswith(f'<td class="measured best" data-value="{value!r}" data-sd="0.2')
    assert 'data-runs="ssd300-icod-0123456789ab-s0 ssd300-icod-0123456789ab-s1 ssd300-' in cell
    assert cell.endswith('><b>27.0</b> <span class="spread">± 0.2</span> <span class="n">(3)</span></td>')
    assert "adjusted 0.012, paired t, Holm" in text
    assert "<i>27.0</i>" in text
    assert "http" not in html.page(tables.paper())


def test_a_spreadsheet_runs_no_name():
    text = csvfile.write(tables.hostile("=cmd()"))
    raw = list(csv.reader(io.StringIO(text, newline="")))
    numbers = {raw[0].index(name) for name in csvfile.NUMBERS}
    assert not [field for line in raw for at, field in enumerate(line) if at not in numbers and field.startswith("=")]
    assert csvfile.read(text)[0]["row"] == "=cmd()"
    assert csvfile.read(text)[1]["value"] == "-1.2"


def test_axes_whose_names_are_taken():
    table = replace(tables.complete(), row_axes=("value", ""))
    assert csvfile.axes(table) == ["axis.0.value", "axis.1."]
    assert csvfile.axes(replace(table, row_axes=("a", "a"))) == ["a", "axis.1.a"]
    assert csvfile.read(csvfile.write(table))[0]["axis.0.value"] == "SSD300"


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", '"a', csvfile.write(tables.complete()).replace(",SSD300,", ",SSD300,x,", 1)]
)
def test_a_csv_that_is_not_ours_is_refused(text):
    with pytest.raises(InputError):
        csvfile.read(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 2}',
        '{"format": 1}',
        '{"format": 1, "table": {"ledger": 3}}',
        jsonfile.write(tables.complete()).replace('"sd"', '"std"', 1),
    ],
)
def test_a_json_that_is_not_ours_is_refused(text):
    with pytest.raises(InputError):
        jsonfile.read(text)


def test_json_has_no_infinities():
    table = tables.complete()
    table.rows[0].cells["AP"] = tables.measured(float("inf"))
    text = jsonfile.write(table)
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["format"] == 1
    assert jsonfile.read(text) == table


def test_golden_files_are_all_there():
    assert {path.name for path in Path(GOLDEN).iterdir()} == {f"paper.{extension}" for extension in FORMATS}
