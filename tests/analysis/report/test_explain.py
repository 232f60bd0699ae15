"""From a number in a table back to its runs: every cell resolves, and a wrong name is answered with the right ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from analysis.formats import csvfile
from analysis.report.explain import explain_cell
from analysis.tables.table import Cell, Column, Row, Table
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A store of two methods and three seeds, and a table of it written by hand."""
    record = make_store(
        tmp_path / "runs", {"method": ["baseline", "c2d"]}, value=lambda labels, seed: 0.25 + seed / 100
    )
    runs = {
        method: tuple(c["run"] for c in record["cells"] if c["labels"]["method"] == method)
        for method in ("baseline", "c2d")
    }
    ap, gain = Column("AP", "AP", "%", 1), Column("delta.AP", "ΔAP", "%", 1, "difference")
    published = Column("published.AP", "AP", "%", 1, "published")
    deviation = Column("deviation.AP", "AP", "%", 1, "deviation")

    def row(method: str) -> Row:
        cells = {
            "AP": Cell(value=26.0, n=3, n_planned=3, sd=1.0, low=23.5, high=28.5, interval="t", runs=runs[method]),
            "delta.AP": Cell(
                value=0.0,
                n=3,
                n_planned=3,
                p=1.0,
                p_adjusted=1.0,
                test="paired t",
                runs=runs[method] + runs["baseline"],
                files=("result.json",) * 6,
            ),
            "published.AP": Cell(value=27.9, source="a paper"),
            "deviation.AP": Cell(
                value=-1.9,
                n=3,
                n_planned=3,
                low=-6.9,
                high=3.1,
                interval="of one run",
                source="a paper",
                runs=runs[method],
            ),
        }
        return Row(f"method={method}", (f"= {method}",), cells)

    found = Table("made", "Made up", ("method",), (ap, gain, published, deviation), (row("baseline"), row("c2d")))
    path = tmp_path / "out" / "tables" / "made.csv"
    path.parent.mkdir(parents=True)
    path.write_text(csvfile.write(found), encoding="utf-8")
    return path


def test_a_cell_names_its_runs_with_their_own_values(table: Path, tmp_path: Path) -> None:
    found = explain_cell(table, "method=c2d", "AP", tmp_path / "runs")
    assert [(run.seed, run.state) for run in found.runs] == [(0, "done"), (1, "done"), (2, "done")]
    assert [run.value for run in found.runs] == pytest.approx([25.0, 26.0, 27.0])
    facts = found.runs[0].facts
    assert facts["commit"] == "a" * 40
    assert facts["teacher"] == "resnet18-classifier-0123456789ab-s0 (top-1 95.0 %)"
    assert facts["schedule"] == "smoke: 20 iterations, batch 8, lr 0.01"
    assert json.loads(facts["method"]) == [{"icod": {"version": 1, "T": 2}}]
    assert found.runs[0].files["spec.json"] == "the question"
    assert all((Path(found.runs[0].folder) / name).is_file() for name in found.runs[0].files)
    text = found.text()
    assert "made: method=c2d, AP: 26.0 %" in text
    assert "mean of 3 of 3 seeds, sample standard deviation 1.0" in text
    assert json.loads(found.to_json())["cell"]["value"] == "26.0"


@pytest.mark.parametrize("row", ["method=c2d", "= c2d", "2"])
@pytest.mark.parametrize("column", ["delta.AP", "ΔAP", "ΔAP [%]"])
def test_rows_and_columns_have_several_names(table: Path, tmp_path: Path, row: str, column: str) -> None:
    found = explain_cell(table, row, column, tmp_path / "runs")
    assert found.cell["row"] == "method=c2d"
    assert found.cell["test"] == "paired t"
    assert "adjusted 1.0: paired t" in found.text()
    assert [(one.seed, one.value, one.difference) for one in found.seeds] == [
        (0, 25.0, 0.0),
        (1, 26.0, 0.0),
        (2, 27.0, 0.0),
    ]
    assert "  seed 2: 27.0 - 27.0 = +0 %" in found.text()
    assert "25.0 %  in result.json" in found.text()


def test_any_file_of_the_table_will_do(table: Path, tmp_path: Path) -> None:
    assert explain_cell(table.with_suffix(".tex"), "1", "AP", tmp_path / "runs").cell["row"] == "method=baseline"


def test_a_deviation_names_the_runs_and_the_source(table: Path, tmp_path: Path) -> None:
    found = explain_cell(table, "method=c2d", "deviation.AP", tmp_path / "runs")
    assert [run.value for run in found.runs] == pytest.approx([25.0, 26.0, 27.0])
    assert "mean minus the published number (a paper), the mean of 3 of 3 seeds" in found.text()
    assert "95 % interval: [-6.9, 3.1]: of one run" in found.text()


def test_a_published_number_has_a_source_and_no_runs(table: Path, tmp_path: Path) -> None:
    found = explain_cell(table, "1", "published.AP", tmp_path / "runs")
    assert found.runs == []
    assert "published, not measured here; source: a paper" in found.text()
    assert explain_cell(table, "1", "AP [%] (publ.)", tmp_path / "runs").cell == found.cell


def test_a_row_has_the_name_that_sentences_give_it(tmp_path: Path) -> None:
    columns = (Column("AP", "AP", "%", 1),)
    rows = [Row(f"model=m, method={at}", ("m", at), {"AP": Cell(value=1.0)}) for at in ("baseline", "kd")]
    (tmp_path / "t.csv").write_text(csvfile.write(Table("t", "t", ("model", "method"), columns, tuple(rows))))
    for name in ("m / kd", "m kd", "model=m, method=kd", "2"):
        assert explain_cell(tmp_path / "t.csv", name, "AP", tmp_path).cell["row"] == rows[1].key


def test_runs_that_are_gone_are_said_to_be(table: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    make_store(tmp_path / "other", {"method": ["x"]}, seeds=1)
    found = explain_cell(table, "1", "AP", tmp_path / "other")
    assert {run.state for run in found.runs} == {f"not in {tmp_path / 'other'}"}


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("method=cd2", "AP", "did you mean 'method=c2d'"),
        ("3", "AP", "unknown row '3'"),
        ("0", "AP", "unknown row '0'"),
        ("method=c2d", "AP5", "did you mean 'AP'"),
    ],
)
def test_a_wrong_name_gets_the_right_ones(table: Path, tmp_path: Path, row: str, column: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        explain_cell(table, row, column, tmp_path / "runs")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"table,row\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.csv"):
        explain_cell(path, "1", "AP", tmp_path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv is missing"):
        explain_cell(tmp_path / "none.csv", "1", "AP", tmp_path)
    with pytest.raises(InputError, match=r"beside .*report\.html"):
        explain_cell(tmp_path / "report.html", "1", "AP", tmp_path)


@pytest.mark.parametrize("given", ["", ".", "/", "x" * 300])
def test_what_cannot_be_a_file_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        explain_cell(Path(given), "1", "AP", tmp_path)


def test_a_named_pipe_does_not_keep_us_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(InputError, match="is not a regular file"):
        explain_cell(tmp_path / "t.csv", "1", "AP", tmp_path)


def test_a_number_of_five_thousand_digits_is_no_row(table: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown row"):
        explain_cell(table, "9" * 5000, "AP", tmp_path / "runs")


def test_a_byte_order_mark_is_no_matter(table: Path, tmp_path: Path) -> None:
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert explain_cell(table, "1", "AP", tmp_path / "runs").cell["row"] == "method=baseline"
