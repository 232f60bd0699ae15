"""Claims from a YAML file to the report: five formats with the same digits, the page, `c2d explain`, Python, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.formats import FORMATS, csvfile, jsonfile
from analysis.report.explain import explain_cell
from analysis.report.report import write_report
from analysis.report.report_contents import ReportContents, ReportRequest
from analysis.tables.table import Table
from c2d.core.errors import InputError
from tests.analysis.claims.small_study import GAIN, small_study, value
from tests.analysis.formats.parsers import html_rows, latex_grid, markdown_grid

SPEC = r"""
kind: claims
title: What the paper says
sweep: made
margin: {AP: 1.0}
labels: {method: {kd: '$\mathrm{KD}_c$'}}
claims:
  both:
    says: '$\mathrm{KD}_c$ lifts AP50 and lowers Cls'
    at: {model: large}
    all:
      - {column: AP50, more: {method: kd}, less: {method: baseline}}
      - {column: tide.Cls, more: {method: baseline}, less: {method: kd}}
  weaker:
    says: A weaker student gains more
    column: AP
    more: {gain: [{model: small, method: icod}, {model: small, method: baseline}]}
    less: {gain: [{model: large, method: icod}, {model: large, method: baseline}]}
  few:
    says: Fewer images, more gain
    sweep: made-few
    column: AP
    more: {method: kd}
    less: {method: baseline}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and the claims beside it."""
    place = tmp_path_factory.mktemp("report")
    small_study(place)
    (place / "paper.yaml").write_text(SPEC)
    return place


def request(place: Path, spec: str = "paper.yaml", **keys: Any) -> ReportRequest:
    return ReportRequest(place / "runs", place / "out", specs=(str(place / spec),), cache=place / "cache", **keys)


@pytest.fixture(scope="module")
def report(place: Path) -> ReportContents:
    return write_report(request(place))


def table_of(report: ReportContents) -> Table:
    (table,) = report.tables
    return table


def test_all_formats_have_the_same_words_and_digits(report: ReportContents, place: Path) -> None:
    table = table_of(report)
    text = {ending: (place / "out" / "tables" / f"paper.{ending}").read_text() for ending in FORMATS}
    labels, cells = markdown_grid(text["md"], len(table.row_axes))
    rows, keys, _ = html_rows(text["html"])
    _, in_latex = latex_grid(text["tex"], len(table.row_axes))
    assert keys[1:] == ["both.1", "both.2", "weaker", "few"]
    assert [[td.text for td in row if td.tag == "td"] for row in rows[1:]] == cells == in_latex
    assert jsonfile.read(text["json"]) == table
    assert [label[1] for label in labels] == ["shown", "shown", "shown", "not run"]
    assert labels[2][2] == "(icod − baseline, small) − (icod − baseline, large)"
    assert cells[3] == ["–", "–", "–"]
    for line in csvfile.read(text["csv"]):
        at = keys[1:].index(line["row"])
        shown = cells[at][["difference", "interval", "p"].index(line["column"])]
        if line["column"] == "difference" and line["value"]:
            wanted = f"{float(line['value']):+.1f} [{float(line['low']):.1f}, {float(line['high']):.1f}]"
            assert shown.removesuffix(" (5)").replace("−", "-") == wanted
        elif line["column"] == "interval" and line["value"]:
            wanted = f"[{float(line['low']):.1f}, {float(line['high']):.1f}]"
            assert shown.replace("−", "-") == wanted
    # (1 - 0.05)(0.03 - 0): AP50 of made-up runs is 0.95 AP.
    assert float(csvfile.read(text["csv"])[0]["value"]) == pytest.approx(0.95 * gain_of_kd())


def gain_of_kd() -> float:
    """Of the large student, in percent."""
    ap = {method: [value({"model": "large", "method": method}, seed) for seed in range(5)] for method in GAIN}
    return 100 * sum(a - b for a, b in zip(ap["kd"], ap["baseline"], strict=True)) / 5


def test_the_page_has_sentences_verdicts_and_commands(report: ReportContents, place: Path) -> None:
    page = (place / "out" / "report.html").read_text()
    for words in (
        "What the paper says",
        "KD_c lifts AP50 and lowers Cls",
        "not run",
        "sweep &#39;made-few&#39; is not",
    ):
        assert words in page, words
    assert f"c2d explain {place / 'out' / 'tables' / 'paper.csv'} both.1 difference" in page
    assert re.search(r"3 sentences: 2 shown, 1 not run\.", page)


def test_explain_adds_the_runs_up(report: ReportContents, place: Path) -> None:
    cell = table_of(report).rows[2].cells["difference"]
    found = explain_cell(place / "out" / "tables" / "paper.md", "weaker", "difference", place / "runs")
    assert len(found.runs) == 20
    assert sum((run.factor or 0) * (run.value or 0) for run in found.runs) == pytest.approx(cell.value)
    assert {round(run.factor or 0, 12) for run in found.runs} == {0.2, -0.2}
    text = found.text()
    assert f"  sum over seeds: {cell.value:.10g}" in text
    assert text.count("\n  seed ") == 5
    assert "Welch-Satterthwaite t of 2 groups" in text
    assert "+0.2 x  " in text
    assert len(json.loads(found.to_json())["runs"]) == 20
    p = explain_cell(place / "out" / "tables" / "paper.csv", "weaker", "p", place / "runs").text()
    assert "p value of the row's difference, adjusted" in p


def test_python_gives_the_same_table(report: ReportContents, place: Path) -> None:
    made = analysis.table(place / "runs", place / "paper.yaml")
    assert [row.cells for row in made.data.rows] == [row.cells for row in table_of(report).rows]
    assert made.to_frame()["difference"].isna().tolist() == [False, False, False, True]
    frame = analysis.load(place / "runs")
    at = {"model": "large"}
    kd = {"says": "kd helps", "column": "AP", "more": {"method": "kd"}, "less": {"method": "baseline"}, "at": at}
    plain = {"kind": "claims", "claims": {"kd": kd}}
    assert analysis.table(frame, plain).data.rows[0].labels[1] == "shown"
    with pytest.raises(InputError, match="claims name their cells and columns"):
        analysis.table(frame, plain, rows="method")


def test_every_mistake_has_its_line(place: Path) -> None:
    wrong = SPEC.replace("{method: kd}, less", "{method: kdd}, less").replace("model: small", "modl: small", 1)
    (place / "wrong.yaml").write_text(wrong)
    with pytest.raises(InputError) as caught:
        write_report(request(place, "wrong.yaml"))
    lines = [line.removeprefix(f"{place / 'wrong.yaml'}:") for line in str(caught.value).splitlines()]
    assert [line.split(";")[0] for line in lines] == [
        "12: claims.both.all[0].more: unknown label of axis method in sweep 'made' 'kdd'",
        "17: claims.weaker.more: unknown axis of sweep 'made' 'modl'",
    ]
    assert not (place / "out" / "tables" / "wrong.csv").exists()


def test_claims_without_a_sweep_take_that_of_the_report(place: Path) -> None:
    (place / "open.yaml").write_text(SPEC.replace("sweep: made\n", ""))
    made = write_report(request(place, "open.yaml", sweeps=("made",)))
    assert [table.name for table in made.tables] == ["open"]
    assert [row.labels[1] for row in made.tables[0].rows] == ["shown", "shown", "shown", "not run"]
