"""Tables of seeds needed: a store by hand, what is missing, all formats, and the runs behind a number."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.formats import FORMATS, csvfile, jsonfile
from analysis.loading.load import read_study
from analysis.loading.schema import Study
from analysis.report.explain import explain_cell
from analysis.report.report import write_report
from analysis.report.report_contents import ReportRequest
from analysis.report.report_spec import parse, read_spec
from analysis.spec.seeds_needed_spec import SeedsNeededSpec
from analysis.stats.power.comparison_power import FamilyTest, seeds_needed, smallest_difference
from analysis.tables.seeds_needed.seeds_table import build_seeds_tables
from analysis.tables.table import Row, Table
from benchmarks.suite.synthetic_store import make_store
from c2d.core.errors import InputError

AXES = {"model": ["large", "small"], "method": ["baseline", "kd_cls", "c2d"]}
RESIDUAL = {"baseline": (2.0, -1.0, -1.0), "kd_cls": (-1.0, 2.0, -1.0), "c2d": (-1.0, -1.0, 2.0)}
SD = math.sqrt(18 / 4)
"""Percent; sums over rows and over seeds are 0, and the squares sum to 18, over 4 degrees of freedom."""


def value(labels: dict[str, str], seed: int) -> float:
    """AP in 0-1: a level of the row, an effect of the seed, and the residual, which `small` has twice."""
    residual = RESIDUAL[labels["method"]][seed] * (2 if labels["model"] == "small" else 1)
    return (30 + 5 * seed + 2 * list(RESIDUAL).index(labels["method"]) + residual) / 100


def _study(place: Path, **more: Any) -> Study:
    make_store(place / "runs", AXES, value=value, **more)
    return read_study(place / "runs", (), place / "cache")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return _study(tmp_path_factory.mktemp("seeds-needed"))


SPEC = {
    "kind": "seeds_needed",
    "sweep": "made",
    "rows": {axis: [] for axis in AXES},
    "baseline": {"method": "baseline"},
}


def _tables(study: Study, **more: Any) -> list[Table]:
    spec = parse({**SPEC, **more})
    assert isinstance(spec, SeedsNeededSpec)
    return build_seeds_tables(study, spec, "made")


def _values(row: Row) -> dict[str, float | None]:
    return {key.partition(".")[0]: cell.value for key, cell in row.cells.items()}


def test_each_baseline_is_a_row_with_the_noise_of_its_own_rows(study: Study) -> None:
    (table,) = _tables(study)
    large, small = table.rows
    assert (table.row_axes, large.labels, small.labels) == (("model",), ("large",), ("small",))
    test = FamilyTest(2)
    assert _values(large) == {
        "AP": pytest.approx(35.0), "residual_sd": pytest.approx(SD), "residual_df": 4, "compared": 2, "seeds": 3,
        "smallest_difference": pytest.approx(SD * smallest_difference(test, 3, 0.8)),
        "seeds_needed": seeds_needed(test, 1 / SD, 0.8),
    }  # fmt: skip
    assert _values(small)["residual_sd"] == pytest.approx(2 * SD)
    assert _values(small)["seeds_needed"] == seeds_needed(test, 0.5 / SD, 0.8)
    needed, sd = large.cells["seeds_needed.AP"], large.cells["residual_sd.AP"]
    assert (needed.low, needed.high) == tuple(seeds_needed(test, 1 / (end or 0), 0.8) for end in (sd.low, sd.high))
    assert large.cells["smallest_difference.AP"].test == "Dunnett, 2 rows and their baseline, power 80 %"
    assert any(sentence.startswith("Tests, those of the main table: Dunnett, 2 rows") for sentence in table.statistics)


def test_the_planned_table_may_have_more_rows_and_another_difference(study: Study) -> None:
    (table,) = _tables(study, family=11, difference=2, power=0.9)
    cells = table.rows[0].cells
    assert cells["compared.AP"].value == 11
    assert cells["residual_df.AP"].value == 4  # of the runs that there are
    assert cells["seeds_needed.AP"].value == seeds_needed(FamilyTest(11), 2 / SD, 0.9)
    assert table.columns[-1].label == "seeds for 2 %"


def test_several_numbers_are_several_tables(study: Study) -> None:
    tables = _tables(study, columns=["AP", "tide.Cls"], title="Plan")
    assert [(table.name, table.title) for table in tables] == [
        ("seeds-needed-AP", "Plan (AP)"), ("seeds-needed-tide.Cls", "Plan (TIDE Cls)"),
    ]  # fmt: skip
    assert "residual_sd.tide.Cls" in tables[1].rows[0].cells


def test_a_sweep_that_has_begun_is_planned_with_what_there_is(tmp_path: Path) -> None:
    """Of `large` the baselines alone are finished; of `small` nothing but one run."""
    here = {("large", "baseline", seed) for seed in range(3)} | {("small", "baseline", 0)}
    study = _study(tmp_path, state=lambda labels, seed: "done" if (*labels.values(), seed) in here else "new")
    (table,) = _tables(study)
    large, small = table.rows
    assert _values(large)["residual_sd"] == pytest.approx(math.sqrt(13))  # of 32, 34 and 39
    notes = [table.notes[mark] for mark in large.cells["residual_sd.AP"].notes]
    assert notes[0].startswith("no row shares two seeds with this baseline yet")
    assert large.cells["seeds_needed.AP"].test == "Dunnett, 2 rows and their baseline, power 80 %"
    missing = small.cells["seeds_needed.AP"]
    assert (missing.kind, missing.reason) == ("missing", "the baseline has one finished seed, which shows no spread")
    (alone,) = _tables(study, rows={"model": ["large"], "method": ["baseline"]})
    assert any("`family` in the spec" in note for note in alone.notes.values())


def test_all_formats_have_the_numbers_and_explain_finds_the_runs(study: Study, tmp_path: Path) -> None:
    (table,) = _tables(study)
    needed = table.rows[0].cells["seeds_needed.AP"]
    for name, write in FORMATS.items():
        text = write(table)
        assert "residual SD" in text, name
        shown = f"[{needed.low:.0f}, {needed.high:.0f}]"
        assert (f"{needed.high!r}" if name in ("csv", "json") else shown) in text, name
    assert jsonfile.read(FORMATS["json"](table)) == table
    path = tmp_path / "seeds.csv"
    path.write_text(csvfile.write(table), encoding="utf-8")
    found = explain_cell(path, "large", "residual_sd.AP", study.runs)
    assert [run.value for run in found.runs] == pytest.approx([32, 34, 39, 31, 39, 41, 33, 38, 46])
    assert "95 % chi-square, 4 df" in found.text()
    assert "computed from these runs, first those of the baseline" in found.text()


def test_a_file_is_written_by_the_report_and_read_in_python(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "kind: seeds_needed\nsweep: made\nrows: {model: [], method: []}\nbaseline: {method: baseline}\n"
        "columns: [AP, AP50]\ndifference: 1.5\n"
    )
    contents = write_report(ReportRequest(study.runs, tmp_path / "out", specs=(str(path),), cache=tmp_path / "cache"))
    assert [table.name for table in contents.tables] == ["plan-AP", "plan-AP50"]
    assert (tmp_path / "out/tables/plan-AP50.tex").is_file()
    assert "seeds for 1.5 %" in (tmp_path / "out/report.html").read_text()
    with pytest.raises(InputError, match="columns='AP'"):
        analysis.table(study.runs, path)
    assert analysis.table(study.runs, path, columns="AP").data.rows == contents.tables[0].rows


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("columns: [latency_p50]", "line.* latency_p50 is measured on a finished student"),
        ("difference: 0", "wanted a number above 0"),
        ("power: 1", "less than 1"),
        ("families: 3", "did you mean 'family'"),
    ],
)
def test_a_mistake_is_reported_with_its_line(keys: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(f"kind: seeds_needed\nrows: {{method: []}}\nbaseline: {{method: baseline}}\n{keys}\n")
    with pytest.raises(InputError, match=message.replace("line.* ", r"plan\.yaml:4: .*")):
        read_spec(path)


def test_a_row_without_a_baseline_is_named(study: Study) -> None:
    """The baseline of `small` was never planned."""
    frame = study.frame
    hidden = (frame["axis.model"] == "small") & (frame["axis.method"] == "baseline")
    (table,) = _tables(dataclasses.replace(study, frame=frame[~hidden]))
    assert [row.labels for row in table.rows] == [("large",)]
    assert table.statistics[-1] == "Without a baseline among the rows, so in no line: 'small / kd_cls', 'small / c2d'"


def test_a_baseline_that_is_no_row_is_refused(study: Study) -> None:
    with pytest.raises(InputError, match="label of the baseline on axis method"):
        _tables(study, baseline={"method": "fgd"})
